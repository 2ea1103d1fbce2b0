//! A file system for SQLite that fails and loses power on request: SQLite's default one in this process, over the real.
//!
//! Owns what is durable: for each file its content as of the last sync, and the writes since then. Must not know the
//! engine. Files outside the folder of a [`Disk`] pass through. The index of the log (`-shm`) is shared memory, which
//! no power loss keeps, so it passes through as well.
//!
//! A loss of power leaves of each file what was durable, and of the writes since then all, none, or any subset, each of
//! them perhaps in part: disks write in any order, by sectors. Bytes outside a write stay as they were, which SQLite assumes of
//! every disk (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`). A sync that fails forgets the writes before it: the kernel then
//! takes their pages for clean, and a later sync does not write them.

#![allow(unsafe_code)]

use rusqlite::ffi;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, Once, OnceLock};

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with EIO, once.
    Error,
    /// It and all later calls fail: the power is lost.
    PowerLoss,
}

/// A folder whose files fail on request.
pub struct Disk {
    folder: PathBuf,
    state: Mutex<DiskState>,
}

#[derive(Default)]
struct DiskState {
    files: HashMap<PathBuf, FileState>,
    /// Reads, writes, truncations, syncs and deletions so far.
    calls: u64,
    /// The call that fails, by its number, and how.
    fault: Option<(u64, Fault)>,
    /// Syncs up to and including the one at which the power is lost.
    syncs_left: Option<u64>,
    /// Bytes that can be written until the disk is full.
    room: Option<u64>,
    is_off: bool,
}

#[derive(Default)]
struct FileState {
    durable: Vec<u8>,
    /// Changes since the last sync, in order.
    later: Vec<FileChange>,
}

enum FileChange {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl FileChange {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Truncate(len) => content.truncate(*len),
        }
    }

    /// What of it a torn file has.
    fn torn(&self, random: &mut fastrand::Rng) -> Option<Self> {
        match (random.u8(..3), self) {
            (0, _) => None,
            (1, Self::Write(at, bytes)) => {
                let sectors = random.usize(..=bytes.len() / SECTOR);
                Some(Self::Write(*at, bytes[..sectors * SECTOR].to_vec()))
            }
            (_, Self::Write(at, bytes)) => Some(Self::Write(*at, bytes.clone())),
            (_, Self::Truncate(len)) => Some(Self::Truncate(*len)),
        }
    }
}

static DISKS: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());

impl Disk {
    /// The disk of the files in `folder`.
    pub fn new(folder: &Path) -> Arc<Self> {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(register);
        let folder = fs::canonicalize(folder).unwrap();
        let disk = Arc::new(Self { folder, state: Mutex::default() });
        DISKS.lock().unwrap().push(disk.clone());
        disk
    }

    /// The `nth` call from now fails: 1 for the next.
    pub fn fail_nth(&self, nth: u64, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        state.fault = Some((state.calls + nth, fault));
    }

    /// The power is lost at the `nth` sync from now, as a rule that of a commit.
    pub fn lose_power_at_sync(&self, nth: u64) {
        self.state.lock().unwrap().syncs_left = Some(nth);
    }

    /// The disk is full after so many more bytes.
    pub fn fill_after(&self, bytes: u64) {
        self.state.lock().unwrap().room = Some(bytes);
    }

    /// No call fails from now on.
    pub fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        (state.fault, state.syncs_left, state.room) = (None, None, None);
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.state.lock().unwrap().calls
    }

    /// Every call fails until [`Self::power_on`].
    pub fn power_off(&self) {
        self.state.lock().unwrap().is_off = true;
    }

    /// Puts in place what a loss of power leaves. Every connection must be closed.
    pub fn power_on(&self, random: &mut fastrand::Rng) {
        let mut state = self.state.lock().unwrap();
        for (path, file) in state.files.drain() {
            let mut content = file.durable;
            match random.u8(..3) {
                0 => {}
                1 => file.later.iter().for_each(|change| change.apply(&mut content)),
                _ => {
                    let torn = file.later.iter().filter_map(|change| change.torn(random));
                    torn.for_each(|change| change.apply(&mut content));
                }
            }
            fs::write(path, content).unwrap();
        }
        for entry in fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.to_str().unwrap().ends_with("-shm") {
                fs::remove_file(path).unwrap();
            }
        }
        *state = DiskState { calls: state.calls, ..DiskState::default() };
    }

    /// Ends the disk: later files in its folder pass through.
    pub fn remove(&self) {
        DISKS.lock().unwrap().retain(|disk| disk.folder != self.folder);
    }
}

