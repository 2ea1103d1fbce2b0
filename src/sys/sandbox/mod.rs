//! The sandbox of `-o drop_privileges`: which system calls a thread may make once it runs, and which files it may open.
//!
//! Owns the process's sandbox: [`prepare`] makes it from what `server` collects, and each thread enters it by
//! [`confine`] before its work. Must not know settings. Without [`prepare`] nothing is confined.
//!
//! Filters are installed thread by thread, not on all threads at once: the threads start before the sockets are open,
//! which needs calls that no filter allows. A thread cannot leave its filter, and none may start another thread or
//! program.

mod calls;
mod filter;
mod landlock;
mod violations;

use super::stderr;
use filter::Filters;
use landlock::Ruleset;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

pub use calls::{Call, calls};

/// Kind of a thread, by the calls that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves clients of the cache.
    Worker,
    /// Serves clients of the admin listener.
    Admin,
    /// The main thread, and those without clients: chores, mover, logger, standard error, logins, files.
    Main,
}

impl Role {
    /// All of them, in the order of the table in the documentation.
    pub const ALL: [Self; 3] = [Self::Worker, Self::Admin, Self::Main];

    /// The thread in an error text.
    fn thread(self) -> &'static str {
        match self {
            Self::Worker => "a worker thread",
            Self::Admin => "the admin thread",
            Self::Main => "the main thread",
        }
    }
}

/// What may be done in a directory and below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Files are read.
    Read,
    /// Files are read, written, made, renamed and removed.
    Write,
}

/// A directory whose files stay accessible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The directory.
    pub path: PathBuf,
    /// What is allowed.
    pub access: Access,
}

/// What every thread gets.
struct Sandbox {
    filters: Filters,
    /// `None` on a kernel without landlock.
    files: Option<Ruleset>,
}

static SANDBOX: OnceLock<Sandbox> = OnceLock::new();

/// The kernel cannot filter system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSeccomp;

/// How far the file system is restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// As requested.
    AsAsked,
    /// Not at all: the kernel has no landlock.
    Open,
}

/// Makes the sandbox of this process, which opens files in `folders` only; `None` = anywhere. With `relaxed` filters
/// also allow what a test suite needs. Must be called once the process has the id that it keeps, before the first
/// [`confine`].
///
/// # Errors
/// The kernel has no seccomp filters.
pub fn prepare(folders: Option<&[Folder]>, relaxed: bool) -> Result<Files, NoSeccomp> {
    if !filter::is_supported() {
        return Err(NoSeccomp);
    }
    let filters = Filters::compile(relaxed);
    filter::report_violations();
    let files = folders.and_then(Ruleset::new);
    let reach = if folders.is_some() && files.is_none() { Files::Open } else { Files::AsAsked };
    // A second sandbox would be an error of the caller; the first stays.
    let _ = SANDBOX.set(Sandbox { filters, files });
    Ok(reach)
}

/// Whether [`prepare`] has run.
pub fn is_prepared() -> bool {
    SANDBOX.get().is_some()
}

/// Confines the calling thread for the rest of its life. If the kernel refuses, the process ends with code 1: it must
/// not serve without what its operator asked for.
pub fn confine(role: Role) {
    let Some(sandbox) = SANDBOX.get() else { return };
    let files = sandbox.files.as_ref().map_or(Ok(()), Ruleset::enter);
    if let Err(error) = files.and_then(|()| sandbox.filters.enter(role)) {
        refuse(role, &error);
    }
}

/// Opens a network socket and runs a program. True if either was possible.
#[cfg(feature = "debug-commands")]
pub fn misbehave() -> bool {
    let opened = std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
    let ran = std::process::Command::new("sh").args(["-c", ":"]).status().is_ok();
    opened || ran
}

fn refuse(role: Role, error: &io::Error) -> ! {
    log::error!("sandbox: {error}");
    stderr::write(format!("{}\n", complaint(role)).as_bytes());
    stderr::flush(stderr::LINGER);
    std::process::exit(1)
}

/// memcached's line for a thread that cannot be confined.
pub fn complaint(role: Role) -> String {
    format!("Failed to set a seccomp profile on {}", role.thread())
}
