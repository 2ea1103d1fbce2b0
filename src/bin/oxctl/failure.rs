//! Why a command of oxctl ends early, and its exit code.
//!
//! Owns the exit codes. Must not know any command. Used by all modules of oxctl.

use std::io;
use std::process::ExitCode;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No valid answer: unreachable, too late, closed, or not memcached's protocol. Also files that cannot be read or
    /// written.
    Unavailable(String),
    /// The server answers, and refuses: it lacks the command, or wants a login.
    Refused(String),
    /// The command line is wrong.
    Usage(String),
    /// The reader of standard output has closed it.
    ReaderLeft,
}

/// Exit code of a reader that has closed standard output: as a shell reports SIGPIPE.
const READER_LEFT: u8 = 128 + 13;

/// `EX_USAGE` of sysexits.h: never taken for an answer of the server.
const USAGE: u8 = 64;

impl Failure {
    /// Why output could not be written.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderLeft,
            _ => Self::Unavailable(format!("cannot write the output: {error}")),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Unavailable(_) => 1,
            Self::Refused(_) => 2,
            Self::Usage(_) => USAGE,
            Self::ReaderLeft => READER_LEFT,
        })
    }

    /// The line for standard error, without a line end; empty if nothing is to be said.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Unavailable(what) | Self::Refused(what) => format!("oxctl: {what}"),
            Self::Usage(what) => format!("oxctl: {what}\nTry 'oxctl --help'."),
            Self::ReaderLeft => String::new(),
        }
    }
}
