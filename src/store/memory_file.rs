//! The memory file of `-e`: a header for the next process, followed by the item pages.
//!
//! ```text
//! words 0..8      identity: magic, layout, boot, origin of time, checksum of these; then the state and a save's stamp
//! words 16..48    persistent counters
//! words 512..     one entry per page (`page_entries`)
//! byte 2 MiB..    page 1, page 2, ...
//! ```
//! The header is written word by word while the server runs, so the file is as complete after SIGKILL as after an
//! orderly stop. Only a crash or reboot of the machine may lose writes: the header names the boot, and a file of
//! another boot counts as empty unless it was saved. A page is all zero when it gets an entry, so no chunk has an item
//! header that its class did not write.
//!
//! Owns the header; knows no items. Called by the store, and by `maint` at start and stop.

use crate::store::item::SHORT_PAGES;
use crate::store::item::WORD;
use crate::store::slab::{CLASSES_PAGES, PAGE_BYTES, PageEntries, Region};
use crate::sys;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of the header. Page entries take up to half of it: 8 bytes for each page that a 32-bit handle can name.
const HEADER_BYTES: usize = 2 << 20;

/// Word of the first entry, that of page 0, which does not exist.
const ENTRIES: usize = 512;

/// `oxcache3`; the digit is the version of the header's layout and of its counters' meaning.
const MAGIC: u64 = u64::from_le_bytes(*b"oxcache3");

/// Word offsets in the header.
mod at {
    pub const MAGIC: usize = 0;
    pub const LAYOUT: usize = 1;
    pub const BOOT: usize = 2;
    pub const ORIGIN: usize = 3;
    pub const CHECK: usize = 4;
    pub const STATE: usize = 5;
    pub const STAMP: usize = 6;
    pub const COUNTERS: usize = 16;
}

/// Values of the header's state word.
mod condition {
    /// No items, or none to keep.
    pub const VOID: u64 = 0;
    /// A process uses the file, or was killed while it did.
    pub const LIVE: u64 = 1;
    /// Saved by an orderly stop; valid together with the metadata that has the same stamp.
    pub const SAVED: u64 = 2;
}

/// Counters of the store that survive a restart, one word each; in plain memory, or in the memory file. `seq`, which
/// every store of an item increments, has cache lines of its own, because every lookup reads some of the others.
#[derive(Clone, Copy)]
pub struct PersistentCounters {
    /// Last CAS id given out; also the sequence number of items without a CAS word.
    pub seq: &'static AtomicU64,
    /// Last CAS id when the latest flush took effect; 0 = never (`flush`).
    pub flush_seq: &'static AtomicU64,
    /// Begins and ends of flushes that have taken effect (`flush`).
    pub flushes: &'static AtomicU64,
    /// Last second before the pending flush, in relative time; 0 = none.
    pub pending: &'static AtomicU64,
    /// Time of the last flush, as in memcached, for display.
    pub oldest_live: &'static AtomicU64,
    /// Number of items at the last tick: the size of the index that the next process needs.
    pub items: &'static AtomicU64,
    /// Relative time of the last tick.
    pub now: &'static AtomicU64,
    /// Unix time of the last tick.
    pub unix: &'static AtomicU64,
}

/// Words of all counters: two pairs of cache lines, since processors prefetch the second line of a pair.
const COUNTER_WORDS: usize = 32;

/// `PersistentCounters` in plain memory, aligned as in the file.
#[derive(Default)]
#[repr(align(128))]
struct CounterWords([AtomicU64; COUNTER_WORDS]);

impl PersistentCounters {
    fn over(words: &'static [AtomicU64; COUNTER_WORDS]) -> Self {
        let (drawn, others) = words.split_at(COUNTER_WORDS / 2);
        let [seq, ..] = drawn else { unreachable!("half of the counters") };
        let [flush_seq, flushes, pending, oldest_live, items, now, unix, ..] = others else {
            unreachable!("the other half")
        };
        Self { seq, flush_seq, flushes, pending, oldest_live, items, now, unix }
    }