impl DiskState {
    /// Counts a call; the code of its error if it fails.
    fn call(&mut self, error: c_int) -> Result<(), c_int> {
        self.calls += 1;
        if let Some((nth, fault)) = self.fault
            && self.calls == nth
        {
            self.fault = None;
            self.is_off |= fault == Fault::PowerLoss;
            return Err(error);
        }
        if self.is_off { Err(error) } else { Ok(()) }
    }
}

/// What SQLite knows as a file: the head that it looks at, the disk, and behind it the real file.
#[repr(C)]
struct ShimFile {
    head: ffi::sqlite3_file,
    /// `None`: passes through.
    disk: Option<Box<(Arc<Disk>, PathBuf)>>,
    /// First bytes of the real file; the rest lies behind.
    real: ffi::sqlite3_file,
}

/// The real file system.
struct RealVfs(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite's own file system lives as long as the process, and SQLite calls it from all threads.
unsafe impl Send for RealVfs {}
// SAFETY: as above.
unsafe impl Sync for RealVfs {}

static REAL: OnceLock<RealVfs> = OnceLock::new();

fn real_vfs() -> *mut ffi::sqlite3_vfs {
    REAL.get().expect("set before the shim is registered").0
}

fn register() {
    // SAFETY: the copy differs from the real one in its name, its files and the calls below, each with its signature;
    // it is never freed.
    unsafe {
        let real = ffi::sqlite3_vfs_find(null_mut());
        REAL.set(RealVfs(real)).ok().expect("registered once");
        let shim = Box::leak(Box::new(*real));
        shim.zName = c"faulty".as_ptr();
        shim.pNext = null_mut();
        shim.szOsFile = (offset_of!(ShimFile, real) as c_int) + (*real).szOsFile;
        shim.xOpen = Some(open);
        shim.xDelete = Some(delete);
        assert_eq!(ffi::sqlite3_vfs_register(shim, 1), ffi::SQLITE_OK);
    }
}

/// The disk of a path, which SQLite has made absolute.
fn disk_of(name: *const c_char) -> Option<(Arc<Disk>, PathBuf)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: SQLite's names end with a zero.
    let path = PathBuf::from(unsafe { CStr::from_ptr(name) }.to_str().ok()?);
    let folder = path.parent()?;
    let disk = DISKS.lock().unwrap().iter().find(|disk| disk.folder == folder)?.clone();
    Some((disk, path))
}

extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let found = disk_of(name);
    if let Some((disk, path)) = &found {
        let mut state = disk.state.lock().unwrap();
        if state.is_off {
            // SAFETY: SQLite passes memory for a file; no methods mean that it is not open.
            unsafe { (*file).pMethods = std::ptr::null() };
            return ffi::SQLITE_CANTOPEN;
        }
        // What is there when it is first opened is taken for durable.
        let durable = || FileState { durable: fs::read(path).unwrap_or_default(), later: Vec::new() };
        state.files.entry(path.clone()).or_insert_with(durable);
    }
    // SAFETY: `file` has room for `szOsFile` bytes, so for a `ShimFile` and the real file's rest behind it. It is
    // not initialized, so that its fields are written, not assigned.
    unsafe {
        let shim = file.cast::<ShimFile>();
        (*file).pMethods = std::ptr::null();
        let real = &raw mut (*shim).real;
        let code = ((*real_vfs()).xOpen.expect("the real one has it"))(real_vfs(), name, real, flags, out);
        if code == ffi::SQLITE_OK {
            (&raw mut (*shim).disk).write(found.map(Box::new));
            (*file).pMethods = &raw const METHODS;
        }
        code
    }
}

extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    if let Some((disk, path)) = disk_of(name) {
        let mut state = disk.state.lock().unwrap();
        if let Err(code) = state.call(ffi::SQLITE_IOERR_DELETE) {
            return code;
        }
        state.files.remove(&path);
    }
    // SAFETY: the arguments are those of the caller.
    unsafe { ((*real_vfs()).xDelete.expect("the real one has it"))(real_vfs(), name, sync) }
}

