//! Flush, version, statistics.
//!
//! Owns the words of `stat` and its rows as packets. Cold: clarity before speed.

use super::header::{Head, Parts};
use super::{Run, Status};
use crate::proto::report::{Report, Rows};
use crate::settings::VERSION;
use crate::stats::Counter;
use std::fmt::Display;

pub(super) fn version(run: &mut Run<'_, '_>) {
    run.begin_reply(&Parts { body: VERSION.len() as u32, ..Parts::default() });
    run.out.put(VERSION.as_bytes());
}

/// Extras, if any: the expiry time from which on everything is gone.
pub(super) fn flush(run: &mut Run<'_, '_>, extras: &[u8]) {
    if !run.cx.shared.settings.flush_enabled {
        return run.fail(Status::Refused);
    }
    let exptime = extras.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    run.verbs.flush(i64::from(exptime), &run.cx.shared.clock);
    run.cx.shared.runtime.set_oldest_live(run.verbs.cache.store.oldest_live());
    run.verbs.counters.add(Counter::FlushCmds, 1);
    run.done(0);
}

/// Rows as packets: name as key, value as value.
struct Packets<'a> {
    head: Head,
    out: &'a mut Vec<u8>,
}

impl Packets<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        let (key_len, body) = (key.len() as u16, (key.len() + value.len()) as u32);
        let parts = Parts { key: key_len, body, ..Parts::default() };
        self.out.extend_from_slice(&self.head.reply(&parts));
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(value);
    }
}

impl Rows for Packets<'_> {
    fn row(&mut self, name: &dyn Display, value: &dyn Display) {
        self.put(name.to_string().as_bytes(), value.to_string().as_bytes());
    }
}

/// Statistics; an empty packet ends them. The first words are known by their beginning, the others as they are.
pub(super) fn stat(run: &mut Run<'_, '_>, word: &[u8]) {
    let report = Report { cx: run.cx, verbs: run.verbs };
    let rows = &mut Packets { head: run.head, out: run.out.bytes() };
    match word {
        b"" => report.general(rows),
        _ if word.starts_with(b"reset") => run.cx.shared.reset_stats(),
        _ if word.starts_with(b"settings") => report.settings(rows),
        _ if word.starts_with(b"detail") => {
            if !detail(run, &word[b"detail".len()..]) {
                return run.fail(Status::NotFound);
            }
        }
        b"items" => report.items(rows),
        b"slabs" => report.slabs(rows),
        b"sizes" => report.sizes(rows),
        _ => return run.fail(Status::NotFound),
    }
    let end = &mut Packets { head: run.head, out: run.out.bytes() };
    end.put(b"", b"");
}

/// `detail on`, `off` and `dump`; false if it is none of these, or not allowed.
fn detail(run: &mut Run<'_, '_>, word: &[u8]) -> bool {
    if !run.cx.shared.settings.dump_enabled {
        return false;
    }
    let cache = run.verbs.cache;
    if word.starts_with(b" dump") {
        let mut dump = Vec::new();
        cache.prefixes.dump(&mut dump);
        dump.extend_from_slice(b"END\r\n");
        Packets { head: run.head, out: run.out.bytes() }.put(b"detailed", &dump);
        return true;
    }
    let on = word.starts_with(b" on");
    if !on && !word.starts_with(b" off") {
        return false;
    }
    cache.set_detail(on);
    run.cx.shared.runtime.set_detail_enabled(on);
    true
}
