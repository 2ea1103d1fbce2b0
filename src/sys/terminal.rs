//! Reading a password from standard input.
//!
//! Owns the switch of terminal echo. Knows nothing of the password's use. Called by `main`.
#![allow(unsafe_code)]

use std::io::{self, BufRead, IsTerminal, Write};
use std::mem::MaybeUninit;

/// Reads the first line of standard input, without its end. At a terminal it prompts, and echo is off.
pub fn read_password(prompt: &str) -> io::Result<Vec<u8>> {
    let terminal = io::stdin().is_terminal();
    if terminal {
        io::stderr().write_all(prompt.as_bytes())?;
    }
    let quiet = if terminal { Some(Quiet::begin()?) } else { None };
    let mut line = Vec::new();
    let read = io::stdin().lock().read_until(b'\n', &mut line);
    if quiet.is_some() {
        io::stderr().write_all(b"\n")?;
    }
    read?;
    for end in [b'\n', b'\r'] {
        if line.last() == Some(&end) {
            line.pop();
        }
    }
    Ok(line)
}

/// A terminal with echo off; dropping this restores it.
struct Quiet(libc::termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: `before` is valid for what the call writes.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded and so has written it.
        let before = unsafe { before.assume_init() };
        let mut quiet = before;
        quiet.c_lflag &= !libc::ECHO;
        set(&quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = set(&self.0);
    }
}

fn set(state: &libc::termios) -> io::Result<()> {
    // SAFETY: `state` is a whole termios that the call only reads.
    if unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSAFLUSH, state) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
