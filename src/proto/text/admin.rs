//! Admin commands: stats, watch, slabs, lru, flush_all, verbosity, cache_memlimit, shutdown.
//!
//! Owns their grammar and memcached's texts. A cold path: favours clarity over speed. A command for a feature that
//! oxcached lacks answers as memcached does with that feature switched off. Called by the text dispatcher.

use super::dump::CacheDump;
use crate::decimal;
use crate::events::EventClass;
use crate::limits::CLASSES;
use crate::maint::{Refusal, Seat, WatchRefused};
use crate::proto::command_result::AfterCommand;
use crate::proto::key_reports;
use crate::proto::line::{BAD_FORMAT, Run};
use crate::proto::listing::{Conns, Prefixes, SizesReport};
use crate::proto::report::{self, Form};
use crate::proto::tokens::Tokens;
use crate::proto::{CloseReason, Control};
use crate::report::Report;
#[cfg(feature = "debug-commands")]
use crate::store::{Key, Lookup};
use std::fmt::Display;
use std::io::Write as _;

/// Runs the admin command of the first token; `None` for an unknown command.
pub(super) fn run(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) -> Option<AfterCommand> {
    match tokens.get(0) {
        b"shutdown" => return Some(shutdown(run, tokens)),
        b"slabs" => slabs(run, tokens),
        b"cache_memlimit" => cache_memlimit(run, tokens),
        b"flush_all" => flush_all(run, tokens),
        b"lru_crawler" => return Some(super::crawler::run(run, tokens)),
        b"verbosity" => verbosity(run, tokens),
        b"lru" => lru(run, tokens),
        b"hotkeys" => super::hotkeys::run(run, tokens),
        b"refresh_certs" => refresh_certs(run),
        b"latency" => super::latency::run(run, tokens),
        #[cfg(feature = "debug-commands")]
        b"debugtime" => debugtime(run, tokens),
        #[cfg(feature = "debug-commands")]
        b"debugitem" => debugitem(run, tokens),
        // Tries what no worker may do under `-o drop_privileges`.
        #[cfg(feature = "debug-commands")]
        b"misbehave" => run.reply(if crate::sys::sandbox::misbehave() { "ERROR" } else { "OK" }),
        _ => return None,
    }
    Some(AfterCommand::Next)
}

fn shutdown(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) -> AfterCommand {
    if !run.cx.shared.settings.shutdown_command {
        run.reply("SERVER_ERROR: shutdown not enabled");
        return AfterCommand::Next;
    }
    let control = match tokens.len() {
        1 => Control::Shutdown,
        2 if tokens.is(1, "graceful") => Control::ShutdownGraceful,
        _ => {
            run.reply("CLIENT_ERROR invalid shutdown mode");
            return AfterCommand::Next;
        }
    };
    (run.cx.shared.control)(control);
    AfterCommand::Close(CloseReason::Shutdown)
}

fn refresh_certs(run: &mut Run<'_, '_>) {
    let result = match &run.cx.shared.tls {
        Some(tls) => tls.refresh(run.verbs.now),
        None => Err("Error TLS not enabled".to_owned()),
    };
    match result {
        Ok(()) => run.reply("OK"),
        Err(complaint) => {
            run.noreply = false; // memcached ignores noreply here
            run.reply(&complaint);
        }
    }
}

fn verbosity(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    /// memcached's highest level.
    const LEVEL_MAX: u32 = 2;
    match number(tokens, 1) {
        Some(level) => {
            run.cx.set_verbose(level.min(LEVEL_MAX));
            run.reply("OK");
        }
        None => run.reply(BAD_FORMAT),
    }
}

/// Token `at` as a number; `None` if it is not one.
pub(super) fn number(tokens: &Tokens<'_>, at: usize) -> Option<u32> {
    if at < tokens.len() { decimal::token_u32(tokens.get(at)) } else { None }
}

fn float(tokens: &Tokens<'_>, at: usize) -> Option<f64> {
    if at < tokens.len() { decimal::token_f64(tokens.get(at)) } else { None }
}

