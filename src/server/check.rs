//! What `--check-config` checks of the files and addresses that the settings name.
//!
//! Owns the order, which is that of the start, so that the first error is the one that a start would report. Must not
//! bind, write or create. `main` calls it after the change of user.

use super::start_error::{FAILURE, StartError};
use crate::admin::{AdminSockets, AdminToken};
use crate::maint::restart;
use crate::settings::{self, Settings};

/// Checks what a start reads after [`super::load_auth`]. Ports, sockets, and the contents of the memory file show only
/// at the start.
///
/// # Errors
/// As the start.
pub fn check_files(settings: &Settings) -> Result<(), StartError> {
    settings::check_start(settings)?;
    AdminSockets::check(settings)?;
    AdminToken::load(settings).map_err(|complaint| StartError::new(FAILURE, complaint))?;
    match settings.memory_file.as_deref().map(|path| settings.locate(path)) {
        Some(path) => restart::check(&path, settings).map_err(|complaint| StartError::new(FAILURE, complaint)),
        None => Ok(()),
    }
}
