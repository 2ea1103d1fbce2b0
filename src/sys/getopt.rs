//! libc's own `getopt_long`, as an iterator.
//!
//! Owns the library's global scanning state (one scan at a time, behind a lock) and the argument vector that it
//! permutes. It must not know what any option means. Called by `settings`, once in a normal start.
//!
//! The foreign call is deliberate: users rely on the original server's abbreviation of long names, clustering,
//! permutation, `POSIXLY_CORRECT` and exact error lines (written by the library straight to standard error).
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

// SAFETY: the names and types are those of getopt_long(3); every use holds `SCANNING`.
unsafe extern "C" {
    static mut optind: c_int;
    static mut optarg: *mut c_char;
}

/// `getopt_long` keeps its position in process-wide variables, so two scans must never interleave.
static SCANNING: Mutex<()> = Mutex::new(());

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Never.
    None,
    /// Always.
    Required,
    /// Only when attached (`-vX`, `--name=X`).
    Optional,
}

/// One option, as the scanner sees it.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The single letter, or a code from 0x80 up for an option that has none.
    pub short: u8,
    /// The long name, without dashes.
    pub long: Option<&'static str>,
    /// Value rule of the letter.
    pub short_argument: Argument,
    /// Value rule of the long name.
    pub long_argument: Argument,
}

/// A scan in progress. Each item is the option's letter (`b'?'` after the library has reported an error on standard
/// error) and its value, if any; words that are no options are skipped.
pub struct Getopt {
    argv: Vec<*mut c_char>,
    short: CString,
    long: Vec<libc::option>,
    /// Memory that `argv` and `long` point into; never read again, only kept alive.
    _strings: Vec<CString>,
    _turn: MutexGuard<'static, ()>,
}

impl Getopt {
    /// Starts a scan of `args`, of which the first word is the program name in the library's errors. Blocks while
    /// another scan lives. A word ends at an embedded NUL, as for a C program.
    pub fn new(args: impl IntoIterator<Item = OsString>, specs: &[Spec]) -> Self {
        Self::begin(args, specs, b"")
    }

    /// As [`Getopt::new`], for a scan whose errors nothing prints. A missing value gives `b':'`.
    pub fn silent(args: impl IntoIterator<Item = OsString>, specs: &[Spec]) -> Self {
        Self::begin(args, specs, b":")
    }

    /// `mode` begins the list of letters.
    fn begin(args: impl IntoIterator<Item = OsString>, specs: &[Spec], mode: &[u8]) -> Self {
        let turn = SCANNING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut strings: Vec<CString> = args.into_iter().map(|word| c_string(word.into_vec())).collect();
        let mut argv: Vec<*mut c_char> = strings.iter().map(|word| word.as_ptr().cast_mut()).collect();
        argv.push(std::ptr::null_mut());

        let mut short = mode.to_vec();
        let mut long = Vec::with_capacity(specs.len() + 1);
        for spec in specs {
            if spec.short.is_ascii() {
                short.push(spec.short);
                short.extend(std::iter::repeat_n(b':', spec.short_argument as usize));
            }
            if let Some(name) = spec.long {
                let name = c_string(name.as_bytes().to_vec());
                long.push(long_option(name.as_ptr(), spec.long_argument as c_int, c_int::from(spec.short)));
                strings.push(name);
            }
        }
        long.push(long_option(std::ptr::null(), 0, 0));
        // SAFETY: the lock is held, so no other thread of this crate accesses the variable; zero resets the library's
        // state of an earlier scan.
        unsafe { optind = 0 };
        Getopt { argv, short: c_string(short), long, _strings: strings, _turn: turn }
    }

    /// The words that are no options, once the scan has ended.
    pub fn left_over(&self) -> Vec<Vec<u8>> {
        // SAFETY: the lock is held, so the variable is as this scan left it.
        let first = usize::try_from(unsafe { optind }).unwrap_or(0);
        let words = self.argv.get(first..self.argv.len() - 1).unwrap_or_default();
        // SAFETY: every pointer but the last is to a C string owned by `_strings`; the library only permutes them.
        words.iter().map(|&word| unsafe { CStr::from_ptr(word) }.to_bytes().to_vec()).collect()
    }
}

