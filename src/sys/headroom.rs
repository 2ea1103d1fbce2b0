//! Whether the process could have more memory.
//!
//! Owns a question to the kernel, and to the allocator; takes nothing. Asked before something that a client can do without is given memory:
//! where address space or commit charge runs out, the next allocation of a few bytes ends the process, so what can be
//! refused is refused while some is left.
#![allow(unsafe_code)]

use super::reserve::ALLOCATOR;
use std::ptr::null_mut;

/// Whether the kernel would give `bytes` more now, beyond what the allocator has. No while that lives on its reserve.
pub fn is_there(bytes: usize) -> bool {
    if ALLOCATOR.is_short() {
        return false;
    }
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place of the kernel's choice changes nothing that exists.
    let at = unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: exactly the mapping made above, to which nothing points.
    unsafe { libc::munmap(at, bytes) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_is_there_and_the_whole_address_space_is_not() {
        assert!(is_there(1 << 20));
        assert!(!is_there(1 << 60));
    }
}
