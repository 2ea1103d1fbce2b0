//! Standard error: lines for the operator.
//!
//! Owns a bounded queue and the thread that drains it. A stalled reader of standard error blocks that thread and no
//! other one; lines that find the queue full are dropped, counted, and reported in one line once there is space.
//! Until [`start`] runs, and in a process that never calls it, the calling thread writes lines itself. Any layer may
//! call it; no lock of the store may be held.
#![allow(unsafe_code)]

use super::sandbox::{Role, confine};
use crate::limits::LOG_QUEUE;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes per write, in whole lines if one fits: a pipe does not interleave a write of this size with those of other
/// processes (Linux's `PIPE_BUF`).
const PIECE: usize = 4096;

/// Maximum length of the line that reports dropped ones.
const NOTE: usize = 96;

/// Capacity that an empty queue keeps.
const KEPT: usize = 64 * 1024;

/// Maximum time that the process waits at its end for a reader to take the queued lines.
pub const LINGER: Duration = Duration::from_millis(200);

static LINES: PendingLines = PendingLines::new();

/// Writes `bytes`, one line or several whole ones. Errors are ignored: a closed standard error must not stop the
/// server.
pub fn write(bytes: &[u8]) {
    if !LINES.push(bytes) {
        write_out(bytes);
    }
}

/// Starts the thread that writes all later lines. Call it after the last `fork`: a child has no other threads.
///
/// # Errors
/// The thread cannot be created.
pub fn start() -> io::Result<()> {
    std::thread::Builder::new().name("mc-stderr".to_owned()).spawn(|| {
        confine(Role::Main);
        LINES.drain(write_out);
    })?;
    LINES.queue.lock().is_drained = true;
    Ok(())
}

/// Waits until the queue is written, for at most `bound`.
pub fn flush(bound: Duration) {
    LINES.flush(bound);
}

/// Lines dropped since the start.
pub fn dropped() -> u64 {
    LINES.dropped.load(Relaxed)
}

/// Writes `bytes` past the queue, as far as that is possible within `bound`: the last message of a process.
pub fn write_now(bytes: &[u8], bound: Duration) {
    let until = Instant::now() + bound;
    // A writable pipe has space for a piece; a longer write would wait for the reader.
    for piece in bytes.chunks(PIECE) {
        if !is_writable(until.saturating_duration_since(Instant::now())) {
            return;
        }
        // SAFETY: the range is readable. (A stuck write may hold the lock of std's stderr, so that is not used.)
        unsafe { libc::write(libc::STDERR_FILENO, piece.as_ptr().cast(), piece.len()) };
    }
}

/// An [`io::Write`] adapter: each write must be one or more whole lines.
pub struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all of `bytes`, waiting for the reader without limit.
fn write_out(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match io::stderr().write(bytes) {
            Ok(0) => return,
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                is_writable(Duration::from_secs(60));
            }
            Err(_) => return,
        }
    }
}

/// Waits until standard error is writable or has failed; false after `bound`.
fn is_writable(bound: Duration) -> bool {
    let mut entry = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    let millis = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `entry` is one valid entry.
    unsafe { libc::poll(&mut entry, 1, millis) > 0 }
}

/// The queue, shared by all threads. Lock rank: see docs/locking.md.
struct PendingLines {
    queue: Mutex<LineQueue>,
    /// The queue is no longer empty.
    filled: Condvar,
    /// The whole queue is written.
    emptied: Condvar,
    dropped: AtomicU64,
}

struct LineQueue {
    /// A thread drains the queue.
    is_drained: bool,
    bytes: VecDeque<u8>,
    /// Lines dropped since the last accepted one.
    lost: u64,
    /// A piece has been taken and is not written yet.
    is_writing: bool,
}

impl LineQueue {
    /// Appends lines, or counts them as lost; true if they were accepted.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let len = bytes.len() + NOTE;
        if self.bytes.len() + len > LOG_QUEUE || self.bytes.try_reserve(len).is_err() {
            self.lost += 1;
            return false;
        }
        self.report_lost();
        self.bytes.extend(bytes);
        true
    }

    /// Appends the line that reports lost ones, if there are any; space for it is reserved.
    fn report_lost(&mut self) {
        if self.lost > 0 {
            self.bytes.extend(format!("{} lines dropped here: standard error was not read\n", self.lost).as_bytes());
            self.lost = 0;
        }
    }

    /// Moves the next piece into `piece`; false if there is none.
    fn take(&mut self, piece: &mut Vec<u8>) -> bool {
        if self.bytes.is_empty() {
            self.report_lost();
        }
        let is_end = |byte: &u8| *byte == b'\n';
        let first = self.bytes.len().min(PIECE);
        let end = self.bytes.range(..first).rposition(is_end).or_else(|| self.bytes.iter().position(is_end));
        let len = end.map_or(self.bytes.len(), |end| end + 1);
        piece.clear();
        piece.extend(self.bytes.drain(..len));
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = VecDeque::new();
        }
        len > 0
    }

    fn is_written(&self) -> bool {
        !self.is_writing && self.bytes.is_empty() && self.lost == 0
    }
}