impl Iterator for Getopt {
    type Item = (u8, Option<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        let argc = c_int::try_from(self.argv.len() - 1).unwrap_or(c_int::MAX);
        if argc == 0 {
            return None;
        }
        // SAFETY: `argv` holds argc live C strings and a null; `short` is a C string; `long` ends with an all-zero row
        // and its names live in `_strings`. A null index pointer is allowed. The library only permutes `argv`.
        let letter = unsafe {
            libc::getopt_long(
                argc,
                self.argv.as_mut_ptr(),
                self.short.as_ptr(),
                self.long.as_ptr(),
                std::ptr::null_mut(),
            )
        };
        if letter == -1 {
            return None;
        }
        // SAFETY: the lock is held, so the variable is as the call above set it.
        let value = unsafe { optarg };
        // SAFETY: when not null it points into a C string owned by `_strings`, copied here before anything moves.
        let value = (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_bytes().to_vec());
        Some((u8::try_from(letter).unwrap_or(b'?'), value))
    }
}

fn long_option(name: *const c_char, has_arg: c_int, val: c_int) -> libc::option {
    libc::option { name, has_arg, flag: std::ptr::null_mut(), val }
}

fn c_string(mut bytes: Vec<u8>) -> CString {
    if let Some(end) = memchr::memchr(0, &bytes) {
        bytes.truncate(end);
    }
    // The bytes hold no NUL any more, so the empty fallback is never taken.
    CString::new(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[Spec] = &[
        Spec { short: b'p', long: Some("port"), short_argument: Argument::Required, long_argument: Argument::Required },
        Spec { short: b'v', long: Some("verbose"), short_argument: Argument::None, long_argument: Argument::Optional },
    ];

    fn scan(words: &[&str]) -> Vec<(u8, Option<String>)> {
        Getopt::new(words.iter().map(OsString::from), SPECS)
            .map(|(letter, value)| (letter, value.map(|v| String::from_utf8(v).unwrap())))
            .collect()
    }

    #[test]
    fn clusters_prefixes_and_left_over_words() {
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(
            scan(&["x", "-vvp12", "word", "--po=7", "--verb=3", "-p", "9"]),
            vec![
                (b'v', None),
                (b'v', None),
                (b'p', value("12")),
                (b'p', value("7")),
                (b'v', value("3")),
                (b'p', value("9")),
            ]
        );
        assert_eq!(scan(&["x", "--", "-v"]), vec![]);
        assert_eq!(scan(&[]), vec![]);
    }

    #[test]
    fn an_unfinished_scan_does_not_affect_the_next() {
        let mut first = Getopt::new(["x", "-vv", "-p1"].map(OsString::from), SPECS);
        assert_eq!(first.next(), Some((b'v', None)));
        drop(first);
        assert_eq!(scan(&["x", "-p2"]), vec![(b'p', Some("2".to_owned()))]);
    }

    #[test]
    fn words_are_left_over() {
        // Each scan ends before the next begins, which would wait for it.
        let left_over = |words: &[&str]| {
            let mut scan = Getopt::new(words.iter().map(OsString::from), SPECS);
            (scan.by_ref().count(), scan.left_over())
        };
        let words = vec![b"a".to_vec(), b"b".to_vec(), b"-v".to_vec()];
        assert_eq!(left_over(&["x", "a", "-v", "b", "-p", "1", "--", "-v"]), (2, words));
        assert_eq!(left_over(&["x", "-v"]), (1, Vec::new()));
    }

    #[test]
    fn a_silent_scan_sees_the_same() {
        let silent: Vec<_> = Getopt::silent(["x", "-v", "-q", "-p"].map(OsString::from), SPECS).collect();
        assert_eq!(silent, [(b'v', None), (b'?', None), (b':', None)]);
    }

    #[test]
    fn errors_become_question_marks() {
        assert_eq!(scan(&["x", "-q"]), vec![(b'?', None)]);
        assert_eq!(scan(&["x", "-p"]), vec![(b'?', None)]);
    }
}
