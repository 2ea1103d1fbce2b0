//! The engine of `-o store=sqlite:PATH`: a SQLite database in WAL mode.
//!
//! Owns the connection of the writer, and the form of the tables (`open`). Must not know threads, queues or items.
//! Called by the writer thread; [`open_reader`](Engine::open_reader) makes the readers, each with a connection of its
//! own.
//!
//! A flush raises the epoch in `meta`: a row is live while its epoch is that one. So a flush writes one row, whatever
//! the number of records, and `tend` removes the others later, some milliseconds at a time.
//!
//! SQLite checkpoints by itself only at the end; `tend` does it, so that a commit never waits for a checkpoint.

mod error;
mod open;
mod reader;
mod tend;

use self::error::Failed;
use self::open::Place;
use self::reader::SqliteReader;
use self::tend::Upkeep;
use super::engine::{Durability, Engine, EngineError, EngineErrorKind, EngineSizes, Opened, Put, Reader, Tended};
use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::Arc;

const PUT: &str = "
    INSERT INTO item (key, epoch, expires, cas, flags, marks, modified, value)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT (key) DO UPDATE SET
        epoch = ?2, expires = ?3, cas = ?4, flags = ?5, marks = ?6, modified = ?7, value = ?8";
const TOUCH: &str = "UPDATE item SET expires = ?2, marks = ?3 WHERE key = ?1 AND epoch = ?4";

/// The writer's side of a database. Dropping it without [`close`](Engine::close) leaves what a killed process leaves.
pub struct SqliteEngine {
    connection: Connection,
    place: Arc<Place>,
    durability: Durability,
    opened: Opened,
    /// Memory for pages, in bytes, of all connections.
    cache: u64,
    /// The epoch of the rows that are written now; within a transaction it may be one that is not committed.
    epoch: i64,
    /// The epoch before the present transaction.
    committed_epoch: i64,
    /// The database says that it was closed.
    is_marked_closed: bool,
    upkeep: Upkeep,
}

impl SqliteEngine {
    /// Opens the database at `path`, or creates it. SQLite keeps at most `cache` bytes of pages: half of them for the
    /// writer, an eighth for each reader.
    ///
    /// # Errors
    /// The file is not a store, is damaged, cannot be written, is in use, or lies on a network file system.
    pub fn open(path: &Path, durability: Durability, cache: u64) -> Result<Self, EngineError> {
        let place = Arc::new(Place::claim(path)?);
        let connection = place.connect_writer(durability, cache / 2)?;
        let meta = place.read_meta(&connection)?;
        let upkeep = Upkeep::new(&connection, &place, meta.swept)?;
        Ok(Self {
            connection,
            place,
            durability,
            opened: meta.opened,
            cache,
            epoch: meta.epoch,
            committed_epoch: meta.epoch,
            is_marked_closed: meta.opened.was_closed,
            upkeep,
        })
    }

    /// Runs `sql`, a transaction of its own that survives the loss of power in every durability. The log is synced as
    /// far as it reaches, so that all earlier commits do as well.
    fn execute_durably(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<(), Failed> {
        // SQLite refuses to change the level within a transaction.
        self.connection.execute_batch("PRAGMA synchronous = FULL")?;
        let result = self.connection.execute(sql, parameters);
        if self.durability != Durability::Sync {
            self.connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        }
        result?;
        Ok(())
    }

    fn is_in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    fn execute(&self, sql: &'static str, parameters: impl rusqlite::Params, doing: &str) -> Result<usize, EngineError> {
        if !self.is_in_transaction() {
            return Err(self.place.misused("a change outside a transaction"));
        }
        let run = || self.connection.prepare_cached(sql)?.execute(parameters);
        run().map_err(|e| self.place.error(doing, e))
    }
}

impl Engine for SqliteEngine {
    fn opened(&self) -> Opened {
        self.opened
    }

