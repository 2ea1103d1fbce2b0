//! File operations that the standard library does not offer.
//!
//! Knows paths and lengths, no meaning. Called by `store` for the memory file.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Makes `file` at least `len` bytes long, every one of them backed by storage, so that a write through a mapping
/// cannot fail for lack of space later. Existing bytes are kept.
///
/// # Errors
/// No space, or another error of the file system.
pub fn allocate(file: &File, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: plain numbers; the descriptor is open while `file` is borrowed.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn allocation_extends_and_keeps_contents() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"kept").unwrap();
        allocate(&file, 10).unwrap();
        allocate(&file, 2).unwrap();
        file.rewind().unwrap();
        let mut text = Vec::new();
        file.read_to_end(&mut text).unwrap();
        assert_eq!(text, b"kept\0\0\0\0\0\0");
    }
}
