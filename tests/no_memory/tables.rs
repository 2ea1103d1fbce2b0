//! Tables of the store that grow with its pages and items: without memory for them the class goes on as at its limit,
//! or an item takes a place that needs none.

use super::{EXEMPT, REFUSED_HERE, Trial, refuse_from};
use oxcached::clock::Expiry;
use oxcached::store::{ClassView, Config, Key, Meta, Mode, PAGE_BYTES, SizeConfig, Store, Stored, Write};

const NOW: u32 = 1000;

/// A store without a server, used by the thread of the test.
struct Tables {
    store: &'static Store,
    /// Number of the last key.
    next: usize,
}

impl Tables {
    fn new(megabytes: u64, evict: bool) -> Self {
        EXEMPT.set(true);
        let (sizes, maxbytes, initial_items) = (SizeConfig::default(), megabytes << 20, 1 << 17);
        let config = Config { sizes, maxbytes, evict, initial_items, may_grow: false, exact: true, precharged: 0 };
        Self { store: Store::leak(&config).unwrap(), next: 0 }
    }

    /// Stores a value of a new key; false without memory.
    fn put(&mut self, vlen: usize) -> bool {
        self.next += 1;
        let key = format!("key {:08}", self.next).into_bytes();
        let key = Key::new(&key).unwrap();
        let meta = Meta { klen: 12, vlen, flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
        let Some(mut reservation) = self.store.reserve(&key, &meta, NOW) else { return false };
        for piece in [0; 4096].chunks(4096).cycle().take(vlen.div_ceil(4096)) {
            let len = piece.len().min(reservation.missing());
            if reservation.write(&piece[..len]).is_err() {
                return false;
            }
        }
        let write = Write::new(Mode::Set, self.store.next_cas());
        matches!(self.store.commit(reservation, &key, write, NOW).0, Stored::Stored { .. })
    }

    fn pages(&self) -> u64 {
        self.store.malloced() / PAGE_BYTES as u64
    }

    /// The class that has most items.
    fn fullest(&self) -> ClassView {
        self.store.classes(NOW).into_iter().max_by_key(|class| class.items).unwrap()
    }
}

/// Refuses this thread's allocations of at least `size` bytes while `work` runs, which must not assert: a panic
/// allocates.
fn without<R>(size: usize, work: impl FnOnce() -> R) -> R {
    REFUSED_HERE.set(size);
    let result = work();
    REFUSED_HERE.set(usize::MAX);
    result
}

/// The table of a class has 16 bytes for a page and doubles.
#[test]
fn a_class_without_memory_for_its_table_of_pages_gets_no_page() {
    for evict in [false, true] {
        let mut tables = Tables::new(64, evict);
        let stored = without(1024, || (0..200).filter(|_| tables.put(400_000)).count());
        assert_eq!((tables.pages(), stored), (32, if evict { 200 } else { 64 }), "two values fit a page");
        assert_eq!(tables.fullest().counts.outofmemory > 0, !evict);
        assert!(tables.put(400_000));
        assert_eq!(tables.pages(), 33);
    }
}

/// The lists of the page pool have 4 bytes for a page and double.
#[test]
fn a_store_without_memory_for_its_lists_of_pages_hands_out_no_page() {
    let mut tables = Tables::new(128, false);
    for (class, vlen) in [450_000, 350_000, 300_000, 220_000].into_iter().enumerate() {
        without(512, || while tables.put(vlen) {});
        assert_eq!(tables.pages(), 16 * (class as u64 + 1), "of the class itself, another table fails first");
    }
    assert!(!without(512, || tables.put(180_000)), "the first page of a class");
    assert!(tables.put(180_000));
}

#[test]
fn an_item_without_memory_for_its_ring_entry_joins_the_main_part() {
    let mut tables = Tables::new(4, true);
    assert!(without(10_000, || (0..40_000).all(|_| tables.put(100))));
    let class = tables.fullest();
    assert_eq!((class.hot, class.cold, class.queue_bytes), (0, class.items, 0));
    assert!(class.items > 20_000 && class.counts.evicted + class.items == 40_000, "{class:?}");
    assert!((0..10_000).all(|_| tables.put(100)));
    let class = tables.fullest();
    assert!(class.hot > 0 && class.hot + class.cold == class.items, "{class:?}");
}

#[test]
fn an_item_without_memory_for_its_place_in_the_lru_list_joins_the_main_part() {
    let mut tables = Tables::new(4, true);
    tables.store.set_flat(true);
    assert!(without(10_000, || (0..40_000).all(|_| tables.put(100))));
    let class = tables.fullest();
    assert_eq!((class.cold, class.queue_bytes), (class.items, 0));
    assert!(class.items > 20_000 && class.counts.evicted + class.items == 40_000, "{class:?}");
    assert!((0..40_000).all(|_| tables.put(100)));
    assert!(tables.fullest().queue_bytes > 0);
}

/// A large item without an entry in a queue could not be evicted.
#[test]
fn a_large_item_without_memory_for_its_queue_is_refused() {
    for flat in [false, true] {
        let mut tables = Tables::new(16, true);
        tables.store.set_flat(flat);
        assert!(!without(10_000, || tables.put(900_000)));
        assert_eq!((tables.store.items(), tables.store.bytes()), (0, 0));
        assert!((0..5).all(|_| tables.put(900_000)));
        // What was reserved serves items that are there, wherever they go, and is enough for more.
        assert!(without(10_000, || (0..50).all(|_| tables.put(900_000))));
        let items = tables.store.items();
        assert!((8..16).contains(&items), "{items} of 900,000 bytes in 16 MB");
    }
    // A client reads the refusal.
    let mut trial = Trial::new();
    let mut client = trial.server.client();
    refuse_from(10_000);
    client.send(format!("set big 0 0 900000\r\n{}\r\n", "v".repeat(900_000)));
    assert_eq!(client.line(), "SERVER_ERROR out of memory storing object");
    trial.serves_on();
    client.send(format!("set big 0 0 900000\r\n{}\r\n", "v".repeat(900_000)));
    assert_eq!(client.line(), "STORED");
}
