//! Foreign calls: every call of the kernel and libc that the crate makes outside the memory kernel.
//!
//! Owns the `unsafe` needed for them and offers safe functions, and writes lines to the operator. It must not know
//! what a setting, a connection or an item is; any layer may call it.

pub mod cgroup;
#[cfg(feature = "lock-times")]
pub mod cpu;
pub mod file;
pub mod getopt;
pub mod headroom;
pub mod inherited;
pub mod monotonic;
pub mod number;
pub mod panics;
pub mod pidfile;
pub mod process;
pub mod reserve;
pub mod resolve;
pub mod sandbox;
pub mod service_manager;
pub mod signal;
pub mod socket;
pub mod spare;
pub mod stderr;
pub mod terminal;
pub mod unix_socket;
pub mod user;
pub mod words;

use std::fmt;
use std::io;

/// Writes one line to standard error (`eprintln!` would panic where that is closed).
pub fn say(line: fmt::Arguments<'_>) {
    stderr::write(format!("{line}\n").as_bytes());
}

/// The system's text for an error number, without the `(os error N)` that std appends; 0 is `Success`.
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
