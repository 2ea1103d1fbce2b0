//! Items on a page whose move was cancelled had lost their ring entries, and were never evicted.

use crate::engine::mover::{STORED, ask, evictions, fullest, hit, set};
use crate::support::{self, Client, assert_empty, shared};

#[test]
fn items_left_by_a_cancelled_move_can_be_evicted() {
    for (args, len) in [("", 1000), ("-o slab_chunk_max=16", 30_000)] {
        let shared = shared(&format!("-m 8 {args}"));
        let mut client = Client::new(&shared);
        let (mut count, mut key) = (0, 0);
        let mut fill = |client: &mut Client, count: usize, read: bool| {
            for _ in 0..count {
                let name = format!("k{key}");
                assert_eq!(client.ask(&set(&name, len, key)), STORED);
                assert!(!read || client.ask(format!("get {name}\r\n").as_bytes()) == hit(&name, len, key));
                key += 1;
            }
        };
        while evictions(&shared) == 0 {
            fill(&mut client, 1, false);
            count += 1;
        }
        let class = fullest(&shared);
        let job = shared.cache.store.begin_move(class, 0).unwrap();
        fill(&mut client, 2 * count, false);
        shared.cache.store.cancel_move(job);
        // Items that are read stay and displace unread ones.
        fill(&mut client, 4 * count, true);
        let stayed = (0..count).filter(|n| client.ask(format!("get k{n}\r\n").as_bytes()) != b"END\r\n");
        assert_eq!(stayed.count(), 0, "{args}: these are unread");
        ask(&mut client, "flush_all\r\n");
        support::sweep(shared.cache.store, shared.clock.now());
        assert_empty(&shared);
    }
}
