//! Readers of the database: a connection each, and statements that end soon.
//!
//! Must not know the writer. Called by the loading threads, the scans and the backup.
//!
//! A statement sees one committed state, and while it runs the log cannot start from its beginning. So a scan examines
//! at most [`EXAMINED_MAX`] rows in a statement, records that have ended among them.

use super::error::{Failed, of_file};
use super::open::Place;
use crate::durable::engine::{EngineError, EngineErrorKind, Reader, Record, ScanPosition};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, Row, params};
use std::fs::{self, File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// Rows that one statement of a scan examines.
const EXAMINED_MAX: usize = 1024;
/// Pages that one step of a backup copies.
const BACKUP_STEP: i32 = 256;

const GET: &str = "
    SELECT flags, expires, cas, marks, modified, value FROM item
    WHERE key = ?1 AND epoch = (SELECT epoch FROM meta) AND (expires = 0 OR expires > ?2)";

/// Reads no value of a record that has ended. By rows, not by keys: those lie side by side in the file.
const SCAN: &str = "
    SELECT flags, expires, cas, marks, modified,
        CASE WHEN epoch = (SELECT epoch FROM meta) AND (expires = 0 OR expires > ?2) THEN value END,
        key, id
    FROM item WHERE id > ?1 ORDER BY id LIMIT ?3";
const SCAN_KEYS: &str = "
    SELECT flags, expires, cas, marks, modified,
        CASE WHEN epoch = (SELECT epoch FROM meta) AND (expires = 0 OR expires > ?2) THEN x'' END,
        key, id
    FROM item WHERE id > ?1 ORDER BY id LIMIT ?3";

/// A reader of the database.
pub(super) struct SqliteReader {
    connection: Connection,
    place: Arc<Place>,
    /// What a scan shows.
    record: Record,
}

impl SqliteReader {
    pub(super) fn new(place: Arc<Place>, cache: u64) -> Result<Self, EngineError> {
        let connection = place.connect_reader(cache)?;
        Ok(Self { connection, place, record: Record::default() })
    }

    /// Visits live rows with an id greater than `after`: the last id examined, and whether there may be more.
    fn examine(
        &mut self,
        mut after: i64,
        now: i64,
        values: bool,
        visit: &mut dyn FnMut(&[u8], &Record) -> ControlFlow<()>,
    ) -> Result<(i64, bool), Failed> {
        let mut statement = self.connection.prepare_cached(if values { SCAN } else { SCAN_KEYS })?;
        let mut rows = statement.query(params![after, now, EXAMINED_MAX as i64])?;
        let mut examined = 0;
        while let Some(row) = rows.next()? {
            examined += 1;
            after = row.get(7)?;
            if read(row, &mut self.record)? && visit(row.get_ref(6)?.as_blob()?, &self.record).is_break() {
                return Ok((after, true));
            }
        }
        Ok((after, examined == EXAMINED_MAX))
    }

    fn copy(&self, to: &Path) -> Result<StepResult, Failed> {
        let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // One state from the first page to the last: without it, each commit would start the copy again.
        self.connection.execute_batch("BEGIN; SELECT epoch FROM meta")?;
        let result = copy_pages(&self.connection, &mut target);
        self.connection.execute_batch("COMMIT")?;
        let end = result?;
        target.close().map_err(|(_, e)| e)?;
        Ok(end)
    }
}

fn copy_pages(from: &Connection, to: &mut Connection) -> Result<StepResult, Failed> {
    let backup = Backup::new(from, to)?;
    loop {
        match backup.step(BACKUP_STEP)? {
            StepResult::More => {}
            end => return Ok(end),
        }
    }
}

/// Reads the first columns of a row into `record`; false if the record has ended.
fn read(row: &Row<'_>, record: &mut Record) -> Result<bool, Failed> {
    let Some(value) = row.get_ref(5)?.as_blob_or_null()? else { return Ok(false) };
    record.value.clear();
    record.value.extend_from_slice(value);
    record.flags = row.get(0)?;
    record.expires = row.get(1)?;
    record.cas = row.get::<_, i64>(2)?.cast_unsigned();
    record.marks = row.get(3)?;
    record.modified = row.get(4)?;
    Ok(true)
}

impl Reader for SqliteReader {
    fn get(&mut self, key: &[u8], now: i64, record: &mut Record) -> Result<bool, EngineError> {
        let mut find = || {
            let mut statement = self.connection.prepare_cached(GET)?;
            let mut rows = statement.query(params![key, now])?;
            rows.next()?.map_or(Ok(false), |row| read(row, record))
        };
        find().map_err(|e| self.place.error("read a record", e))
    }

    fn scan(
        &mut self,
        position: &mut ScanPosition,
        now: i64,
        values: bool,
        visit: &mut dyn FnMut(&[u8], &Record) -> ControlFlow<()>,
    ) -> Result<bool, EngineError> {
        let after = position.0.as_slice().try_into().map_or(0, i64::from_be_bytes);
        let result = self.examine(after, now, values, visit);
        let (after, more) = result.map_err(|e| self.place.error("scan the records", e))?;
        position.0 = after.to_be_bytes().to_vec();
        Ok(more)
    }

    fn back_up(&mut self, to: &Path) -> Result<(), EngineError> {
        let failed = |e| of_file(to, "create it", &e);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(failed)?;
        let copied = || {
            // Absolute, so that SQLite takes no name for `:memory:` or an address.
            let to = fs::canonicalize(to).map_err(failed)?;
            match self.copy(&to).map_err(|e| self.place.error("copy it", e))? {
                StepResult::Done => {}
                _ => return Err(EngineError::new(EngineErrorKind::InUse, format!("{}: it is locked", to.display()))),
            }
            let folder = to.parent().unwrap_or(&to);
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| of_file(&to, "keep it", &e))
        };
        copied().inspect_err(|_| {
            let _ = fs::remove_file(to);
        })
    }
}
