//! Option of the cluster: `cluster_file`.
//!
//! Owns its help text and error text. Must not know the file's grammar: `cluster` reads it at start. The row is read by
//! `parse` and `help`, through `options`.

use super::options::fail;
use super::row::Sub;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The `-o` names of the cluster, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[Sub::value(
    "cluster_file",
    "Missing cluster_file argument",
    "file of host|ip|port words, the servers of a cluster, for\nclients that ask for them (config get cluster); read again\nwhen it changes",
    |draft, value| {
        if value.is_empty() {
            return fail("Missing cluster_file argument");
        }
        draft.settings.cluster_file = Some(PathBuf::from(OsStr::from_bytes(value)));
        Ok(())
    },
)
.takes("<file>")];
