//! A large item was refused while its last chunk's class held only last chunks of other chains.

use crate::engine::memory::{STORED, ask, holds, set};
use crate::support::{self, Client, assert_empty, shared};

/// The last chunk of a chain comes from a class of its size, which may hold only last chunks of other chains. Those
/// belong to items of the largest class, so no eviction in the smaller class frees one.
#[test]
fn a_large_item_is_stored_when_all_chunks_for_its_end_are_taken() {
    let shared = shared("-m 32");
    let mut client = Client::new(&shared);
    for (name, len) in [("long", 900_000), ("short", 700_000)] {
        for n in 0..40 {
            assert_eq!(client.ask(&set(&format!("{name}{n}"), len)), STORED, "{name}{n}");
        }
        assert!(holds(&mut client, &format!("{name}39"), len));
    }
    ask(&mut client, "flush_all\r\n");
    support::sweep(shared.cache.store, shared.clock.now());
    assert_empty(&shared);
}
