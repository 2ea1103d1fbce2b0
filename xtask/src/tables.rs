//! The tables that pages and completions are made from: the server's, and oxctl's.
//!
//! Owns which rows belong together. Must not know formats. oxctl is a program without a library, so its table is
//! included as a file.

use oxcached::settings::{OptionRow, extended_rows};

#[path = "../../src/bin/oxctl/help.rs"]
#[allow(dead_code, reason = "the text of --help is for oxctl itself")]
pub(crate) mod control;

/// All names of `-o`, those that restate a default too.
pub(crate) fn names() -> Vec<OptionRow> {
    extended_rows().into_iter().flat_map(|(_, rows)| rows).collect()
}
