//! Config get: the nodes of a cluster, for clients that discover them.
//!
//! Owns the form of the replies, which is that of a get. memcached lacks these opcodes; Amazon's libmemcached and its
//! client for Java define them. Called while `-o cluster_file` is on, and by `get` for a miss of a key as long as
//! [`KEY`].

use super::header::{Head, Parts};
use super::reply::{PacketRun, Status};
use crate::cluster::{Cluster, ClusterConfig, KEY, NAME};

/// Opcodes whose replies omit a miss, and opcodes whose replies have the key.
const QUIET: [u8; 2] = [0x61, 0x63];
const WITH_KEY: [u8; 2] = [0x62, 0x63];

/// Whether the lengths are those of a get.
pub(super) fn fits(head: &Head) -> bool {
    head.extras == 0 && head.key > 0 && head.value() == 0
}

/// Replies with the configuration `name`.
pub(super) fn get(run: &mut PacketRun<'_, '_>, cluster: &Cluster, name: &[u8]) {
    let opcode = run.head.opcode;
    let shown = if WITH_KEY.contains(&opcode) { name } else { &[] };
    if name == NAME {
        return put(run, &cluster.current(), shown);
    }
    if QUIET.contains(&opcode) {
        return;
    }
    if shown.is_empty() {
        return run.fail(Status::NotFound);
    }
    let len = shown.len() as u16;
    run.begin_reply(&Parts { status: Status::NotFound as u16, key: len, body: len.into(), ..Parts::default() });
    run.out.put(shown);
}

/// Replies to a get of `key` that has missed, if it is [`KEY`] and there is a configuration.
#[cold]
pub(super) fn answer(run: &mut PacketRun<'_, '_>, key: &[u8], shows_key: bool) -> bool {
    let Some(cluster) = run.cx.shared.cluster.as_ref().filter(|_| key == KEY) else { return false };
    put(run, &cluster.current(), if shows_key { key } else { &[] });
    true
}

/// Appends a hit: flags 0 as extras, and the version as CAS id.
fn put(run: &mut PacketRun<'_, '_>, config: &ClusterConfig, key: &[u8]) {
    const EXTRAS: [u8; 4] = [0; 4];
    let body = (EXTRAS.len() + key.len() + config.text().len()) as u32;
    let (extras, cas) = (EXTRAS.len() as u8, config.version().into());
    run.begin_reply(&Parts { status: 0, extras, key: key.len() as u16, body, cas });
    run.out.put(&EXTRAS);
    run.out.put(key);
    run.out.put(config.text());
}
