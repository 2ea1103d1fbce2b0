//! Where the database is, and how its connections are opened: the lock against a second process, the check of the file
//! system, the tables, and what each connection is told.
//!
//! Must not know transactions. Called by the engine at its start and by its readers.
//!
//! The lock is a `flock` of `PATH-lock`, a file that stays. It is not one of the database itself: closing any
//! descriptor of that file ends the locks that SQLite has on it in this process. Other programs may open the database
//! beside the engine; SQLite orders them by its own locks.

use super::error::{Failed, of_file, of_sqlite};
use super::tend::LOG_KEPT;
use crate::durable::engine::{Durability, EngineError, EngineErrorKind, Opened};
use crate::sys;
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `application_id` in the header of the file: "oxcd".
const APPLICATION: i32 = 0x6f78_6364;
/// `user_version` in the header of the file: the form of the tables.
const FORMAT: i32 = 1;
/// Bytes of a page of a new database.
const PAGE_SIZE: u32 = 4096;
/// How long a connection waits for a lock of another program.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Rows have ids of their own, and an index of the keys. A table that is ordered by the keys themselves is a little
/// smaller for small values, but its inserts write twice as much to the log, and its rows hold only a few hundred bytes
/// of a value within the page: of 1 MiB it reads a tenth as many in the same time (`docs/durable.md` has the figures).
///
/// The columns stand in the order of their use: `value` is last, so that a read of the others does not follow its
/// pages. `swept`: rows of earlier epochs are gone. `cas` and `cas_high` are the bits of an unsigned number.
const TABLES: &str = "
    CREATE TABLE item (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        epoch INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        cas INTEGER NOT NULL,
        flags INTEGER NOT NULL,
        marks INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    CREATE INDEX item_expires ON item (expires) WHERE expires > 0;
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch INTEGER NOT NULL,
        swept INTEGER NOT NULL,
        cas_high INTEGER NOT NULL,
        flush_at INTEGER,
        closed INTEGER NOT NULL
    ) STRICT;
    INSERT INTO meta VALUES (1, 0, 0, 0, NULL, 0);";

/// The claimed place of a database. Every connection keeps it, so that the lock is the last to go.
pub(super) struct Place {
    path: PathBuf,
    _lock: File,
}

/// The row of `meta`.
pub(super) struct Meta {
    pub opened: Opened,
    pub epoch: i64,
    pub swept: i64,
}

impl Place {
    /// Creates the file if there is none, and locks it against other processes.
    pub(super) fn claim(path: &Path) -> Result<Self, EngineError> {
        let claimed = || {
            // Never opened if it exists: closing a descriptor ends SQLite's locks.
            let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            if let Err(e) = new
                && e.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(e);
            }
            // Absolute, so that SQLite takes no name for `:memory:` or an address; and one name for one file.
            fs::canonicalize(path)
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let network = sys::file::network_file_system(folder).map_err(|e| of_file(folder, "look at it", &e))?;
        if let Some(name) = network {
            let message = format!("{}: a store cannot be on a network file system ({name})", path.display());
            return Err(EngineError::new(EngineErrorKind::Unsuitable, message));
        }
        let path = claimed().map_err(|e| of_file(path, "open it", &e))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The error of `doing` something with the database.
    pub(super) fn error(&self, doing: &str, error: Failed) -> EngineError {
        of_sqlite(&self.path, doing, &error)
    }

    /// The writer's connection, with `cache` bytes for pages. Creates the tables of a new database.
    pub(super) fn connect_writer(&self, durability: Durability, cache: u64) -> Result<Connection, EngineError> {
        let open = || {
            let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE, cache)?;
            let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
            let format: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            Ok((connection, application, format, tables == 0))
        };
        let (connection, application, format, is_empty) = open().map_err(|e| self.error("open it", e))?;
        if !connection.is_readonly(c"main").is_ok_and(|read_only| !read_only) {
            let message = format!("{}: the file cannot be written", self.path.display());
            return Err(EngineError::new(EngineErrorKind::ReadOnly, message));
        }
        let is_new = is_empty && application == 0 && format == 0;
        if !is_new && application != APPLICATION {
            let message = format!("{}: a database of another program", self.path.display());
            return Err(EngineError::new(EngineErrorKind::Corrupt, message));
        }
        if !is_new && format != FORMAT {
            let found = format!("written by another version: its format is {format}, and {FORMAT} is known");
            let message = format!("{}: {found}", self.path.display());
            return Err(EngineError::new(EngineErrorKind::Unsuitable, message));
        }
        let prepare = || {
            if is_new {
                // Both come into force with the first page, or with VACUUM.
                connection.pragma_update(None, "page_size", PAGE_SIZE)?;
                connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")?;
            }
            let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            // Only once the log begins again: what a long reader has made it grow is given back.
            connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
            connection.pragma_update(
                None,
                "synchronous",
                if durability == Durability::Sync { "FULL" } else { "NORMAL" },
            )?;
            if is_new {
                let header = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT};");
                connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} {header} COMMIT"))?;
            }
            Ok(mode)
        };
        let mode = prepare().map_err(|e| self.error(if is_new { "create it" } else { "prepare it" }, e))?;
        if mode != "wal" {
            let message = format!("{}: the file system cannot hold a database in WAL mode", self.path.display());
            return Err(EngineError::new(EngineErrorKind::Unsuitable, message));
        }
        Ok(connection)
    }

    /// A connection that only reads, with `cache` bytes for pages.
    pub(super) fn connect_reader(&self, cache: u64) -> Result<Connection, EngineError> {
        self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY, cache).map_err(|e| self.error("open it for reading", e))
    }

    fn connect(&self, mode: OpenFlags, cache: u64) -> Result<Connection, Failed> {
        // One thread at a time uses a connection: SQLite needs no lock for it.
        let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Negative: KiB. A file that shrinks or fails below a mapping would end the process: no mapping.
        let pages = -i64::try_from(cache / 1024).unwrap_or(i64::MAX).max(1);
        connection.pragma_update(None, "cache_size", pages)?;
        connection.execute_batch("PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY")?;
        // Damage and foreign tables become errors.
        connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
        Ok(connection)
    }

    pub(super) fn read_meta(&self, connection: &Connection) -> Result<Meta, EngineError> {
        let read = |row: &rusqlite::Row<'_>| {
            let cas_high = row.get::<_, i64>(2)?.cast_unsigned();
            let opened = Opened { cas_high, flush_at: row.get(3)?, was_closed: row.get(4)? };
            Ok(Meta { opened, epoch: row.get(0)?, swept: row.get(1)? })
        };
        let result = connection.query_row("SELECT epoch, swept, cas_high, flush_at, closed FROM meta", [], read);
        result.map_err(|e| self.error("read it", e))
    }

    /// Bytes of the database and of its log.
    pub(super) fn file_sizes(&self) -> (u64, u64) {
        let len = |path: &Path| fs::metadata(path).map_or(0, |data| data.len());
        (len(&self.path), len(&beside(&self.path, "-wal")))
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn lock(path: &Path) -> Result<File, EngineError> {
    let name = beside(path, "-lock");
    let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name);
    let file = open().map_err(|e| of_file(&name, "open it", &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!("{}: another process uses it (it has locked {})", path.display(), name.display());
            Err(EngineError::new(EngineErrorKind::InUse, message))
        }
        Err(TryLockError::Error(e)) => Err(of_file(&name, "lock it", &e)),
    }
}