    /// Creates the counters of a store without a memory file. Never freed.
    pub fn leak() -> Self {
        let persistent = Self::over(&Box::leak(Box::<CounterWords>::default()).0);
        persistent.clear();
        persistent
    }

    /// Resets all counters to those of a new store.
    pub fn clear(&self) {
        let times = [self.pending, self.oldest_live, self.now, self.unix];
        for counter in [self.flush_seq, self.flushes, self.items].into_iter().chain(times) {
            counter.store(0, Relaxed);
        }
        self.seq.store(1, Relaxed); // the first CAS id is 2
    }
}

/// Contents of a memory file when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// No items to keep, or an invalid header.
    Nothing,
    /// Items laid out for other settings, or by another version.
    Foreign,
    /// Items of a process that stopped in order; valid with the metadata of the same stamp.
    Saved {
        /// Stamp that the metadata must have.
        stamp: u64,
    },
    /// Items of a process that was killed. The machine has not rebooted since.
    Live,
}

/// The operation that opens the file, in error texts.
const OPEN: &str = "failed to open file for mmap";

fn in_context(what: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("{what}: {}", sys::error_text(&e)))
}

/// Pages of a file for `bytes` of items.
fn pages_for(bytes: u64) -> io::Result<usize> {
    let pages = bytes as usize / PAGE_BYTES + CLASSES_PAGES;
    if pages >= SHORT_PAGES { Err(io::Error::other("a memory file has 128 GB at most")) } else { Ok(pages) }
}

/// An open memory file. Locked for use by one process at a time.
pub struct MemoryFile {
    /// Holds the file lock.
    file: File,
    header: &'static [AtomicU64],
    pages: Region,
    /// Pages of the file when it was opened, a partial one included.
    old_pages: usize,
    holds: Holds,
}

