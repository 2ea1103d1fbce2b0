//! An old ring entry of a chunk that had become a large item's head let small items evict the large one.

use crate::engine::memory::{STORED, ask, holds, set};
use crate::support::{self, Client, assert_empty, shared};

#[test]
fn heads_of_large_items_leave_no_entry_in_the_small_items_queue() {
    let shared = shared("-m 8");
    let mut client = Client::new(&shared);
    for n in 0..60 {
        assert_eq!(client.ask(&set(&format!("small{n}"), 10)), STORED);
        ask(&mut client, &format!("delete small{n}\r\n"));
        assert_eq!(client.ask(&set("large", 600_000)), STORED);
    }
    // Stores enough small items that their class evicts past every old entry.
    for n in 0..400_000 {
        assert_eq!(client.ask(&set(&format!("s{n}"), 10)), STORED);
    }
    assert!(holds(&mut client, "large", 600_000), "small items do not evict a large one");
    assert_eq!(ask(&mut client, "delete large\r\n"), "DELETED\r\n");
    ask(&mut client, "flush_all\r\n");
    support::sweep(shared.cache.store, shared.clock.now());
    assert_empty(&shared);
}
