//! Sockets that the process has inherited from its service manager, by systemd's protocol (`LISTEN_FDS`).
//!
//! Owns the descriptors until they are taken over. Must not know what they are for. `main` calls it first of all.
#![allow(unsafe_code)]

use super::error_text;
use std::os::fd::{FromRawFd, OwnedFd};

/// An inherited descriptor. It is not passed on to other programs.
#[derive(Debug)]
pub struct InheritedSocket {
    /// The descriptor.
    pub socket: OwnedFd,
    /// Its number when the process was started.
    pub number: i32,
    /// Its name in `LISTEN_FDNAMES`; `unknown` without one.
    pub name: String,
}

/// The descriptors that `LISTEN_FDS` counts, from number 3 on, if `LISTEN_PID` is this process; none otherwise. Removes
/// the variables.
///
/// Must be called once, while the process has one thread, and before it opens a descriptor.
///
/// # Errors
/// The complete message: the variables contradict each other, or the descriptors.
pub fn take() -> Result<Vec<InheritedSocket>, String> {
    let names = std::env::var("LISTEN_FDNAMES").ok();
    // SAFETY: the process has one thread (contract above), so no thread reads the environment meanwhile.
    unsafe { std::env::remove_var("LISTEN_FDNAMES") };
    // SAFETY: as above.
    let found = unsafe { sd_notify::listen_fds_and_unset_env() };
    let found = found.map_err(|e| format!("inherited sockets (LISTEN_FDS): {}", error_text(&e)))?;
    let names: Vec<&str> = match &names {
        Some(names) => names.split(':').collect(),
        None => vec!["unknown"; found.len()],
    };
    // None for this process: then the names are not its own either.
    if found.len() > 0 && names.len() != found.len() {
        return Err(format!("inherited sockets: {} in LISTEN_FDS, {} in LISTEN_FDNAMES", found.len(), names.len()));
    }
    let own = |(number, name): (i32, &str)| {
        // SAFETY: the call above has found the descriptor open. The process has opened none yet (contract above), so
        // nothing else owns it.
        InheritedSocket { socket: unsafe { OwnedFd::from_raw_fd(number) }, number, name: name.to_owned() }
    };
    Ok(found.zip(names).map(own).collect())
}
