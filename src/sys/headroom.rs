//! Check whether the process could get more memory.
//!
//! Owns a probe of the kernel and of the allocator; allocates nothing lastingly. Called before memory is allocated
//! for something that a client can do without: once address space or commit charge runs out, the next allocation of a
//! few bytes ends the process, so such requests are refused while some is left.
#![allow(unsafe_code)]

use super::reserve::ALLOCATOR;
use std::ptr::null_mut;

/// Whether the kernel would provide `bytes` more now, beyond what the allocator has. False while the allocator is
/// short (its reserve is in use).
pub fn is_there(bytes: usize) -> bool {
    if ALLOCATOR.is_short() {
        return false;
    }
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice changes nothing that exists.
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
    fn a_megabyte_is_available_and_the_address_space_is_not() {
        assert!(is_there(1 << 20));
        assert!(!is_there(1 << 60));
    }
}
