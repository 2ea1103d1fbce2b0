//! `me`: internal state of an item, for debugging.
//!
//! Owns the reply. Changes nothing. Called by the dispatcher of this directory.

use super::key::put_key;
use crate::cache::Key;
use crate::printable::is_one_word;
use crate::proto::line::Run;
use crate::stats::Counter;
use crate::store::iflag;
use std::io::Write as _;

/// Runs the command, the only meta command that `cmd_meta` counts.
pub fn run(run: &mut Run<'_, '_>, key: &Key<'_>, base64: bool) {
    let verbs = run.verbs;
    let (now, show_cas) = (verbs.now, verbs.cache.use_cas);
    let bytes = run.out.bytes();
    let hit = run.verbs.inspect(key, |entry| {
        bytes.extend_from_slice(b"ME ");
        let in_base64 = entry.iflags() & iflag::KEY_BINARY != 0 || base64 && !is_one_word(key.bytes());
        put_key(bytes, key.bytes(), in_base64);
        let exptime = match entry.exptime(now) {
            0 => -1,
            // As in memcached, 32 signed bits: a time more than 68 years ahead, which only a binary client can set,
            // shows as a negative number.
            exptime => verbs.seconds_left(exptime) as i32,
        };
        let idle = now.saturating_sub(entry.atime(now));
        let cas = if show_cas { entry.cas() } else { 0 };
        let fetched = if entry.fetched() { "yes" } else { "no" };
        let (class, size) = (entry.class(), entry.memcached_size());
        // Writing into a vector cannot fail.
        let _ = write!(bytes, " exp={exptime} la={idle} cas={cas} fetch={fetched} cls={class} size={size}\r\n");
    });
    if hit.is_none() {
        run.reply("EN");
    }
    run.cx.counters.add(Counter::MetaCmds, 1);
}