impl MemoryFile {
    /// Opens or creates the file at `path` for items of `layout` (a fingerprint) in at least `bytes` of pages. All
    /// pages are allocated now, so that a lack of space fails here and not when a value arrives.
    ///
    /// # Errors
    /// The system's error, prefixed with the operation that failed; or the file is locked, or would exceed 128 GB.
    pub fn open(path: &Path, layout: u64, bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(in_context(OPEN))?;
        file.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => io::Error::other("another process uses it"),
            TryLockError::Error(e) => in_context("failed to lock the memory file")(e),
        })?;
        let wanted = pages_for(bytes)?;
        let bytes = (file.metadata()?.len() as usize).saturating_sub(HEADER_BYTES);
        let existing = bytes / PAGE_BYTES;
        let pages = wanted.max(existing.min(SHORT_PAGES - 1));
        let len = HEADER_BYTES + pages * PAGE_BYTES;
        sys::file::allocate(&file, len as u64).map_err(in_context("failed to allocate the memory file"))?;
        let whole = Region::map(&file, len).map_err(in_context("failed to mmap, aborting"))?;
        let (header, pages) = whole.split(HEADER_BYTES / 8);
        let mut memory_file =
            Self { file, header: header.words(), pages, old_pages: bytes.div_ceil(PAGE_BYTES), holds: Holds::Nothing };
        memory_file.holds = memory_file.inspect(layout);
        memory_file.word(at::LAYOUT).store(layout, Relaxed);
        Ok(memory_file)
    }

    /// Checks that `path` can be opened, or created, for at least `bytes` of pages; changes nothing.
    ///
    /// # Errors
    /// As [`MemoryFile::open`].
    pub fn can_open(path: &Path, bytes: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let opened = match options.open(path) {
            // A nameless file in the same folder shows whether a named one could be made.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                match options.custom_flags(libc::O_TMPFILE).open(folder.unwrap_or(Path::new("."))) {
                    // Not every file system has them.
                    Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
                    opened => opened.map(drop),
                }
            }
            opened => opened.map(drop),
        };
        opened.map_err(in_context(OPEN))?;
        pages_for(bytes).map(drop)
    }

    fn word(&self, at: usize) -> &'static AtomicU64 {
        &self.header[at]
    }

    /// Classifies the contents by the header as the previous process left it.
    fn inspect(&self, layout: u64) -> Holds {
        let read = |at: usize| self.word(at).load(Relaxed);
        let state = read(at::STATE);
        if read(at::MAGIC) != MAGIC || state == condition::VOID || read(at::CHECK) != self.check() {
            return Holds::Nothing;
        }
        match state {
            _ if read(at::LAYOUT) != layout => Holds::Foreign,
            condition::SAVED => Holds::Saved { stamp: read(at::STAMP) },
            condition::LIVE if boot_id() != 0 && read(at::BOOT) == boot_id() => Holds::Live,
            _ => Holds::Nothing,
        }
    }

    /// Checksum of the header words that do not change while a process runs.
    fn check(&self) -> u64 {
        let words = [at::MAGIC, at::LAYOUT, at::BOOT, at::ORIGIN].map(|at| self.word(at).load(Relaxed).to_le_bytes());
        crate::hash::checksum(words.as_flattened())
    }

    /// Contents of the file when it was opened, or last cleared.
    pub fn holds(&self) -> Holds {
        self.holds
    }

    /// Relative and unix time of the last tick of the process that left the file.
    pub fn last_seen(&self) -> (u32, i64) {
        let persistent = self.persistent();
        (persistent.now.load(Relaxed) as u32, persistent.unix.load(Relaxed) as i64)
    }

    /// Records the relative and unix time of a tick.
    pub fn note_time(&self, now: u32, unix: i64) {
        let persistent = self.persistent();
        persistent.now.store(now.into(), Relaxed);
        persistent.unix.store(unix as u64, Relaxed);
    }

    /// The counters in the header.
    pub fn persistent(&self) -> PersistentCounters {
        let words = self.header[at::COUNTERS..].first_chunk().expect("the header is longer than its counters");
        PersistentCounters::over(words)
    }

    /// Drops all items and resets the header, for an empty store.
    pub fn clear(&mut self) {
        self.set_state(condition::VOID);
        self.entries().clear();
        self.persistent().clear();
        // Pages that `open` has added are zero already.
        for page in 1..=self.old_pages.min(self.page_count()) {
            self.clear_page(page as u32);
        }
        self.holds = Holds::Nothing;
    }

    /// Marks the file as in use by this process, with `origin` as the unix time of its relative time 0.
    pub fn begin(&self, origin: i64) {
        self.word(at::MAGIC).store(MAGIC, Relaxed);
        self.word(at::BOOT).store(boot_id(), Relaxed);
        self.word(at::ORIGIN).store(origin as u64, Relaxed);
        self.word(at::CHECK).store(self.check(), Relaxed);
        self.set_state(condition::LIVE);
    }

    /// Marks the items as not to be kept.
    pub fn abandon(&self) {
        self.set_state(condition::VOID);
    }

    /// Marks the items as saved under `stamp`, and writes them to the file.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn save(&self, stamp: u64) -> io::Result<()> {
        self.word(at::STAMP).store(stamp, Relaxed);
        self.set_state(condition::SAVED);
        self.pages.sync()?;
        Region::over(self.header).sync()
    }

    fn set_state(&self, state: u64) {
        self.word(at::STATE).store(state, Relaxed);
    }

    /// Memory of the pages.
    pub fn pages(&self) -> Region {
        self.pages
    }

    /// Number of pages in the file.
    pub fn page_count(&self) -> usize {
        self.pages.words().len() / (PAGE_BYTES / 8)
    }

    /// Class and stride of each page.
    pub fn entries(&self) -> PageEntries {
        PageEntries::over(&self.header[ENTRIES..])
    }

    /// Zeroes a page.
    pub fn clear_page(&self, page: u32) {
        let from = (page as usize - 1) * (PAGE_BYTES / WORD);
        for word in &self.pages.halves()[from..from + PAGE_BYTES / WORD] {
            // Load first: no store, and no write-back, for words that are zero already.
            if word.load(Relaxed) != 0 {
                word.store(0, Relaxed);
            }
        }
    }
}

