//! A deleted large value that a client still read left a queue entry that ended every search for a victim.

use crate::engine::memory::{STORED, ask, hit, set};
use crate::support::{self, Client, assert_empty, shared};

#[test]
fn a_slow_reader_of_a_deleted_value_does_not_stop_eviction() {
    let shared = shared("-m 8");
    let mut client = Client::new(&shared);
    assert_eq!(client.ask(&set("read", 600_000)), STORED);
    let held = client.ask_and_hold(b"get read\r\n");
    // It was read, so it moves to the main part when room is needed.
    for n in 0..40 {
        assert_eq!(client.ask(&set(&format!("other{n}"), 600_000)), STORED);
    }
    ask(&mut client, "delete read\r\n");
    for n in 40..80 {
        assert_eq!(client.ask(&set(&format!("other{n}"), 600_000)), STORED, "number {n}");
    }
    assert!(held.read() == hit("read", 600_000));
    ask(&mut client, "flush_all\r\n");
    support::sweep(shared.cache.store, shared.clock.now());
    assert_empty(&shared);
}
