//! Flush, version, statistics.
//!
//! Owns the arguments of `stat` and its rows as packets. A cold path: favours clarity over speed. Called by the
//! dispatcher of this directory.

use super::header::{Head, Parts, SIZE};
use super::reply::{PacketRun, Status};
use crate::limits::{HEADROOM, REPORT_STEP};
use crate::proto::key_reports::{self, ReportRefused};
use crate::proto::latency_report::{self, LatencyReport, NoReport};
use crate::proto::listing::{self, Listed, Listing, Prefixes, SizesReport};
use crate::proto::report::{self, Form};
use crate::proto::tokens::Tokens;
use crate::proto::{Cx, Output};
use crate::report::Report;
use crate::settings::VERSION;
use crate::stats::{BudgetShare, Counter};
use crate::sys::headroom;
use std::fmt::Display;

pub(super) fn version(run: &mut PacketRun<'_, '_>) {
    run.begin_reply(&Parts { body: VERSION.len() as u32, ..Parts::default() });
    run.out.put(VERSION.as_bytes());
}

/// Flushes at `exptime`, 0 = now.
pub(super) fn flush(run: &mut PacketRun<'_, '_>, exptime: u32) {
    if !run.cx.shared.settings.flush_enabled {
        return run.fail(Status::Refused);
    }
    run.verbs.flush(i64::from(exptime), &run.cx.shared.clock);
    run.cx.shared.runtime.set_oldest_live(run.verbs.cache.store.oldest_live());
    run.verbs.counters.add(Counter::FlushCmds, 1);
    run.done(0);
}

/// Rows as packets: name as key, value as value.
#[derive(Clone, Copy)]
struct Packets(Head);

impl Packets {
    fn put(self, out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
        self.begin(out, key, value.len());
        out.extend_from_slice(value);
    }

    fn fail(self, out: &mut Vec<u8>, status: Status) {
        let text = status.text();
        let parts = Parts { status: status as u16, body: text.len() as u32, ..Parts::default() };
        out.extend_from_slice(&self.0.reply(&parts));
        out.extend_from_slice(text.as_bytes());
    }

    /// Appends a packet without its value.
    fn begin(self, out: &mut Vec<u8>, key: &[u8], value: usize) {
        let parts = Parts { key: key.len() as u16, body: (key.len() + value) as u32, ..Parts::default() };
        out.extend_from_slice(&self.0.reply(&parts));
        out.extend_from_slice(key);
    }
}

impl Form for Packets {
    fn row(&self, out: &mut Vec<u8>, name: &dyn Display, value: &dyn Display) {
        self.put(out, name.to_string().as_bytes(), value.to_string().as_bytes());
    }

    fn end(&self, out: &mut Vec<u8>) {
        self.put(out, b"", b"");
    }
}

/// Appends statistics, ended by an empty packet. `reset`, `settings` and `detail` match by prefix, other arguments
/// exactly. A report that may be long is returned, for the session to send in steps.
pub(super) fn stat(run: &mut PacketRun<'_, '_>, word: &[u8]) -> Option<Box<dyn Listing>> {
    let (cx, form) = (run.cx, Packets(run.head));
    let report = match word {
        b"" => Some(Report::General),
        _ if word.starts_with(b"reset") => {
            cx.shared.reset_stats();
            None
        }
        _ if word.starts_with(b"settings") => Some(Report::Settings),
        _ if word.starts_with(b"detail") => match detail(cx, &word[b"detail".len()..]) {
            Detail::Refused => {
                run.fail(Status::NotFound);
                return None;
            }
            Detail::Switched => None,
            Detail::Dump => return Some(Box::new(PrefixPacket::new(cx, form))),
        },
        b"items" => Some(Report::Items),
        b"slabs" => Some(Report::Slabs),
        b"sizes" if cx.shared.settings.track_sizes => return Some(Box::new(SizesReport::new(cx, form))),
        b"sizes" => Some(Report::NoSizes),
        b"store" if cx.shared.durable.is_some() => Some(Report::DurableCopy),
        _ if is_latency(word) => return latency(run, form, word),
        _ => return key_report(run, word, form),
    };
    let out = run.out.bytes();
    if let Some(report) = report {
        report::put(cx.shared, report, &form, out);
    }
    form.end(out);
    None
}

/// Whether the first word is one of the reports of latencies.
fn is_latency(word: &[u8]) -> bool {
    matches!(Tokens::split(word).get(0), b"latency" | b"slow" | b"large")
}

