//! What a storage engine does: transactions of one writer, readers beside it.
//!
//! Owns the two traits, the form of a record and the kinds of errors. Must not know threads, queues, or which engine
//! there is. Called by the writer thread ([`Engine`]), by the loading threads and the scans ([`Reader`]).
//!
//! All times are Unix seconds by the wall clock; an `expires` of 0 means never. A record is *live* at `now` if it has
//! not expired and no flush came after it. Only live records are shown by a reader.

pub use crate::settings::Durability;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

/// An item as an engine keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The value.
    pub value: Vec<u8>,
    /// The client's flags.
    pub flags: u32,
    /// When it expires; 0 = never.
    pub expires: i64,
    /// CAS id.
    pub cas: u64,
    /// Bits of [`marks`].
    pub marks: u8,
    /// When it was written.
    pub modified: i64,
}

/// Bits of [`Record::marks`].
pub mod marks {
    /// The item is stale: a meta delete or set has marked it.
    pub const STALE: u8 = 1;
    /// A client holds the win token.
    pub const TOKEN: u8 = 2;
    /// A client gave the key as base64.
    pub const KEY_BINARY: u8 = 4;
    /// The CAS id was chosen by a client.
    pub const CHOSEN_CAS: u8 = 8;
    /// A client gave the expiry time as a date, which follows the wall clock.
    pub const DATE: u8 = 16;
}

/// A record to write.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// Key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The client's flags.
    pub flags: u32,
    /// When it expires; 0 = never.
    pub expires: i64,
    /// CAS id.
    pub cas: u64,
    /// Bits of [`marks`].
    pub marks: u8,
    /// When it was written.
    pub modified: i64,
}

/// What an engine found when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Every CAS id that was used is at most this.
    pub cas_high: u64,
    /// A flush that was requested with a delay, and when it takes effect.
    pub flush_at: Option<i64>,
    /// The last process closed the engine.
    pub was_closed: bool,
}

/// Sizes of an engine's files, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineSizes {
    /// The records' file.
    pub file: u64,
    /// What is free in it.
    pub free: u64,
    /// The log that waits to be moved into the file.
    pub log: u64,
}

/// The writer's side of an engine.
///
/// A transaction is `begin`, changes, `commit`. After an error of any of them the caller calls `roll_back`, which
/// leaves the records as they were before `begin`. A commit that failed may still be found by the next process if this
/// one ends before its next commit. Changes of one transaction name each key once, `flush` first.
pub trait Engine: Send {
    /// What was found at the start.
    fn opened(&self) -> Opened;

    /// Begins a transaction.
    fn begin(&mut self) -> Result<(), EngineError>;

    /// Writes a record, in place of any former one of its key.
    fn put(&mut self, put: &Put<'_>) -> Result<(), EngineError>;

    /// Gives the record of `key` another expiry time and other marks; false if there is none, since it was never
    /// written, or `tend` has removed it after its former expiry time.
    fn touch(&mut self, key: &[u8], expires: i64, marks: u8) -> Result<bool, EngineError>;

    /// Removes the record of `key`, if there is one.
    fn delete(&mut self, key: &[u8]) -> Result<(), EngineError>;

    /// Ends every record there is. Their space is freed later, by `tend`.
    fn flush(&mut self) -> Result<(), EngineError>;

    /// Notes a flush to come, in place of a former note; `None`: there is none.
    fn plan_flush(&mut self, at: Option<i64>) -> Result<(), EngineError>;

    /// Notes that CAS ids up to `high` may be used from now on. Called between transactions. The note survives the loss
    /// of power whatever the durability, since an id that is used twice breaks what a CAS id promises.
    fn reserve_cas(&mut self, high: u64) -> Result<(), EngineError>;

    /// Makes the transaction visible to readers; when it returns, the changes survive whatever the engine was opened
    /// to survive ([`Durability`]).
    fn commit(&mut self) -> Result<(), EngineError>;

    /// Drops the transaction, if there is one.
    fn roll_back(&mut self);

    /// Does a slice, some milliseconds, of what is due between transactions: removes records that have ended, frees
    /// space, shortens the log. After an error nothing of the slice is lost but its work.
    fn tend(&mut self, now: i64) -> Result<Tended, EngineError>;

    /// A reader, for another thread.
    fn open_reader(&self) -> Result<Box<dyn Reader>, EngineError>;

    /// Sizes of the files.
    fn sizes(&self) -> EngineSizes;

    /// Writes all that is due and closes; the last call.
    fn close(&mut self) -> Result<(), EngineError>;
}

/// Where a scan goes on, in a form that only its engine knows. Empty at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPosition(pub Vec<u8>);

/// Result of a slice of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tended {
    /// More is due at once; `removed` records went.
    More {
        /// Records that were removed.
        removed: u64,
    },
    /// Nothing is due.
    Idle {
        /// Records that were removed.
        removed: u64,
    },
}

/// A reader of committed records; each call sees one committed state.
pub trait Reader: Send {
    /// Reads the live record of `key` into `record`, whose memory it reuses; false if there is none.
    fn get(&mut self, key: &[u8], now: i64, record: &mut Record) -> Result<bool, EngineError>;

    /// Visits the next live records behind `position`, in any order, with or without their values, until `visit` breaks
    /// off or enough rows were examined for one call. Moves `position` behind what was examined, and returns whether
    /// there may be more. Calls that go on until there is no more visit every record that was there all the time once.
    /// `visit` must not block: the log cannot be shortened meanwhile.
    fn scan(
        &mut self,
        position: &mut ScanPosition,
        now: i64,
        values: bool,
        visit: &mut dyn FnMut(&[u8], &Record) -> ControlFlow<()>,
    ) -> Result<bool, EngineError>;

    /// Copies the committed records into a new file at `to`, while the writer goes on. The log cannot be shortened
    /// meanwhile. After an error there is no such file.
    ///
    /// # Errors
    /// The file exists, or cannot be written.
    fn back_up(&mut self, to: &Path) -> Result<(), EngineError>;
}

/// Kind of an engine's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// No space is left on the device.
    Full,
    /// Reading or writing failed.
    Io,
    /// The files cannot be written.
    ReadOnly,
    /// The files are damaged, or are not the engine's.
    Corrupt,
    /// Another process uses the files.
    InUse,
    /// The files cannot serve where they are: their file system is on a network, or a later version has written them.
    Unsuitable,
    /// Anything else.
    Other,
}

/// An engine's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineError {
    /// Its kind.
    pub kind: EngineErrorKind,
    /// What failed, for people.
    pub message: String,
}

impl EngineError {
    /// An error of `kind`.
    pub fn new(kind: EngineErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EngineError {}
