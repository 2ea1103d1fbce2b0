//! File operations that the standard library does not offer.
//!
//! Knows paths and lengths, no meaning. Called by `store` for the memory file, and by `durable` for its database.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

/// File systems that several hosts can have mounted, by the magic numbers of `statfs`. FUSE is not among them: its one
/// number stands for local and remote ones alike, and for the folders that a virtual machine shares with its host.
const NETWORK_FILE_SYSTEMS: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x7375_7245, "Coda"),
];

/// Name of the network file system that holds `path`; `None` if it is a local one.
///
/// # Errors
/// The path does not exist, or cannot be looked at.
pub fn network_file_system(path: &Path) -> io::Result<Option<&'static str>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `path` ends with a zero, and `found` has room for the structure.
    if unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so it has filled the structure.
    let found = unsafe { found.assume_init() };
    Ok(network_name(found.f_type as u32))
}

/// Name of the network file system with a magic number.
fn network_name(magic: u32) -> Option<&'static str> {
    NETWORK_FILE_SYSTEMS.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
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

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(network_file_system(folder.path()).unwrap(), None);
        assert_eq!(network_file_system(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(network_file_system(Path::new("a\0b")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xff53_4d42), Some("CIFS"));
        // ext4, tmpfs, FUSE.
        for local in [0xef53, 0x0102_1994, 0x6573_5546] {
            assert_eq!(network_name(local), None);
        }
    }
}
