//! Servers for one conversation each: fresh to whoever asks, at the price of an emptied store.
//!
//! Owns one store a thread for each list of options, which lives as long as the thread; everything else of a server is
//! made anew.

use super::support::{self, UNIX, assert_empty, settings, sweep};
use oxcached::auth::Auth;
use oxcached::clock::Clock;
use oxcached::proto::Shared;
use oxcached::settings::Settings;
use oxcached::store::Store;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Memory enough for every input, in few classes: pages with few chunks are soon swept.
pub const ROOMY: &str = "-m 64 -t 1 -o hashpower=12,slab_sizes=600-4000-20000-100000,slab_chunk_max=256";

/// All stores, for the sake of leak detectors: they outlive the threads.
static MADE: Mutex<Vec<&Store>> = Mutex::new(Vec::new());

thread_local! {
    static STORES: RefCell<HashMap<String, (Settings, &'static Store)>> = RefCell::default();
}

/// A server that has just started with these options, on a clock that stands still.
pub fn start(options: &str) -> Arc<Shared> {
    start_with(options, None)
}

/// The same with users.
pub fn start_with(options: &str, auth: Option<Auth>) -> Arc<Shared> {
    STORES.with_borrow_mut(|stores| {
        let (settings, store) = stores.entry(options.to_owned()).or_insert_with(|| {
            let settings = settings(options);
            let store = support::shared_with(settings.clone()).cache.store;
            MADE.lock().unwrap().push(store);
            (settings, store)
        });
        let shared = Shared::over(store, settings.clone(), Clock::manual(UNIX), Box::new(|_| ()));
        Arc::new(Shared { auth, ..shared })
    })
}

/// Flushes everything; then no memory may be in use. All clients must have gone.
pub fn stop(shared: &Arc<Shared>) {
    let (store, now) = (shared.cache.store, shared.clock.now());
    store.flush(now, now);
    sweep(store, now);
    assert_empty(shared);
    assert!(shared.watchers.is_empty(), "a watcher has left its seat taken");
    assert!(store.set_limit(shared.settings.maxbytes));
    store.restart();
}