impl Drop for MemoryFile {
    /// Unlocks explicitly: the mapping outlives the descriptor, and would keep the lock.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Fingerprint of the machine's boot id; 0 where it is not available.
fn boot_id() -> u64 {
    std::fs::read("/proc/sys/kernel/random/boot_id").map_or(0, |id| crate::hash::checksum(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_new_file_holds_nothing_and_one_in_use_is_live() {
        let dir = scratch();
        let path = dir.path().join("memory");
        let memory_file = MemoryFile::open(&path, 7, 1 << 20).unwrap();
        assert_eq!(memory_file.holds(), Holds::Nothing);
        memory_file.begin(1000);
        memory_file.persistent().seq.store(99, Relaxed);
        memory_file.note_time(70, 1070);
        memory_file.entries().enter(2, 5, 152);
        drop(memory_file);
        let memory_file = MemoryFile::open(&path, 7, 1 << 20).unwrap();
        assert_eq!((memory_file.holds(), memory_file.last_seen()), (Holds::Live, (70, 1070)));
        assert_eq!(memory_file.persistent().seq.load(Relaxed), 99);
        assert_eq!([1, 2].map(|page| memory_file.entries().get(page)), [None, Some((5, 152))]);
    }

    #[test]
    fn saved_abandoned_and_foreign_files_are_told_apart() {
        let dir = scratch();
        let path = dir.path().join("memory");
        let memory_file = MemoryFile::open(&path, 7, 1 << 20).unwrap();
        memory_file.begin(1000);
        memory_file.save(77).unwrap();
        drop(memory_file);
        let mut memory_file = MemoryFile::open(&path, 7, 1 << 20).unwrap();
        assert_eq!(memory_file.holds(), Holds::Saved { stamp: 77 });
        memory_file.clear();
        memory_file.begin(1);
        drop(memory_file);
        assert_eq!(MemoryFile::open(&path, 8, 1 << 20).unwrap().holds(), Holds::Foreign);
        let memory_file = MemoryFile::open(&path, 8, 1 << 20).unwrap();
        memory_file.begin(1);
        memory_file.abandon();
        drop(memory_file);
        assert_eq!(MemoryFile::open(&path, 8, 1 << 20).unwrap().holds(), Holds::Nothing);
    }

    #[test]
    fn damage_is_detected() {
        let dir = scratch();
        let path = dir.path().join("memory");
        let memory_file = MemoryFile::open(&path, 7, 1 << 20).unwrap();
        memory_file.begin(1000);
        memory_file.word(at::ORIGIN).store(5, Relaxed);
        drop(memory_file);
        assert_eq!(MemoryFile::open(&path, 7, 1 << 20).unwrap().holds(), Holds::Nothing);
    }

    #[test]
    fn a_file_is_locked_by_one_process_at_a_time() {
        let dir = scratch();
        let path = dir.path().join("memory");
        let _first = MemoryFile::open(&path, 7, 1 << 20).unwrap();
        let second = MemoryFile::open(&path, 7, 1 << 20).map(|_| ()).unwrap_err();
        assert!(second.to_string().contains("another process"), "{second}");
    }

    #[test]
    fn a_file_grows_and_does_not_shrink() {
        let dir = scratch();
        let path = dir.path().join("memory");
        let small = MemoryFile::open(&path, 7, 1 << 20).unwrap().page_count();
        let large = MemoryFile::open(&path, 7, 9 << 20).unwrap().page_count();
        assert_eq!((large, MemoryFile::open(&path, 7, 1 << 20).unwrap().page_count()), (small + 8, large));
    }
}
