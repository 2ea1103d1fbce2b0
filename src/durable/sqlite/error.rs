//! Errors of SQLite and of the file system as kinds of an engine's errors.
//!
//! Knows no tables. Called by all files of the engine.

use crate::durable::engine::{EngineError, EngineErrorKind};
use rusqlite::ErrorCode;
use std::io;
use std::path::Path;

/// Error of a call of SQLite.
pub(super) type Failed = rusqlite::Error;

/// The error of `doing` something with the database at `path`.
pub(super) fn of_sqlite(path: &Path, doing: &str, error: &Failed) -> EngineError {
    EngineError::new(kind(error), format!("{}: cannot {doing}: {error}", path.display()))
}

/// The error of `doing` something with the file at `path`.
pub(super) fn of_file(path: &Path, doing: &str, error: &io::Error) -> EngineError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            EngineErrorKind::Full
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => EngineErrorKind::ReadOnly,
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => EngineErrorKind::Other,
        _ => EngineErrorKind::Io,
    };
    EngineError::new(kind, format!("{}: cannot {doing}: {}", path.display(), crate::sys::error_text(error)))
}

fn kind(error: &Failed) -> EngineErrorKind {
    match error {
        Failed::SqliteFailure(error, _) => match error.code {
            ErrorCode::DiskFull => EngineErrorKind::Full,
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::FileLockingProtocolFailed => {
                EngineErrorKind::Io
            }
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => EngineErrorKind::ReadOnly,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => EngineErrorKind::Corrupt,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => EngineErrorKind::InUse,
            _ => EngineErrorKind::Other,
        },
        // What the tables cannot hold as they were created.
        Failed::FromSqlConversionFailure(..)
        | Failed::IntegralValueOutOfRange(..)
        | Failed::InvalidColumnType(..)
        | Failed::QueryReturnedNoRows => EngineErrorKind::Corrupt,
        _ => EngineErrorKind::Other,
    }
}