fn cache_memlimit(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    let Some(megabytes) = number(tokens, 1) else { return run.reply("ERROR") };
    if megabytes < 8 {
        return run.reply("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m");
    }
    if megabytes > 1_000_000_000 {
        return run.reply("MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes");
    }
    let bytes = u64::from(megabytes) << 20;
    if !run.verbs.cache.store.set_limit(bytes) {
        return run.reply("MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust");
    }
    run.cx.shared.runtime.set_maxbytes(bytes);
    run.cx.shared.mover.wake();
    if run.cx.verbose() > 0 {
        run.log(format_args!("maxbytes adjusted to {megabytes}m\n"));
    }
    run.reply("OK");
}

fn flush_all(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    run.verbs.counters.add(crate::stats::Counter::FlushCmds, 1);
    if !run.cx.shared.settings.flush_enabled {
        return run.reply("CLIENT_ERROR flush_all not allowed");
    }
    let mut exptime = 0;
    if tokens.len() != if run.noreply { 2 } else { 1 } {
        match decimal::token_i32(tokens.get(1)) {
            Some(given) => exptime = given,
            None => return run.reply("CLIENT_ERROR invalid exptime argument"),
        }
    }
    run.verbs.flush(i64::from(exptime), &run.cx.shared.clock);
    run.cx.shared.runtime.set_oldest_live(run.verbs.cache.store.oldest_live());
    run.reply("OK");
}

fn slabs(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    if tokens.len() == 4 && tokens.is(1, "reassign") {
        slabs_reassign(run, tokens);
    } else if tokens.len() >= 3 && tokens.is(1, "automove") {
        automove(run, tokens);
    } else {
        run.reply("ERROR");
    }
}

fn slabs_reassign(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    let shared = run.cx.shared;
    if !shared.settings.slab_reassign {
        return run.reply("CLIENT_ERROR slab reassignment disabled");
    }
    let (Some(src), Some(dst)) = (decimal::token_i32(tokens.get(2)), decimal::token_i32(tokens.get(3))) else {
        return run.reply(BAD_FORMAT);
    };
    run.reply(match shared.mover.reassign(run.verbs.cache.store, src, dst) {
        Ok(()) => "OK",
        Err(Refusal::Busy) => "BUSY currently processing reassign request",
        Err(Refusal::BadClass) => "BADCLASS invalid src or dst class id",
        Err(Refusal::NoSpare) => "NOSPARE source class has no spare pages",
        Err(Refusal::Same) => "SAME src and dst class are identical",
    });
}

fn automove(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    let runtime = &run.cx.shared.runtime;
    if tokens.is(2, "ratio") {
        let Some(ratio) = float(tokens, 3) else { return run.reply("ERROR") };
        runtime.set_slab_automove_ratio(ratio);
    } else if tokens.is(2, "freeratio") {
        // Used only by memcached's flash storage: validated and ignored.
        if float(tokens, 3).is_none() {
            return run.reply("ERROR");
        }
    } else if tokens.is(2, "window") {
        let Some(window) = number(tokens, 3) else { return run.reply(BAD_FORMAT) };
        if !(3..=1800).contains(&window) {
            return run.reply("CLIENT_ERROR automove window too low or too high");
        }
        runtime.set_slab_automove_window(window);
    } else {
        match number(tokens, 2) {
            Some(level @ 0..=2) => runtime.set_slab_automove(level),
            Some(_) => return run.reply("ERROR"),
            None => return run.reply(BAD_FORMAT),
        }
    }
    runtime.bump_slab_automove_version();
    run.reply("OK");
}

fn lru(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    if tokens.is(1, "tune") && tokens.len() >= 6 {
        return lru_tune(run, tokens);
    }
    let (runtime, store) = (&run.cx.shared.runtime, run.verbs.cache.store);
    if tokens.len() < 3 || !runtime.lru_maintainer_thread() {
        return run.reply("ERROR");
    }
    if tokens.is(1, "mode") {
        let flat = tokens.is(2, "flat");
        if !flat && !tokens.is(2, "segmented") {
            return run.reply("ERROR");
        }
        runtime.set_lru_segmented(!flat);
        store.set_flat(flat);
    } else if tokens.is(1, "temp_ttl") {
        let Some(ttl) = decimal::token_i32(tokens.get(2)) else { return run.reply("ERROR") };
        let ttl = u32::try_from(ttl).ok();
        runtime.set_temp_lru(ttl.is_some());
        if let Some(ttl) = ttl {
            runtime.set_temporary_ttl(ttl);
        }
        store.set_temp_ttl(ttl.map(|ttl| ttl.saturating_add(run.cx.shared.clock.begun())));
    } else {
        return run.reply("ERROR");
    }
    run.reply("OK");
}

