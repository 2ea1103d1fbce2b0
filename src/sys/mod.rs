//! The kernel's and libc's corner: every foreign call the crate makes outside the memory kernel.
//!
//! Owns the `unsafe` needed for them and hands out safe functions. It must not know what a setting, a connection or an
//! item is; any layer may call it.

pub mod getopt;
pub mod number;
pub mod user;
