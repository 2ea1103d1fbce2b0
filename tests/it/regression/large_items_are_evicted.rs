//! A large item whose head took the chunk of a small one entered no queue, and was never evicted.

use crate::engine::memory::{STORED, ask, holds, set};
use crate::support::{self, Client, assert_empty, shared};

#[test]
fn large_items_can_always_be_evicted() {
    // A large item's head takes the chunk of a small item; that one's entry in its class's queue outlives it.
    let shared = shared("-m 8");
    let mut client = Client::new(&shared);
    for n in 0..200 {
        assert_eq!(client.ask(&set(&format!("small{n}"), 10)), STORED);
        ask(&mut client, &format!("delete small{n}\r\n"));
        assert_eq!(client.ask(&set(&format!("large{n}"), 600_000)), STORED, "number {n}");
        assert!(holds(&mut client, &format!("large{n}"), 600_000));
    }
    ask(&mut client, "flush_all\r\n");
    support::sweep(shared.cache.store, shared.clock.now());
    assert_empty(&shared);
}
