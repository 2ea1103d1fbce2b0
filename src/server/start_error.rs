//! Why a server did not start, with the process's exit code.
//!
//! Owns the exit codes. `main` reports the error.

use crate::admin::BindRefused;
use crate::settings::Exit;
use crate::sys::error_text;
use std::io;

/// Exit code for every other failure (`EXIT_FAILURE`).
pub(super) const FAILURE: i32 = 1;
/// Exit code for unusable files named by an option (`EX_USAGE`).
pub(super) const USAGE: i32 = 64;
/// Exit code for errors of the operating system (`EX_OSERR`).
pub(super) const OS_ERROR: i32 = 71;

/// Why a server did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// Exit code of the process.
    pub code: i32,
    /// For stderr, without a final line feed.
    pub message: String,
}

impl StartError {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Error of a step without an error text of its own.
    pub(super) fn from_io(code: i32, what: &str, error: &io::Error) -> Self {
        Self::new(code, format!("{what}: {}", error_text(error)))
    }
}

impl From<Exit> for StartError {
    fn from(exit: Exit) -> Self {
        Self::new(exit.code, exit.stderr.strip_suffix('\n').unwrap_or(&exit.stderr))
    }
}

impl From<BindRefused> for StartError {
    fn from(refused: BindRefused) -> Self {
        match refused {
            BindRefused::Insecure(message) => Self::new(USAGE, message),
            BindRefused::System(message) => Self::new(OS_ERROR, message),
        }
    }
}