fn lru_tune(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    let (hot, warm) = (number(tokens, 2), number(tokens, 3));
    let (hot_factor, warm_factor) = (float(tokens, 4), float(tokens, 5));
    let (Some(hot), Some(warm), Some(hot_factor), Some(warm_factor)) = (hot, warm, hot_factor, warm_factor) else {
        return run.reply("ERROR");
    };
    if hot.saturating_add(warm) > 80 {
        run.reply("ERROR hot and warm pcts must not exceed 80");
    } else if !(warm_factor > 0.0 && hot_factor > 0.0) {
        run.reply("ERROR hot/warm age factors must be greater than 0");
    } else {
        let runtime = &run.cx.shared.runtime;
        runtime.set_hot_lru_pct(hot);
        run.verbs.cache.store.set_hot_pct(Some(hot));
        runtime.set_warm_lru_pct(warm);
        runtime.set_hot_max_factor(hot_factor);
        runtime.set_warm_max_factor(warm_factor);
        run.reply("OK");
    }
}

/// `watch`: checks in memcached's order and takes a watcher's seat.
pub(super) fn watch(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) -> AfterCommand {
    let refusal = match try_watch(run, tokens) {
        Ok(seat) => return AfterCommand::Watch(seat),
        Err(refusal) => refusal,
    };
    run.reply(refusal);
    AfterCommand::Next
}

fn try_watch(run: &Run<'_, '_>, tokens: &Tokens<'_>) -> Result<Seat, &'static str> {
    if !run.cx.shared.settings.watch_enabled {
        return Err("CLIENT_ERROR watch commands not allowed");
    }
    if run.cx.piped.get() || !run.out.is_empty() {
        return Err("ERROR cannot pipeline other commands before watch");
    }
    let mut classes = if tokens.len() > 1 { EventClass::NONE } else { EventClass::FETCHERS };
    for at in 1..tokens.len() {
        classes = classes.and(EventClass::named(tokens.get(at)).ok_or("ERROR")?);
    }
    run.cx.shared.watchers.seat(classes).map_err(|refused| match refused {
        WatchRefused::TooMany => "WATCHER_TOO_MANY log watcher limit reached",
        WatchRefused::Failed => "WATCHER_FAILED failed to add log watcher",
    })
}

/// Rows as `STAT name value` lines.
#[derive(Clone, Copy)]
pub(super) struct TextRows;

/// Last line of a report.
const END: &[u8] = b"END\r\n";

impl Form for TextRows {
    fn row(&self, out: &mut Vec<u8>, name: &dyn Display, value: &dyn Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "STAT {name} {value}\r\n");
    }

    fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(END);
    }
}

/// `stats` with all its arguments. Returns a report that may be long, for the session to send in steps.
pub(super) fn stats(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) -> AfterCommand {
    let cx = run.cx;
    let report = if tokens.len() == 1 {
        Report::General
    } else if tokens.is(1, "reset") {
        cx.shared.reset_stats();
        run.reply("RESET");
        return AfterCommand::Next;
    } else if tokens.is(1, "detail") {
        return detail(run, tokens);
    } else if tokens.is(1, "settings") {
        Report::Settings
    } else if tokens.is(1, "cachedump") {
        return cachedump(run, tokens);
    } else if tokens.is(1, "conns") {
        return AfterCommand::Report(Box::new(Conns::new(TextRows)));
    } else {
        match tokens.get(1) {
            b"items" => Report::Items,
            b"slabs" => Report::Slabs,
            b"sizes" if cx.shared.settings.track_sizes => {
                return AfterCommand::Report(Box::new(SizesReport::new(cx, TextRows)));
            }
            b"sizes" => Report::NoSizes,
            b"store" if cx.shared.durable.is_some() => Report::DurableCopy,
            b"latency" | b"slow" | b"large" => return super::latency::stats(run, tokens),
            name => return key_report(run, name, tokens),
        }
    };
    report::put(cx.shared, report, &TextRows, run.out.bytes());
    run.out.put(END);
    AfterCommand::Next
}