impl PendingLines {
    const fn new() -> Self {
        let queue = LineQueue { is_drained: false, bytes: VecDeque::new(), lost: 0, is_writing: false };
        Self { queue: Mutex::new(queue), filled: Condvar::new(), emptied: Condvar::new(), dropped: AtomicU64::new(0) }
    }

    /// Queues or drops lines; false while no thread drains the queue.
    fn push(&self, bytes: &[u8]) -> bool {
        let mut queue = self.queue.lock();
        if !queue.is_drained {
            return false;
        }
        if !queue.push(bytes) {
            self.dropped.fetch_add(1, Relaxed);
        }
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// Passes the queue piece by piece to `out`; never returns.
    fn drain(&self, mut out: impl FnMut(&[u8])) {
        let mut piece = Vec::new();
        loop {
            let mut queue = self.queue.lock();
            queue.is_writing = false;
            while !queue.take(&mut piece) {
                self.emptied.notify_all();
                self.filled.wait(&mut queue);
            }
            queue.is_writing = true;
            drop(queue);
            out(&piece);
        }
    }

    fn flush(&self, bound: Duration) {
        let until = Instant::now() + bound;
        let Some(mut queue) = self.queue.try_lock_until(until) else { return };
        while queue.is_drained && !queue.is_written() {
            if self.emptied.wait_until(&mut queue, until).timed_out() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn queue() -> LineQueue {
        LineQueue { is_drained: true, bytes: VecDeque::new(), lost: 0, is_writing: false }
    }

    fn pieces(queue: &mut LineQueue) -> Vec<String> {
        let mut piece = Vec::new();
        std::iter::from_fn(|| queue.take(&mut piece).then(|| String::from_utf8(piece.clone()).unwrap())).collect()
    }

    #[test]
    fn queued_lines_are_taken_whole_and_in_order() {
        let mut queue = queue();
        let lines: Vec<String> = (0..1000).map(|n| format!("{n} {}\n", "x".repeat(n % 97))).collect();
        assert!(lines.iter().all(|line| queue.push(line.as_bytes())));
        let pieces = pieces(&mut queue);
        assert_eq!(pieces.concat(), lines.concat());
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE && piece.ends_with('\n')));
        assert!(queue.is_written());
    }

    #[test]
    fn a_line_longer_than_a_piece_is_taken_whole() {
        let mut queue = queue();
        let long = format!("{}\n", "x".repeat(3 * PIECE));
        assert!(queue.push(b"a\n") && queue.push(long.as_bytes()) && queue.push(b"b"));
        assert_eq!(pieces(&mut queue), ["a\n", &long, "b"]);
    }

    #[test]
    fn a_full_queue_drops_lines_and_reports_where_and_how_many() {
        let mut queue = queue();
        let line = [b'x'; 999].into_iter().chain([b'\n']).collect::<Vec<u8>>();
        let taken = (0..2 * LOG_QUEUE / 1000).filter(|_| queue.push(&line)).count();
        assert!(queue.bytes.len() <= LOG_QUEUE && queue.bytes.len() > LOG_QUEUE - 2000);
        let lost = 2 * LOG_QUEUE / 1000 - taken;
        assert_eq!(queue.lost, lost as u64);
        let mut piece = Vec::new();
        assert!(queue.take(&mut piece));
        assert!(queue.push(b"later\n"), "there is room again");
        let rest = pieces(&mut queue).concat();
        assert!(rest.ends_with(&format!("x\n{lost} lines dropped here: standard error was not read\nlater\n")));
        assert!(queue.bytes.capacity() <= KEPT, "a burst's memory is freed");
    }

    #[test]
    fn lost_lines_are_reported_without_a_later_line() {
        let mut queue = queue();
        assert!(!queue.push(&vec![b'x'; LOG_QUEUE]));
        assert!(!queue.is_written());
        assert_eq!(pieces(&mut queue), ["1 lines dropped here: standard error was not read\n"]);
    }

    #[test]
    fn a_stalled_reader_blocks_only_the_writing_thread() {
        let lines: &'static PendingLines = Box::leak(Box::new(PendingLines::new()));
        assert!(!lines.push(b"early\n"), "the caller writes it");
        lines.queue.lock().is_drained = true;
        let ((wrote, written), (read, may_write)) = (channel::<Vec<u8>>(), channel::<()>());
        std::thread::spawn(move || {
            lines.drain(|piece| {
                let _ = may_write.recv();
                let _ = wrote.send(piece.to_vec());
            })
        });
        for _ in 0..LOG_QUEUE {
            assert!(lines.push(b"0123456789\n"));
        }
        let dropped = lines.dropped.load(Relaxed);
        assert!(dropped > 0);
        lines.flush(Duration::from_millis(1)); // returns although nothing is read
        drop(read);
        lines.flush(Duration::from_secs(600));
        let text: Vec<u8> = written.try_iter().flatten().collect();
        let text = String::from_utf8(text).unwrap();
        let reported =
            text.lines().filter_map(|line| line.strip_suffix(" lines dropped here: standard error was not read"));
        let reported: u64 = reported.map(|count| count.parse::<u64>().unwrap()).sum();
        assert_eq!(reported, dropped);
        assert_eq!(text.matches("0123456789\n").count() as u64 + dropped, LOG_QUEUE as u64);
    }
}
