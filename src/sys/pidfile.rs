//! The pid file (`-P`): written to a temporary name, then renamed, so that a reader never finds it empty.
//!
//! Failures are reported on stderr and otherwise ignored: a server without its pid file still serves. `main` calls it
//! as the last step of start-up.

use super::{error_text, process, say};
use std::fs;
use std::io;
use std::path::Path;

/// Writes this process's id to `path`; warns if the existing file names a running process.
pub fn write(path: &Path) {
    if let Some(pid) = fs::read(path).ok().and_then(|old| first_number(&old))
        && process::is_running(pid)
    {
        say(format_args!("WARNING: The pid file contained the following (running) pid: {pid}"));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    if let Err(e) = fs::write(&temporary, format!("{}\n", std::process::id())) {
        complain(format_args!("Could not open the pid file {} for writing", temporary.display()), &e);
        return;
    }
    if let Err(e) = fs::rename(&temporary, path) {
        complain(format_args!("Could not rename the pid file from {} to {}", temporary.display(), path.display()), &e);
    }
}

/// Removes the pid file.
pub fn remove(path: &Path) {
    if let Err(e) = fs::remove_file(path) {
        complain(format_args!("Could not remove the pid file {}", path.display()), &e);
    }
}

fn complain(what: std::fmt::Arguments<'_>, error: &io::Error) {
    say(format_args!("{what}: {}", error_text(error)));
}

/// The number at the start of the first line, if only white space follows it.
fn first_number(text: &[u8]) -> Option<u32> {
    let line = text.split(|b| *b == b'\n').next()?;
    let word = line.trim_ascii_start().split(u8::is_ascii_whitespace).next()?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::first_number;

    #[test]
    fn only_a_leading_number_is_a_pid() {
        assert_eq!(first_number(b"123\n"), Some(123));
        assert_eq!(first_number(b" 7 rest\n9"), Some(7));
        assert_eq!(first_number(b"x\n"), None);
        assert_eq!(first_number(b""), None);
        assert_eq!(first_number(b"12x"), None);
    }
}