/// `stat latency`, `stat slow` and `stat large`, their argument behind a blank.
fn latency(run: &mut PacketRun<'_, '_>, form: Packets, word: &[u8]) -> Option<Box<dyn Listing>> {
    let words = Tokens::split(word);
    match latency_report::begin(run.cx, words.get(0), words.get(1), form, run.out) {
        Ok(LatencyReport::Done) => None,
        Ok(LatencyReport::Reset) => {
            form.end(run.out.bytes());
            None
        }
        Ok(LatencyReport::Listing(listing)) => Some(listing),
        Err(NoReport::NotAllowed | NoReport::Unknown) => {
            run.fail(Status::NotFound);
            None
        }
    }
}

/// Begins a report that names keys; refuses any other word.
fn key_report(run: &mut PacketRun<'_, '_>, word: &[u8], form: Packets) -> Option<Box<dyn Listing>> {
    let words: Vec<&[u8]> = word.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    let refused = match words.split_first().and_then(|(name, words)| key_reports::begin(run.cx, name, words, form)) {
        Some(Ok(listing)) => return Some(listing),
        Some(Err(refused)) => refused,
        None => {
            run.fail(Status::NotFound);
            return None;
        }
    };
    run.fail(match refused {
        ReportRefused::NotAllowed(_) => Status::NotFound,
        ReportRefused::Usage(_) => Status::Invalid,
        ReportRefused::NoMemory => Status::NoMemory,
    });
    None
}

/// Effect of `stat detail`.
enum Detail {
    /// Unknown argument, or dumps are disabled.
    Refused,
    Switched,
    Dump,
}

/// `detail on`, `off` and `dump`.
fn detail(cx: &Cx<'_>, word: &[u8]) -> Detail {
    let on = word.starts_with(b" on");
    if !cx.shared.settings.dump_enabled {
        Detail::Refused
    } else if word.starts_with(b" dump") {
        Detail::Dump
    } else if on || word.starts_with(b" off") {
        cx.shared.cache.set_detail(on);
        cx.shared.runtime.set_detail_enabled(on);
        Detail::Switched
    } else {
        Detail::Refused
    }
}

/// `detail dump`: all lines in one packet. The packet's header needs their length, so all lines are gathered, also in
/// steps, before the first byte is sent.
struct PrefixPacket {
    form: Packets,
    /// `None` once all lines are gathered.
    lines: Option<Prefixes>,
    text: Vec<u8>,
    /// Bytes of `text` already sent; `None` until the packet's header is sent.
    sent: Option<usize>,
    taken: BudgetShare,
}

impl PrefixPacket {
    fn new(cx: &Cx<'_>, form: Packets) -> Self {
        let (lines, taken) = (Prefixes::new(cx, b"END\r\n"), cx.shared.stats.globals.reports.share());
        Self { form, lines: Some(lines), text: Vec::new(), sent: None, taken }
    }

    /// Gathers the next lines: true when all are gathered. `None` without memory for them.
    fn gather(&mut self, cx: &Cx<'_>) -> Option<bool> {
        let Some(lines) = &mut self.lines else { return Some(true) };
        if self.text.capacity() == 0 {
            // Reserves for all lines at once: there is no later allocation.
            let bytes = lines.bytes_max();
            if !self.taken.grow_to(bytes) || !headroom::is_there(bytes + HEADROOM) {
                return None;
            }
            self.text.try_reserve_exact(bytes).ok()?;
        }
        let full = self.text.len() + REPORT_STEP;
        let over = lines.put(cx, &mut self.text, full);
        if over {
            self.lines = None;
        }
        Some(over)
    }
}

impl Listing for PrefixPacket {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        const NAME: &[u8] = b"detailed";
        let gathered = self.gather(cx);
        if gathered == Some(false) {
            return Listed::More;
        }
        let Some(full) = listing::room(out, NAME.len() + 2 * SIZE) else { return Listed::NoMemory };
        let bytes = out.bytes();
        if gathered.is_none() {
            self.form.fail(bytes, Status::NoMemory);
            return Listed::Done;
        }
        let sent = self.sent.unwrap_or_else(|| {
            self.form.begin(bytes, NAME, self.text.len());
            0
        });
        let rest = &self.text[sent..];
        let part = &rest[..rest.len().min(full.saturating_sub(bytes.len()))];
        bytes.extend_from_slice(part);
        self.sent = Some(sent + part.len());
        if part.len() < rest.len() {
            return Listed::More;
        }
        self.form.end(bytes);
        Listed::Done
    }
}
