//! Plan of the preloaded library: compiles `shim.rs`, and writes the plan that it reads.
//!
//! Owns the layout of the plan on this side; `shim.rs` owns the meaning of its words. A plan can change at any time:
//! the library reads it at each call.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Calls that can fail, in the order of the plan's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Call {
    Accept,
    Receive,
    Send,
    Load,
    Wake,
    Write,
    EpollWait,
    EpollCtl,
    Eventfd,
    Mmap,
    Madvise,
    Open,
    Rename,
    Fsync,
    Allocate,
    Thread,
    Socket,
    Listen,
    Memory,
    WallClock,
    Count,
}

/// Effect on calls.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    what: u64,
    fd: u64,
    chance: u64,
    skip: u64,
    left: u64,
    least: u64,
}

impl Fault {
    /// Each call fails with this error number.
    pub fn error(errno: i32) -> Self {
        Self { what: errno as u64, fd: u64::MAX, chance: 100, skip: 0, left: u64::MAX, least: 0 }
    }

    /// No call fails; those on the descriptor are counted.
    pub fn none() -> Self {
        Self::error(0)
    }

    /// Each transfer is limited to this many bytes.
    pub fn short(bytes: u64) -> Self {
        Self { what: (1 << 32) + bytes, ..Self::error(0) }
    }

    /// The wall clock is ahead by this many seconds.
    pub fn ahead(seconds: i64) -> Self {
        Self { what: seconds.cast_unsigned(), ..Self::error(0) }
    }

    /// Affects calls on this descriptor only.
    pub fn on(self, fd: i32) -> Self {
        Self { fd: fd as u64, ..self }
    }

    /// Applies with a chance in percent.
    pub fn chance(self, chance: u64) -> Self {
        Self { chance, ..self }
    }

    /// Skips the first calls.
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// Affects allocations and mappings of this size and larger.
    pub fn at_least(self, least: u64) -> Self {
        Self { least, ..self }
    }

    /// Applies this many times.
    pub fn times(self, left: u64) -> Self {
        Self { left, ..self }
    }
}

const ROW: u64 = 8;
const SEEN: u64 = 5;
const MADE: u64 = 6;
const LEAST: u64 = 7;

/// The plan of one server.
pub struct Plan(File);

impl Plan {
    /// A plan at `path` without faults.
    pub fn new(path: &Path, seed: u64) -> Self {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        file.set_len(8 * (Call::Count as u64 * ROW + 1)).unwrap();
        let plan = Self(file);
        plan.put(Call::Count, 0, seed);
        plan
    }

    /// Makes calls fail from now on.
    pub fn set(&self, call: Call, fault: Fault) {
        self.clear(call);
        // Writes the effect last: the library may read between any two writes.
        let words = [fault.fd, fault.chance, fault.skip, fault.left];
        (1..).zip(words).for_each(|(word, value)| self.put(call, word, value));
        self.put(call, LEAST, fault.least);
        self.put(call, 0, fault.what);
    }

    /// Sets the server's wall clock ahead by `ahead` seconds.
    pub fn set_wall_clock(&self, ahead: i64) {
        self.put(Call::WallClock, 0, Fault::ahead(ahead).what);
    }

    /// Ends the fault of a call and resets its counts.
    pub fn clear(&self, call: Call) {
        self.put(call, 0, 0);
        self.put(call, 1, u64::MAX);
        self.put(call, SEEN, 0);
        self.put(call, MADE, 0);
    }

    /// Number of calls that failed, or were short, since the last change.
    pub fn made(&self, call: Call) -> u64 {
        self.get(call, MADE)
    }

    /// Number of calls, on the fault's descriptor, since the last change.
    pub fn seen(&self, call: Call) -> u64 {
        self.get(call, SEEN)
    }

    fn put(&self, call: Call, word: u64, value: u64) {
        self.0.write_all_at(&value.to_ne_bytes(), 8 * (call as u64 * ROW + word)).unwrap();
    }

    fn get(&self, call: Call, word: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, 8 * (call as u64 * ROW + word)).unwrap();
        u64::from_ne_bytes(bytes)
    }
}

/// The library, compiled once per run of the tests.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.rs");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.so", std::process::id()));
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args([
            "--edition",
            "2024",
            "--crate-type",
            "cdylib",
            "-O",
            "-C",
            "panic=abort",
            "-D",
            "warnings",
            "-o",
        ]);
        let made = command.arg(&library).arg(&source).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        library
    })
}
