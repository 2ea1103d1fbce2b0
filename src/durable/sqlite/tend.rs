//! Upkeep between transactions: removes records that have ended, gives pages back to the file system, and moves the log
//! into the file.
//!
//! Owns where the sweep stands. Must not know the other statements. Called by the engine's `tend` and `close`.
//!
//! ```text
//! log       PASSIVE checkpoint once LOG_BYTES wait in it; RESTART, which waits for readers up to RESTART_TIMEOUT,
//!           once it is four times as long; a checkpoint is one call and takes as long as the disk needs
//! records   those that have expired, by the index of `expires`; then, after a flush, all rows by their ids
//! pages     freed at the end of the file, while more than a sixteenth of the file is free
//! ```

use super::error::Failed;
use super::open::{BUSY_TIMEOUT, Place};
use crate::durable::engine::{EngineError, Tended};
use rusqlite::{Connection, params};
use std::time::{Duration, Instant};

/// Time of a slice; the last step may pass it.
const SLICE: Duration = Duration::from_millis(5);
/// Bytes of the log that a checkpoint is worth.
const LOG_BYTES: i64 = 16 << 20;
/// Bytes that the file of the log keeps when it begins again.
pub(super) const LOG_KEPT: i64 = 4 * LOG_BYTES;
/// Longest wait of a checkpoint for readers.
const RESTART_TIMEOUT: Duration = Duration::from_millis(20);
/// Rows that a step of the sweep reads.
const SWEEP_STEP: usize = 128;
/// Pages that a step frees.
const FREE_STEP: i64 = 64;
/// Free pages that stay in any file.
const FREE_MIN: i64 = 256;
/// A file keeps one page in so many free, for the next records.
const FREE_PART: i64 = 16;

const EXPIRED: &str = "
    SELECT id FROM item INDEXED BY item_expires WHERE expires > 0 AND expires <= ?1 ORDER BY expires LIMIT ?2";
const NEXT: &str = "SELECT id, epoch FROM item WHERE id > ?1 ORDER BY id LIMIT ?2";
const DELETE: &str = "DELETE FROM item WHERE id = ?1";

/// State of the upkeep.
pub(super) struct Upkeep {
    page_size: i64,
    sweep: Sweep,
    /// Frames of the log from which on a RESTART is tried.
    restart_at: i64,
}

/// Where the removal of flushed rows stands.
#[derive(Clone, Copy, Default)]
struct Sweep {
    /// Rows of earlier epochs are gone.
    swept: i64,
    /// The epoch that the present pass will have swept, while there is one.
    pass: Option<i64>,
    /// Last row that the pass has examined.
    after: i64,
}

/// Frames of the log, and how many of them the file has.
struct Log {
    frames: i64,
    moved: i64,
}

impl Upkeep {
    pub(super) fn new(connection: &Connection, place: &Place, swept: i64) -> Result<Self, EngineError> {
        let page_size = pragma(connection, "PRAGMA page_size").map_err(|e| place.error("read it", e))?;
        let sweep = Sweep { swept, ..Sweep::default() };
        Ok(Self { page_size, sweep, restart_at: LOG_KEPT / page_size })
    }

    /// A slice of what is due. After an error the caller rolls back.
    pub(super) fn slice(&mut self, connection: &Connection, epoch: i64, now: i64) -> Result<Tended, Failed> {
        let end = Instant::now() + SLICE;
        self.shorten_log(connection)?;
        let before = self.sweep;
        let result = self.sweep_slice(connection, epoch, now, end);
        if result.is_err() {
            // The rows of the pass come back with the rollback.
            self.sweep = before;
        }
        let (removed, mut more) = result?;
        more |= self.free_slice(connection, end)?;
        Ok(if more { Tended::More { removed } } else { Tended::Idle { removed } })
    }

