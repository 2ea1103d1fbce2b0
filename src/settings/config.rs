//! The configuration file (`--config`): options as on the command line, in the notation of Debian's
//! `/etc/memcached.conf`.
//!
//! Owns what a line is, which lines count, and the warnings about the others. Must not know what an option does, or
//! which source wins: `parse` scans the words of the lines and calls this.
//!
//! The rules are those of the script by which Debian's unit starts memcached: a `#` without a backslash begins a
//! comment, blanks around a line do not count, and only lines that begin with a dash do, without those of `-d` and
//! `-h`. That script passes the rest through a shell; here `quoting` does what can be done without one.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::parse::{Exit, USAGE};
use super::quoting;
use super::row::{Act, Flag};
use crate::limits::CONFIG_FILE_MAX;
use crate::sys::error_text;

/// Codes of the two flags in the scan: they have no letter, because each letter may become one of memcached's.
const NO_LETTER: [u8; 2] = [0x81, 0x82];

/// Warnings about single lines; more lines are counted.
const WARNINGS_MAX: usize = 16;

/// Bytes of a line that a warning shows.
const SHOWN_MAX: usize = 60;

/// `--config`.
pub(super) const FILE: Flag = Flag::new(
    NO_LETTER[0],
    "config",
    "read more options from this file, lines as in Debian's\n\
     memcached.conf; an option given here replaces that of\nthe file",
    Act::ConfigFile,
)
.takes("<file>");

/// `--check-config`.
pub(super) const CHECK: Flag = Flag::new(
    NO_LETTER[1],
    "check-config",
    "check the options and the files they name, show what\nwould run, and leave",
    Act::CheckConfig,
);

/// A file that has been read.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    /// The lines that count.
    pub(super) lines: Vec<ConfigLine>,
    /// Lines that do not, in the order of the file, as complete warnings.
    left_out: Vec<String>,
}

/// A line with options.
#[derive(Debug)]
pub(super) struct ConfigLine {
    /// Counted from 1.
    pub(super) number: usize,
    /// At least one.
    pub(super) words: Vec<Vec<u8>>,
}

impl ConfigFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Code 64 for a file that cannot be read, and for a line that is no list of words.
    pub(super) fn read(path: &Path) -> Result<Self, Exit> {
        let bytes = contents(path).map_err(|e| {
            Exit::line(USAGE, format_args!("cannot read the configuration file {}: {}", path.display(), error_text(&e)))
        })?;
        let mut file = Self { path: path.to_owned(), lines: Vec::new(), left_out: Vec::new() };
        for (at, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            file.add(at + 1, without_comment(line).trim_ascii())?;
        }
        Ok(file)
    }

    fn add(&mut self, number: usize, line: &[u8]) -> Result<(), Exit> {
        match line {
            [] => {}
            [b'-', b'd' | b'h', ..] => self.leave_out(number, "-d and -h count on the command line only", line),
            [b'-', ..] if line.contains(&0) => return Err(self.refuse(number, "a zero byte is part of no option")),
            [b'-', ..] => {
                let words = quoting::split(line).map_err(|complaint| self.refuse(number, complaint))?;
                self.lines.push(ConfigLine { number, words });
            }
            _ => self.leave_out(number, "it begins with no dash", line),
        }
        Ok(())
    }

    /// Notes a warning about text that is left out.
    pub(super) fn leave_out(&mut self, number: usize, why: &str, text: &[u8]) {
        let shown = &text[..text.len().min(SHOWN_MAX)];
        let more = if shown.len() < text.len() { "..." } else { "" };
        let place = self.place(number);
        self.left_out.push(format!("WARNING: {place}: left out, {why}: {}{more}\n", shown.escape_ascii()));
    }

    /// The error about a line.
    pub(super) fn refuse(&self, number: usize, complaint: impl Display) -> Exit {
        Exit::line(USAGE, format_args!("{}: {complaint}", self.place(number)))
    }

    /// `FILE:LINE`.
    pub(super) fn place(&self, number: usize) -> String {
        format!("{}:{number}", self.path.display())
    }

    /// The warnings, of which there are a bounded number.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        let more = self.left_out.len().saturating_sub(WARNINGS_MAX);
        let last = (more > 0).then(|| format!("WARNING: {}: left out, {more} further lines\n", self.path.display()));
        self.left_out.iter().take(WARNINGS_MAX).cloned().chain(last)
    }
}

