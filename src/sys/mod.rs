//! The kernel's and libc's corner: everything that needs a system call std has no safe name for.
//!
//! Owns the process (limits, identity, daemon, locked memory), the resolver, signals, the pid file and lines
//! to the operator. Knows no settings and no other module of the crate; `server`, `main` and `net` call it.

pub mod pidfile;
pub mod process;
pub mod resolve;
pub mod signal;

use std::fmt;
use std::io::{self, Write};

/// Writes one line to stderr in a single `write`. A closed or broken stderr must not stop a server, so
/// failures are dropped (`eprintln!` would panic).
pub fn say(line: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// The system's words for an error number, without the `(os error N)` that std appends; 0 is `Success`.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_text_is_strerror() {
        assert_eq!(error_text(&io::Error::from_raw_os_error(0)), "Success");
        assert_eq!(error_text(&io::Error::from_raw_os_error(libc::EADDRINUSE)), "Address already in use");
        assert_eq!(error_text(&io::Error::other("plain")), "plain");
    }
}
