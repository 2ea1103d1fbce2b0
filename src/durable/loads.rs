//! Loads in progress: at most one for each key, joined by every command that waits for the key.
//!
//! Owns which keys are being loaded, the completions that wait for them, and whether a load is still valid. Must not
//! know engines. A worker begins a load on a miss; a loading thread reads the record and links it; the sink reports
//! the changes that make a load invalid.
//!
//! A record is read without any lock of its key, so the key may change between the read and the link. A loading thread
//! therefore declares the load valid, reads, and links the item under the key's bucket lock, only if the load is still
//! valid. Each change, also made under the bucket lock, makes the loads of its key invalid; a flush those of all keys.

use crate::cache::{Completion, Key, Load};
use crossbeam_channel::{Receiver, Sender, unbounded};
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// The key of a load.
#[derive(Clone)]
pub(super) struct LoadKey {
    hash: u64,
    bytes: Arc<[u8]>,
}

impl LoadKey {
    /// The key.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a loading thread receives.
pub(super) enum LoadRequest {
    /// Load this key.
    Load(LoadKey),
    /// End.
    Stop,
}

struct LoadInProgress {
    key: LoadKey,
    is_valid: bool,
    waiting: Vec<Completion>,
}

impl LoadInProgress {
    fn is_of(&self, hash: u64, bytes: &[u8]) -> bool {
        self.key.hash == hash && *self.key.bytes == *bytes
    }
}

/// All loads in progress.
pub(super) struct Loads {
    table: Mutex<HashTable<LoadInProgress>>,
    /// Entries of the table.
    count: AtomicUsize,
    requests: Sender<LoadRequest>,
}

impl Loads {
    /// No loads, and what the loading threads receive: unbounded, but each waiting command has one request at most.
    pub fn new() -> (Arc<Self>, Receiver<LoadRequest>) {
        let (requests, received) = unbounded();
        (Arc::new(Self { table: Mutex::default(), count: AtomicUsize::new(0), requests }), received)
    }

    /// Begins or joins the load of `key`; returns also whether it was joined.
    pub fn begin(self: &Arc<Self>, key: &Key<'_>) -> (Load, bool) {
        let (hash, bytes) = (key.hash(), key.bytes());
        let mut table = self.table.lock();
        let found = table.find(hash, |load| load.is_of(hash, bytes)).map(|load| load.key.clone());
        let joined = found.is_some();
        let key = found.unwrap_or_else(|| {
            let key = LoadKey { hash, bytes: bytes.into() };
            let load = LoadInProgress { key: key.clone(), is_valid: false, waiting: Vec::new() };
            table.insert_unique(hash, load, |load| load.key.hash);
            self.count.fetch_add(1, SeqCst);
            key
        });
        drop(table);
        if !joined {
            self.request(key.clone());
        }
        let loads = Arc::clone(self);
        (Load::new(move |completion| loads.subscribe(&key, completion)), joined)
    }

    /// Requests a load, or requests it again if it could not end yet.
    pub fn request(&self, key: LoadKey) {
        if self.requests.send(LoadRequest::Load(key.clone())).is_err() {
            self.end(&key);
        }
    }

    /// Asks `threads` threads to end, and ends every load.
    pub fn stop(&self, threads: usize) {
        (0..threads).for_each(|_| drop(self.requests.send(LoadRequest::Stop)));
        let mut table = self.table.lock();
        let ended = std::mem::take(&mut *table);
        self.count.store(0, SeqCst);
        drop(table);
        drop(ended);
    }

    fn subscribe(&self, key: &LoadKey, completion: Completion) {
        let mut table = self.table.lock();
        // A load that has ended is not found: the completion reports when it is dropped, without the lock.
        let waits = match table.find_mut(key.hash, |load| load.is_of(key.hash, &key.bytes)) {
            Some(load) => {
                load.waiting.push(completion);
                None
            }
            None => Some(completion),
        };
        drop(table);
        drop(waits);
    }

    /// Declares a load valid, before its record is read.
    pub fn validate(&self, key: &LoadKey) {
        self.set_valid(key.hash, &key.bytes, true);
    }

    /// Makes the load of a changed key invalid. The caller holds the key's bucket, and has made the change pending.
    #[inline]
    pub fn invalidate(&self, key: &Key<'_>) {
        if self.count.load(SeqCst) != 0 {
            self.set_valid(key.hash(), key.bytes(), false);
        }
    }

    #[cold]
    fn set_valid(&self, hash: u64, bytes: &[u8], is_valid: bool) {
        if let Some(load) = self.table.lock().find_mut(hash, |load| load.is_of(hash, bytes)) {
            load.is_valid = is_valid;
        }
    }

    /// Makes every load invalid: a flush takes effect.
    pub fn invalidate_all(&self) {
        self.table.lock().iter_mut().for_each(|load| load.is_valid = false);
    }

    /// Whether nothing has changed the key since [`Loads::validate`]. The caller holds the key's bucket.
    pub fn is_valid(&self, key: &LoadKey) -> bool {
        let table = self.table.lock();
        table.find(key.hash, |load| load.is_of(key.hash, &key.bytes)).is_some_and(|load| load.is_valid)
    }

    /// Ends a load: reports it to the commands that wait.
    pub fn end(&self, key: &LoadKey) {
        let mut table = self.table.lock();
        let ended = table.find_entry(key.hash, |load| load.is_of(key.hash, &key.bytes)).ok().map(|found| {
            self.count.fetch_sub(1, SeqCst);
            found.remove().0
        });
        drop(table);
        drop(ended);
    }

    /// Loads in progress.
    pub fn count(&self) -> usize {
        self.count.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn counting(count: &Arc<AtomicU32>) -> Completion {
        let count = Arc::clone(count);
        Completion::new(move || {
            count.fetch_add(1, SeqCst);
        })
    }

    #[test]
    fn commands_join_the_load_of_their_key_and_all_are_told_of_its_end() {
        let (loads, requests) = Loads::new();
        let (key, other) = (Key::new(b"a").unwrap(), Key::new(b"b").unwrap());
        let told = Arc::<AtomicU32>::default();
        for joined in [false, true, true] {
            let (load, did_join) = loads.begin(&key);
            assert_eq!(did_join, joined);
            load.then(counting(&told));
        }
        let (late, _) = loads.begin(&key);
        assert!(!loads.begin(&other).1);
        let Ok(LoadRequest::Load(first)) = requests.recv() else { panic!("no request") };
        assert_eq!((first.bytes(), requests.len(), loads.count()), (&b"a"[..], 1, 2));
        loads.end(&first);
        assert_eq!((told.load(SeqCst), loads.count()), (3, 1));
        late.then(counting(&told));
        assert_eq!(told.load(SeqCst), 4, "a load that has ended reports at once");
    }

    #[test]
    fn a_change_of_the_key_or_a_flush_makes_a_load_invalid() {
        let (loads, requests) = Loads::new();
        let (key, other) = (Key::new(b"a").unwrap(), Key::new(b"b").unwrap());
        drop(loads.begin(&key));
        let Ok(LoadRequest::Load(load)) = requests.recv() else { panic!("no request") };
        assert!(!loads.is_valid(&load));
        loads.validate(&load);
        loads.invalidate(&other);
        assert!(loads.is_valid(&load));
        loads.invalidate(&key);
        assert!(!loads.is_valid(&load));
        loads.validate(&load);
        loads.invalidate_all();
        assert!(!loads.is_valid(&load));
        loads.end(&load);
        loads.validate(&load);
        assert!(!loads.is_valid(&load), "a load that has ended is of no use");
    }
}