/// The bytes of a regular file of at most [`CONFIG_FILE_MAX`] bytes. Others might never end.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    // Without the flag, opening a named pipe waits for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(CONFIG_FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CONFIG_FILE_MAX {
        return Err(io::Error::other(format!("it is longer than {CONFIG_FILE_MAX} bytes")));
    }
    Ok(bytes)
}

/// The line up to a `#` that no backslash precedes. Quotes do not matter.
fn without_comment(line: &[u8]) -> &[u8] {
    let begins = |&at: &usize| line[at] == b'#' && (at == 0 || line[at - 1] != b'\\');
    &line[..(0..line.len()).find(begins).unwrap_or(line.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<ConfigFile, Exit> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut read = ConfigFile::read(file.path());
        if let Ok(read) = &mut read {
            for line in &mut read.left_out {
                *line = line.replace(file.path().to_str().unwrap(), "F");
            }
        }
        read
    }

    fn lines(text: &str) -> Vec<(usize, String)> {
        let words =
            |line: ConfigLine| line.words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>();
        let lines = read(text.as_bytes()).unwrap().lines.into_iter();
        lines.map(|line| (line.number, words(line).join("|"))).collect()
    }

    #[test]
    fn comments_blanks_and_line_ends() {
        let text =
            "# all\r\n\r\n  -m 64 # megabytes\r\n\t-p 11211#x\n-D \\#\n#-v\n-P \"a#b\"".replace("-P \"a#b\"", "-k");
        let expected = [(3, "-m|64"), (4, "-p|11211"), (5, "-D|#"), (7, "-k")];
        assert_eq!(lines(&text), expected.map(|(number, words)| (number, words.to_owned())));
        assert_eq!(lines(""), []);
    }

    #[test]
    fn lines_that_do_not_count_are_named() {
        let file = read(b"-d\nlogfile /var/log/memcached.log\n-d -m 5\n-hx\n--daemon\n-D x\n\xff\x1b[2J").unwrap();
        assert_eq!(file.lines.iter().map(|line| line.number).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(
            file.left_out,
            [
                "WARNING: F:1: left out, -d and -h count on the command line only: -d\n",
                "WARNING: F:2: left out, it begins with no dash: logfile /var/log/memcached.log\n",
                "WARNING: F:3: left out, -d and -h count on the command line only: -d -m 5\n",
                "WARNING: F:4: left out, -d and -h count on the command line only: -hx\n",
                "WARNING: F:7: left out, it begins with no dash: \\xff\\x1b[2J\n",
            ]
        );
        let many = read("x\n".repeat(1000).as_bytes()).unwrap();
        assert_eq!((many.warnings().count(), many.left_out.len()), (WARNINGS_MAX + 1, 1000));
        assert!(many.warnings().last().unwrap().ends_with(": left out, 984 further lines\n"));
        let long = read("x".repeat(1000).as_bytes()).unwrap();
        assert!(long.left_out[0].ends_with(&format!(": {}...\n", "x".repeat(SHOWN_MAX))));
    }

    #[test]
    fn bad_lines_name_their_place() {
        for (text, complaint) in [
            (&b"-v\n-P \"a#b\""[..], ":2: the double quotes are not closed"),
            (b"-m $(nproc)", ":1: no shell runs the command"),
            (b"\n\n-s /a\0b", ":3: a zero byte"),
        ] {
            let exit = read(text).unwrap_err();
            assert!(exit.code == 64 && exit.stderr.contains(complaint), "{exit:?}");
        }
    }

    #[test]
    fn only_files_of_a_bounded_length() {
        let longest = vec![b'\n'; CONFIG_FILE_MAX as usize];
        assert!(read(&longest).is_ok());
        assert!(
            read(&[&longest[..], b"\n"].concat()).unwrap_err().stderr.ends_with(": it is longer than 65536 bytes\n")
        );
        for (path, complaint) in [
            ("/nonexistent", "No such file or directory"),
            ("/", "it is no regular file"),
            ("/dev/zero", "it is no regular file"),
        ] {
            let exit = ConfigFile::read(Path::new(path)).unwrap_err();
            let line = format!("cannot read the configuration file {path}: {complaint}\n");
            assert_eq!((exit.code, exit.stderr), (64, line));
        }
    }
}
