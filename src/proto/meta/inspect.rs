//! `me`: internal state of an item, for debugging.
//!
//! Owns the reply. Changes nothing. Called by the dispatcher of this directory.

use super::key::put_key;
use super::reply::put_number;
use crate::cache::Key;
use crate::decimal;
use crate::printable::is_one_word;
use crate::proto::line::Run;
use crate::stats::Counter;
use crate::store::iflag;

/// Runs the command, the only meta command that `cmd_meta` counts.
pub fn run(run: &mut Run<'_, '_>, key: &Key<'_>, base64: bool) {
    let verbs = run.verbs;
    let (now, show_cas) = (verbs.now, verbs.cache.use_cas);
    let hit = run.out.append(|reply| {
        run.verbs.inspect(key, |entry| {
            let in_base64 = entry.iflags() & iflag::KEY_BINARY != 0 || base64 && !is_one_word(key.bytes());
            reply.put(b"ME ");
            put_key(reply, key.bytes(), in_base64);
            let exptime = match entry.exptime(now) {
                0 => -1,
                // As in memcached, 32 signed bits: a time more than 68 years ahead, which only a binary client can set,
                // shows as a negative number.
                exptime => verbs.seconds_left(exptime) as i32,
            };
            reply.put(if exptime < 0 { b" exp=-" } else { b" exp=" });
            decimal::write(reply, exptime.unsigned_abs().into());
            put_number(reply, b" la=", now.saturating_sub(entry.atime(now)).into());
            put_number(reply, b" cas=", if show_cas { entry.cas() } else { 0 });
            reply.put(if entry.fetched() { b" fetch=yes" } else { b" fetch=no" });
            put_number(reply, b" cls=", entry.class().into());
            put_number(reply, b" size=", entry.memcached_size() as u64);
            reply.put(b"\r\n");
        })
    });
    if hit.is_none() {
        run.reply("EN");
    }
    run.cx.counters.add(Counter::MetaCmds, 1);
}