    fn begin(&mut self) -> Result<(), EngineError> {
        if self.is_in_transaction() {
            return Err(self.place.misused("a transaction within a transaction"));
        }
        if self.is_marked_closed {
            // Not part of the transaction: a loss of power that drops it would leave the mark beside lost changes.
            let result = self.execute_durably("UPDATE meta SET closed = 0", []);
            result.map_err(|e| self.place.error("clear the mark of a clean end", e))?;
            self.is_marked_closed = false;
        }
        let result = self.connection.execute_batch("BEGIN IMMEDIATE");
        result.map_err(|e| self.place.error("begin a transaction", e))
    }

    fn put(&mut self, put: &Put<'_>) -> Result<(), EngineError> {
        let cas = put.cas.cast_signed();
        let row = params![put.key, self.epoch, put.expires, cas, put.flags, put.marks, put.modified, put.value];
        self.execute(PUT, row, "write a record").map(|_| ())
    }

    fn touch(&mut self, key: &[u8], expires: i64, marks: u8) -> Result<bool, EngineError> {
        let rows = self.execute(TOUCH, params![key, expires, marks, self.epoch], "touch a record")?;
        Ok(rows > 0)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.execute("DELETE FROM item WHERE key = ?1", params![key], "delete a record").map(|_| ())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.execute("UPDATE meta SET epoch = ?1", params![self.epoch + 1], "flush")?;
        self.epoch += 1;
        Ok(())
    }

    fn plan_flush(&mut self, at: Option<i64>) -> Result<(), EngineError> {
        self.execute("UPDATE meta SET flush_at = ?1", params![at], "note a flush to come").map(|_| ())
    }

    fn reserve_cas(&mut self, high: u64) -> Result<(), EngineError> {
        if self.is_in_transaction() {
            return Err(self.place.misused("CAS ids reserved within a transaction"));
        }
        let result = self.execute_durably("UPDATE meta SET cas_high = ?1", params![high.cast_signed()]);
        result.map_err(|e| self.place.error("reserve CAS ids", e))
    }

    fn commit(&mut self) -> Result<(), EngineError> {
        if !self.is_in_transaction() {
            return Err(self.place.misused("a commit outside a transaction"));
        }
        self.connection.execute_batch("COMMIT").map_err(|e| self.place.error("commit", e))?;
        self.committed_epoch = self.epoch;
        Ok(())
    }

    fn roll_back(&mut self) {
        // An error may have ended the transaction. The statement itself cannot fail where there is one.
        if self.is_in_transaction()
            && let Err(e) = self.connection.execute_batch("ROLLBACK")
        {
            log::error!("{}", self.place.error("roll back", e));
        }
        self.epoch = self.committed_epoch;
    }

    fn tend(&mut self, now: i64) -> Result<Tended, EngineError> {
        if self.is_in_transaction() {
            return Err(self.place.misused("upkeep within a transaction"));
        }
        let result = self.upkeep.slice(&self.connection, self.epoch, now);
        if result.is_err() {
            self.roll_back();
        }
        result.map_err(|e| self.place.error("tend", e))
    }

    fn open_reader(&self) -> Result<Box<dyn Reader>, EngineError> {
        Ok(Box::new(SqliteReader::new(self.place.clone(), self.cache / 8)?))
    }

    fn sizes(&self) -> EngineSizes {
        let (file, log) = self.place.file_sizes();
        EngineSizes { file, free: self.upkeep.free_bytes(&self.connection), log }
    }

    fn close(&mut self) -> Result<(), EngineError> {
        self.roll_back();
        let result = self.execute_durably("UPDATE meta SET closed = 1", []);
        result.map_err(|e| self.place.error("mark a clean end", e))?;
        self.is_marked_closed = true;
        let result = self.upkeep.empty_log(&self.connection);
        result.map_err(|e| self.place.error("move the log into the file", e))
    }
}

impl Place {
    fn misused(&self, what: &str) -> EngineError {
        EngineError::new(EngineErrorKind::Other, format!("{}: {what}", self.path().display()))
    }
}
