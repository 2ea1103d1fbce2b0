//! The numbers of chains wrapped at 2^32, and a page move mixed two values of one key.

use crate::engine::mover::{STORED, all_hit_from, filled, fullest, hit, set, step};
use oxcached::store::Progress;

#[test]
fn a_pinned_chain_is_not_confused_with_a_later_one_of_its_key() {
    for later in [0, 1 << 32, 1 << 40] {
        let (shared, mut client) = filled("-m 100 -o slab_chunk_max=16", 150, 30_000);
        let (class, store) = (fullest(&shared), shared.cache.store);
        let held = client.ask_and_hold(b"get k0\r\n");
        // Each value so far was a chain, the first one that of k0.
        store.skip_ids(u64::saturating_sub(later, store.last_cas() - 1));
        assert_eq!(client.ask(&set("k0", 30_000, 99)), STORED);
        let mut job = store.begin_move(class, 0).unwrap();
        assert_eq!(step(&shared, &mut job), Progress::Waits);
        assert_eq!(job.take_counts().last_busy_status, Some("busy_floating"), "{later} chains later");
        assert!(client.ask(b"get k0\r\n") == hit("k0", 30_000, 99), "{later} chains later");
        assert!(held.read() == hit("k0", 30_000, 0), "{later} chains later");
        assert_eq!(step(&shared, &mut job), Progress::Done);
        assert!(client.ask(b"get k0\r\n") == hit("k0", 30_000, 99), "{later} chains later");
        all_hit_from(&mut client, 1, 150, 30_000);
    }
}
