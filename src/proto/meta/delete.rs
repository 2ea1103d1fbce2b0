//! `md`: delete, empty or mark stale.
//!
//! Owns the reply; [`MetaDelete`] defines the effect on the item. Called by the dispatcher of this directory.

use super::parse::MetaCommand;
use super::reply::put_status;
use crate::cache::{Key, MetaDelete, MetaDeleted};
use crate::proto::line::Run;

/// Runs the command.
#[inline]
pub fn run(run: &mut Run<'_, '_>, command: &MetaCommand<'_>, key: &Key<'_>) {
    let flags = &command.flags;
    let times = flags.times(&run.cx.shared.clock);
    let discarded = run.verbs.discard(
        key,
        MetaDelete {
            compare: flags.compare,
            stale: flags.stale,
            empty: flags.empty.then_some(flags.flags),
            expiry: times.touch.map(|(_, expiry)| expiry),
            chosen: flags.chosen,
        },
    );
    let status = match discarded {
        MetaDeleted::Done if flags.quiet => return,
        MetaDeleted::Done => b"HD",
        MetaDeleted::NotFound => b"NF",
        MetaDeleted::Exists => b"EX",
        MetaDeleted::NoMemory => return run.reply("SERVER_ERROR out of memory"),
    };
    put_status(run.out, status, command, key.bytes());
}