    /// Removes rows until `end`: how many, and whether there are more.
    fn sweep_slice(
        &mut self,
        connection: &Connection,
        epoch: i64,
        now: i64,
        end: Instant,
    ) -> Result<(u64, bool), Failed> {
        let mut expired = expired_rows(connection, now)?;
        if expired.is_empty() && self.sweep.swept == epoch {
            return Ok((0, false));
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut removed = 0;
        while !expired.is_empty() && Instant::now() < end {
            for id in expired {
                removed += remove(connection, id)?;
                if Instant::now() >= end {
                    break;
                }
            }
            expired = expired_rows(connection, now)?;
        }
        while self.sweep.swept < epoch && Instant::now() < end {
            removed += self.sweep_step(connection, epoch, end)?;
        }
        connection.execute_batch("COMMIT")?;
        Ok((removed, !expired.is_empty() || self.sweep.swept < epoch))
    }

    /// Examines the next rows of a pass, and begins or ends a pass.
    fn sweep_step(&mut self, connection: &Connection, epoch: i64, end: Instant) -> Result<u64, Failed> {
        let sweep = &mut self.sweep;
        let pass = *sweep.pass.get_or_insert(epoch);
        let mut statement = connection.prepare_cached(NEXT)?;
        let rows =
            statement.query_map(params![sweep.after, SWEEP_STEP as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows = rows.collect::<Result<Vec<(i64, i64)>, _>>()?;
        let is_last = rows.len() < SWEEP_STEP;
        let mut removed = 0;
        for (id, epoch) in rows {
            if epoch < pass {
                removed += remove(connection, id)?;
            }
            sweep.after = id;
            if Instant::now() >= end {
                return Ok(removed);
            }
        }
        if is_last {
            connection.prepare_cached("UPDATE meta SET swept = ?1")?.execute(params![pass])?;
            *sweep = Sweep { swept: pass, ..Sweep::default() };
        }
        Ok(removed)
    }

    /// Shortens the file until `end`; whether there is more to do.
    fn free_slice(&self, connection: &Connection, end: Instant) -> Result<bool, Failed> {
        loop {
            let pages = pragma(connection, "PRAGMA page_count")?;
            let free = pragma(connection, "PRAGMA freelist_count")?;
            let spare = free - FREE_MIN - pages / FREE_PART;
            if spare <= 0 {
                return Ok(false);
            }
            if Instant::now() >= end {
                return Ok(true);
            }
            let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({})", spare.min(FREE_STEP)))?;
            let mut steps = statement.query([])?;
            // Each step frees a page.
            while steps.next()?.is_some() {}
        }
    }

    /// Moves the log into the file once it is worth it.
    fn shorten_log(&mut self, connection: &Connection) -> Result<(), Failed> {
        let worth = LOG_BYTES / self.page_size;
        let log = checkpoint(connection, "NOOP")?;
        if log.frames - log.moved < worth {
            return Ok(());
        }
        if log.frames < self.restart_at {
            checkpoint(connection, "PASSIVE")?;
            return Ok(());
        }
        connection.busy_timeout(RESTART_TIMEOUT)?;
        let restarted = checkpoint(connection, "RESTART");
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let log = restarted?;
        // A reader that stands in the way is not waited for again until the log has grown.
        self.restart_at = if log.moved == log.frames { LOG_KEPT / self.page_size } else { log.frames + worth };
        Ok(())
    }

    /// Moves all of the log into the file and empties it.
    pub(super) fn empty_log(&self, connection: &Connection) -> Result<(), Failed> {
        checkpoint(connection, "TRUNCATE").map(|_| ())
    }

    /// Free bytes in the file; 0 if SQLite cannot tell.
    pub(super) fn free_bytes(&self, connection: &Connection) -> u64 {
        let pages = pragma(connection, "PRAGMA freelist_count").unwrap_or(0);
        (pages * self.page_size).cast_unsigned()
    }
}

fn pragma(connection: &Connection, sql: &str) -> Result<i64, Failed> {
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// A checkpoint that finds a lock in its way does what it can, without an error.
fn checkpoint(connection: &Connection, mode: &str) -> Result<Log, Failed> {
    let mut statement = connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    statement.query_row([], |row| Ok(Log { frames: row.get(1)?, moved: row.get(2)? }))
}

/// Some rows that have expired.
fn expired_rows(connection: &Connection, now: i64) -> Result<Vec<i64>, Failed> {
    let mut statement = connection.prepare_cached(EXPIRED)?;
    let rows = statement.query_map(params![now, SWEEP_STEP as i64], |row| row.get(0))?;
    rows.collect()
}

fn remove(connection: &Connection, id: i64) -> Result<u64, Failed> {
    Ok(connection.prepare_cached(DELETE)?.execute(params![id])? as u64)
}
