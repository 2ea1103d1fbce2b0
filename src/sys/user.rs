//! The user database.
//!
//! Owns the look-up of an account or a group by name, and of the process's user ids. It must not know why one is
//! wanted. Called by `settings` for `-u` and `unix_group`, and by `server`.
#![allow(unsafe_code)]

use std::ffi::CString;

/// The ids of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

/// The real and the effective user id of the process.
pub fn process_uids() -> (u32, u32) {
    // SAFETY: neither call takes anything or can fail.
    unsafe { (libc::getuid(), libc::geteuid()) }
}

/// Maximum bytes accepted for one record; real ones are a few hundred.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// Looks `name` up. `None` when there is no such account, or when the database cannot be read.
pub fn find_account(name: &[u8]) -> Option<Account> {
    let name = CString::new(name).ok()?;
    let mut space = vec![0_u8; 4096];
    loop {
        let mut found = std::ptr::null_mut();
        let mut record = std::mem::MaybeUninit::<libc::passwd>::uninit();
        // SAFETY: all four pointers are to live memory of the stated lengths for the whole call.
        let error = unsafe {
            libc::getpwnam_r(name.as_ptr(), record.as_mut_ptr(), space.as_mut_ptr().cast(), space.len(), &raw mut found)
        };
        if error == libc::ERANGE && space.len() < RECORD_BYTES_MAX {
            space = vec![0; space.len() * 4];
            continue;
        }
        if error != 0 || found.is_null() {
            return None;
        }
        // SAFETY: a zero result with a non-null `found` means the record was filled in.
        let record = unsafe { record.assume_init() };
        return Some(Account { uid: record.pw_uid, gid: record.pw_gid });
    }
}

/// Looks the id of the group `name` up. `None` when there is no such group, or when the database cannot be read.
pub fn find_group(name: &[u8]) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut space = vec![0_u8; 4096];
    loop {
        let mut found = std::ptr::null_mut();
        let mut record = std::mem::MaybeUninit::<libc::group>::uninit();
        // SAFETY: all four pointers are to live memory of the stated lengths for the whole call.
        let error = unsafe {
            libc::getgrnam_r(name.as_ptr(), record.as_mut_ptr(), space.as_mut_ptr().cast(), space.len(), &raw mut found)
        };
        // A group's record lists its members.
        if error == libc::ERANGE && space.len() < RECORD_BYTES_MAX {
            space = vec![0; space.len() * 4];
            continue;
        }
        if error != 0 || found.is_null() {
            return None;
        }
        // SAFETY: a zero result with a non-null `found` means the record was filled in.
        return Some(unsafe { record.assume_init() }.gr_gid);
    }
}

/// An account by number, `uid` or `uid:gid`, for systems without an entry for it (containers). The group of a number
/// alone is the same number.
pub fn numbered_account(text: &[u8]) -> Option<Account> {
    let text = std::str::from_utf8(text).ok()?;
    let number = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX && !text.starts_with('+'));
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    Some(Account { uid: number(uid)?, gid: number(gid)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_exists_and_nonsense_does_not() {
        assert_eq!(find_account(b"root"), Some(Account { uid: 0, gid: 0 }));
        assert_eq!(find_account(b"no such account"), None);
        assert_eq!(find_account(b"a\0b"), None);
    }

    #[test]
    fn the_group_of_root_exists_and_nonsense_does_not() {
        assert_eq!(find_group(b"root"), Some(0));
        assert_eq!(find_group(b"no such group"), None);
        assert_eq!(find_group(b"a\0b"), None);
    }

    #[test]
    fn numbers_are_accounts_without_an_entry() {
        assert_eq!(numbered_account(b"54321"), Some(Account { uid: 54321, gid: 54321 }));
        assert_eq!(numbered_account(b"7:0"), Some(Account { uid: 7, gid: 0 }));
        for text in ["", ":", "7:", ":7", "x", "-1", "+7", "4294967295", "4294967296", "7:8:9", "7 "] {
            assert_eq!(numbered_account(text.as_bytes()), None, "{text}");
        }
    }
}