/// A report that names keys, or the reply to an unknown one.
fn key_report(run: &mut Run<'_, '_>, name: &[u8], tokens: &Tokens<'_>) -> AfterCommand {
    let words: Vec<&[u8]> = (2..tokens.len()).map(|at| tokens.get(at)).collect();
    match key_reports::begin(run.cx, name, &words, TextRows) {
        Some(Ok(listing)) => return AfterCommand::Report(listing),
        Some(Err(refused)) => run.reply(refused.line()),
        None => run.reply("ERROR"),
    }
    AfterCommand::Next
}

fn detail(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) -> AfterCommand {
    let cx = run.cx;
    if !cx.shared.settings.dump_enabled {
        run.reply("CLIENT_ERROR stats detail not allowed");
        return AfterCommand::Next;
    }
    let switch = |on| {
        cx.shared.cache.set_detail(on);
        cx.shared.runtime.set_detail_enabled(on);
    };
    if tokens.is(2, "on") {
        switch(true);
        run.reply("OK");
    } else if tokens.is(2, "off") {
        switch(false);
        run.reply("OK");
    } else if tokens.is(2, "dump") {
        return AfterCommand::Report(Box::new(Prefixes::new(cx, END)));
    } else {
        run.reply("CLIENT_ERROR usage: stats detail on|off|dump");
    }
    AfterCommand::Next
}

fn cachedump(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) -> AfterCommand {
    let refusal = if !run.cx.shared.settings.dump_enabled {
        "CLIENT_ERROR stats cachedump not allowed"
    } else if tokens.len() < 4 {
        "CLIENT_ERROR bad command line"
    } else {
        match (number(tokens, 2), number(tokens, 3)) {
            (Some(class), Some(limit)) if (class as usize) < CLASSES => {
                return AfterCommand::Report(Box::new(CacheDump::new(run.cx, class, limit)));
            }
            (Some(_), Some(_)) => "CLIENT_ERROR Illegal slab id",
            _ => BAD_FORMAT,
        }
    };
    run.reply(refusal);
    AfterCommand::Next
}

#[cfg(feature = "debug-commands")]
fn debugtime(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    let clock = &run.cx.shared.clock;
    if tokens.len() < 2 {
        return run.reply("ERROR");
    }
    if tokens.is(1, "p") {
        clock.pause(true);
    } else if tokens.is(1, "r") {
        clock.pause(false);
    } else {
        match decimal::token_i64(tokens.get(1)) {
            Some(seconds) => clock.advance(seconds),
            None => return run.reply("ERROR"),
        }
    }
    run.reply("OK");
}

/// Takes the lock of a key's bucket, or pins its value until the process ends. Values too short for pinned reads
/// cannot be pinned.
#[cfg(feature = "debug-commands")]
fn debugitem(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    if tokens.len() < 3 {
        return run.reply("ERROR");
    }
    let store = run.verbs.cache.store;
    let Some(key) = Key::new(tokens.get(2)) else { return run.reply("ERROR") };
    match tokens.get(1) {
        b"lock" => store.debug_lock(key.hash()),
        b"unlock" => store.debug_unlock(key.hash()),
        b"ref" => match store.visit(&key, run.verbs.now, |entry| entry.pin().map(std::mem::forget).is_some()) {
            Lookup::Hit(true) => {}
            Lookup::Hit(false) => return run.reply("SERVER_ERROR short values cannot be held"),
            _ => return run.reply("MISS"),
        },
        b"unref" => return run.reply("SERVER_ERROR items cannot be let go"),
        _ => return run.reply("ERROR"),
    }
    run.reply("OK");
}