/// Calls a method of the real file below a [`ShimFile`].
macro_rules! real {
    ($method:ident($file:expr $(, $argument:expr)*)) => {
        // SAFETY: SQLite passes files that `open` has opened, with arguments as the method wants them.
        unsafe {
            let real = &raw mut (*$file.cast::<ShimFile>()).real;
            ((*(*real).pMethods).$method.expect("the real one has it"))(real $(, $argument)*)
        }
    };
}

/// Methods that only pass through.
macro_rules! pass {
    ($($name:ident $method:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> $result {
            real!($method(file $(, $argument)*))
        })*
    };
}

pass! {
    file_size xFileSize(size: *mut i64) -> c_int;
    lock xLock(level: c_int) -> c_int;
    unlock xUnlock(level: c_int) -> c_int;
    check_reserved_lock xCheckReservedLock(out: *mut c_int) -> c_int;
    file_control xFileControl(op: c_int, argument: *mut c_void) -> c_int;
    sector_size xSectorSize() -> c_int;
    device_characteristics xDeviceCharacteristics() -> c_int;
    shm_map xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier xShmBarrier() -> ();
    shm_unmap xShmUnmap(delete: c_int) -> c_int;
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Runs `change` on the state of the file's disk, if it has one.
fn on_disk(
    file: *mut ffi::sqlite3_file,
    change: impl FnOnce(&mut DiskState, &Path) -> Result<(), c_int>,
) -> Result<(), c_int> {
    // SAFETY: SQLite passes files that `open` has opened, each to one thread at a time.
    let shim = unsafe { &*file.cast::<ShimFile>() };
    shim.disk.as_ref().map_or(Ok(()), |found| {
        let (disk, path) = &**found;
        change(&mut disk.state.lock().unwrap(), path)
    })
}

fn note(state: &mut DiskState, path: &Path, change: FileChange) {
    if let Some(file) = state.files.get_mut(path) {
        file.later.push(change);
    }
}

extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = real!(xClose(file));
    // SAFETY: `open` has written the field, and SQLite does not use the file again.
    unsafe { (&raw mut (*file.cast::<ShimFile>()).disk).drop_in_place() };
    code
}

extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, len: c_int, at: i64) -> c_int {
    let result = on_disk(file, |state, _| state.call(ffi::SQLITE_IOERR_READ));
    result.map_or_else(|code| code, |()| real!(xRead(file, to, len, at)))
}

extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, len: c_int, at: i64) -> c_int {
    // SAFETY: SQLite passes `len` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), len as usize) };
    let mut fits = bytes.len();
    let result = on_disk(file, |state, path| {
        state.call(ffi::SQLITE_IOERR_WRITE)?;
        if let Some(room) = &mut state.room {
            fits = fits.min(*room as usize);
            *room -= fits as u64;
        }
        note(state, path, FileChange::Write(at as usize, bytes[..fits].to_vec()));
        Ok(())
    });
    if let Err(code) = result {
        return code;
    }
    let code = if fits == 0 { ffi::SQLITE_OK } else { real!(xWrite(file, from, fits as c_int, at)) };
    if code == ffi::SQLITE_OK && fits < bytes.len() { ffi::SQLITE_FULL } else { code }
}

extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    let result = on_disk(file, |state, path| {
        state.call(ffi::SQLITE_IOERR_TRUNCATE)?;
        note(state, path, FileChange::Truncate(len as usize));
        Ok(())
    });
    result.map_or_else(|code| code, |()| real!(xTruncate(file, len)))
}

/// The real sync is left out: no test loses the power of the machine.
extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    let result = on_disk(file, |state, path| {
        state.is_off |= state.syncs_left == Some(1);
        state.syncs_left = state.syncs_left.and_then(|left| left.checked_sub(1));
        let called = state.call(ffi::SQLITE_IOERR_FSYNC);
        let is_off = state.is_off;
        if let Some(file) = state.files.get_mut(path)
            && !is_off
        {
            let later = std::mem::take(&mut file.later);
            if called.is_ok() {
                later.iter().for_each(|change| change.apply(&mut file.durable));
            }
        }
        called
    });
    result.map_or_else(|code| code, |()| ffi::SQLITE_OK)
}

const _: () = assert!(offset_of!(ShimFile, real).is_multiple_of(align_of::<u64>()), "as SQLite aligns its files");
