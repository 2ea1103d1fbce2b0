//! Landlock: a thread opens files below some directories only.
//!
//! Three system calls without wrappers in libc. Owns the ruleset's descriptor; called by `sandbox`. The kernel applies
//! a ruleset when a path is opened, made, renamed or removed: what is open stays so.
#![allow(unsafe_code)]

use super::{Access, Folder};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Rights of the kernel's `LANDLOCK_ACCESS_FS_*`; of the first version of landlock unless stated.
mod right {
    pub const EXECUTE: u64 = 1 << 0;
    pub const WRITE_FILE: u64 = 1 << 1;
    pub const READ_FILE: u64 = 1 << 2;
    pub const READ_DIR: u64 = 1 << 3;
    pub const REMOVE_DIR: u64 = 1 << 4;
    pub const REMOVE_FILE: u64 = 1 << 5;
    pub const MAKE_CHAR: u64 = 1 << 6;
    pub const MAKE_DIR: u64 = 1 << 7;
    pub const MAKE_REG: u64 = 1 << 8;
    pub const MAKE_SOCK: u64 = 1 << 9;
    pub const MAKE_FIFO: u64 = 1 << 10;
    pub const MAKE_BLOCK: u64 = 1 << 11;
    pub const MAKE_SYM: u64 = 1 << 12;
    /// Version 2: renames and links between directories.
    pub const REFER: u64 = 1 << 13;
    /// Version 3.
    pub const TRUNCATE: u64 = 1 << 14;
    /// Version 5: `ioctl` of devices.
    pub const IOCTL_DEV: u64 = 1 << 15;

    pub const FIRST: u64 = EXECUTE
        | WRITE_FILE
        | READ_FILE
        | READ_DIR
        | REMOVE_DIR
        | REMOVE_FILE
        | MAKE_CHAR
        | MAKE_DIR
        | MAKE_REG
        | MAKE_SOCK
        | MAKE_FIFO
        | MAKE_BLOCK
        | MAKE_SYM;
}

/// Flag of the first call: return the version.
const VERSION: u32 = 1;
/// Type of a rule for a directory.
const PATH_BENEATH: libc::c_int = 1;

/// `struct landlock_ruleset_attr` of version 1; later ones accept its size.
#[repr(C)]
struct RulesetAttr {
    handled: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// A set of rules; threads enter it one by one.
pub(super) struct Ruleset(OwnedFd);

impl Ruleset {
    /// Makes the rules: files may be opened in `folders`, and nowhere else. A directory that does not exist gets no
    /// rule. `None` if the kernel has no landlock.
    pub(super) fn new(folders: &[Folder]) -> Option<Self> {
        let handled = handled(version()?);
        let attr = RulesetAttr { handled };
        // SAFETY: the structure is valid and has the stated size; the kernel only reads it.
        let made = unsafe {
            libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size_of::<RulesetAttr>(), 0_u32)
        };
        let descriptor = i32::try_from(made).ok().filter(|descriptor| *descriptor >= 0)?;
        // SAFETY: the kernel has just made the descriptor, which belongs to nothing else.
        let ruleset = Self(unsafe { OwnedFd::from_raw_fd(descriptor) });
        for folder in folders {
            if let Err(error) = ruleset.allow(folder, handled) {
                log::warn!("sandbox: {}: {error}", folder.path.display());
            }
        }
        Some(ruleset)
    }

    fn allow(&self, folder: &Folder, handled: u64) -> io::Result<()> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let parent = OpenOptions::new().read(true).custom_flags(flags).open(&folder.path)?;
        let rule = PathBeneath { allowed: rights(folder.access) & handled, parent: parent.as_raw_fd() };
        // SAFETY: the rule is valid, both descriptors are open, and the kernel only reads.
        let added = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, self.0.as_raw_fd(), PATH_BENEATH, &raw const rule, 0_u32)
        };
        if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Restricts the calling thread.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn enter(&self) -> io::Result<()> {
        // SAFETY: plain numbers.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: an open descriptor and a number.
        match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0_u32) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Version of landlock in the running kernel; `None` if there is none or it is disabled.
fn version() -> Option<u32> {
    // SAFETY: with this flag and no structure the kernel reads nothing.
    let answer =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<RulesetAttr>(), 0_usize, VERSION) };
    u32::try_from(answer).ok().filter(|version| *version > 0)
}

/// Every right that this version can withhold.
fn handled(version: u32) -> u64 {
    let later = [(2, right::REFER), (3, right::TRUNCATE), (5, right::IOCTL_DEV)];
    later.into_iter().filter(|(since, _)| version >= *since).fold(right::FIRST, |all, (_, right)| all | right)
}

fn rights(access: Access) -> u64 {
    match access {
        Access::Read => right::READ_FILE,
        Access::Write => right::READ_FILE | right::WRITE_FILE | right::TRUNCATE | right::MAKE_REG | right::REMOVE_FILE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What a thread may do after it has entered the rules.
    #[test]
    fn a_thread_opens_files_below_the_given_directories_only() {
        let [read, write, other] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        for folder in [&read, &write, &other] {
            fs::write(folder.path().join("file"), "old").unwrap();
        }
        let folder = |place: &tempfile::TempDir, access| Folder { path: place.path().to_owned(), access };
        let folders = [folder(&read, Access::Read), folder(&write, Access::Write)];
        let Some(rules) = Ruleset::new(&folders) else { return println!("skipped: the kernel has no landlock") };
        let [read, write, other] = [&read, &write, &other].map(|folder| folder.path().to_owned());
        let outside = other.clone();
        std::thread::spawn(move || {
            rules.enter().unwrap();
            let denied = |result: io::Result<()>| result.unwrap_err().kind() == io::ErrorKind::PermissionDenied;
            assert_eq!(fs::read(read.join("file")).unwrap(), b"old");
            assert!(denied(fs::write(read.join("file"), "new")));
            assert!(denied(fs::write(read.join("more"), "new")));
            fs::write(write.join("draft"), "new").unwrap();
            fs::rename(write.join("draft"), write.join("file")).unwrap();
            fs::remove_file(write.join("file")).unwrap();
            assert!(denied(fs::read(other.join("file")).map(|_| ())));
            assert!(denied(fs::read_dir(&read).map(|_| ())));
        })
        .join()
        .unwrap();
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"old", "other threads are free");
    }

    #[test]
    fn a_version_withholds_what_it_knows() {
        assert_eq!(handled(1), (1 << 13) - 1);
        assert_eq!(handled(7), (1 << 16) - 1);
    }
}
