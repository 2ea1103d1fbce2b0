//! Verbose trace of packets (`-v`, `-vv`) on standard error.
//!
//! Owns memcached's formats. Called by the rest of the binary protocol if the level is high enough.

use crate::sys::stderr;
use std::fmt::Write as _;

fn say(text: &str) {
    stderr::write(text.as_bytes());
}

/// A header, four bytes per line.
fn dump(mark: char, fd: i32, title: &str, indent: &str, header: &[u8]) {
    let mut text = format!("{mark}{fd} {title}:");
    for (at, byte) in header.iter().enumerate() {
        if at % 4 == 0 {
            let _ = write!(text, "\n{mark}{fd} {indent}");
        }
        let _ = write!(text, " 0x{byte:02x}");
    }
    text.push('\n');
    say(&text);
}

#[cold]
pub(super) fn request(fd: i32, header: &[u8]) {
    dump('<', fd, "Read binary protocol data", "  ", header);
}

#[cold]
pub(super) fn reply(fd: i32, header: &[u8]) {
    dump('>', fd, "Writing bin response", " ", header);
}

#[cold]
pub(super) fn error(fd: i32, text: &str) {
    say(&format!(">{fd} Writing an error: {text}\n"));
}

#[cold]
pub(super) fn protocol_error(fd: i32, opcode: u8) {
    say(&format!("Protocol error (opcode {opcode:02x}), close connection {fd}\n"));
}

#[cold]
pub(super) fn foreign(first: u8) {
    say(&format!("Invalid magic:  {first:x}\n"));
}
