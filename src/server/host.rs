//! What the host allows the process: warnings at start.
//!
//! Owns the comparison of the settings with the host's limits, and the lines for the operator. Called by `main`, while
//! standard error is still the terminal's.

use crate::settings::Settings;
use crate::sys::{cgroup, say};

/// Memory that the process may take beside `-m`, for items of any size: a twentieth of it and this (docs/memory.md).
const BESIDE: u64 = 32 << 20;

/// Warns if the control group allows less memory than the process may take: then the kernel ends it.
pub fn warn_of_limits(settings: &Settings) {
    if let Some(line) = cgroup::memory_limit().and_then(|limit| memory_warning(settings.maxbytes, limit)) {
        say(format_args!("{line}"));
    }
}

fn memory_warning(maxbytes: u64, limit: u64) -> Option<String> {
    let needed = maxbytes.saturating_add(maxbytes / 20).saturating_add(BESIDE);
    let (needed_mb, limit_mb, items_mb) = (needed.div_ceil(1 << 20), limit >> 20, maxbytes >> 20);
    (needed > limit).then(|| {
        format!(
            "WARNING: with -m {items_mb} the server may take {needed_mb} MB, and its control group allows {limit_mb} MB"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_counts() {
        let mb = |n: u64| n << 20;
        assert_eq!(memory_warning(mb(100), mb(137)), None);
        let line = "WARNING: with -m 100 the server may take 137 MB, and its control group allows 136 MB";
        assert_eq!(memory_warning(mb(100), mb(137) - 1).as_deref(), Some(line));
        assert!(memory_warning(u64::MAX, mb(1)).is_some());
    }
}
