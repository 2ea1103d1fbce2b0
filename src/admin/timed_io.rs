//! The bytes of one connection, with time limits on both directions.
//!
//! Owns the deadlines of heads, pauses, writes and answers, and the counts of bytes. Must not know HTTP beyond the
//! stage of a request, which `conn` sets; hyper reads and writes through it.
//!
//! A deadline is checked where a read or write has to wait: a timer then wakes the connection's task, and the read or
//! write fails.

use super::AdminCounters;
use crate::settings::AdminTimes;
use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Sent to a peer that takes too long for its head.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n";

/// Time in which a peer may close its side of a connection that ends, and what it may still send.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_READ: usize = 4 * 1024;
const LINGER_READS: usize = 16;

/// Stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No byte of a request has come; the first request of a connection is due as soon as its head would be.
    Idle { first: bool },
    /// Some bytes of a head have come.
    Head,
    /// A request is being answered. The whole answer may have been passed on; bytes of a next request may have come.
    Answer { passed: bool, more: bool },
    /// Frames are sent for as long as the peer likes.
    Stream,
}

/// The stage, and the time at which it must be over.
#[derive(Clone, Copy, Debug)]
struct Progress {
    stage: Stage,
    deadline: Option<Instant>,
}

/// The stage of one connection, shared by its bytes and its requests.
#[derive(Debug)]
pub(super) struct StageClock {
    times: AdminTimes,
    /// Used by the admin thread only; a lock because tasks must be `Send`.
    progress: Mutex<Progress>,
}

impl StageClock {
    pub(super) fn new(times: AdminTimes) -> Self {
        let progress = Progress { stage: Stage::Idle { first: true }, deadline: Some(Instant::now() + times.head) };
        Self { times, progress: Mutex::new(progress) }
    }

    /// A whole head has come.
    pub(super) fn answering(&self) {
        let deadline = Some(Instant::now() + self.times.answer);
        *self.progress.lock() = Progress { stage: Stage::Answer { passed: false, more: false }, deadline };
    }

    /// The answer has been passed on; it is over with the next flush.
    pub(super) fn answered(&self) {
        if let Stage::Answer { passed, .. } = &mut self.progress.lock().stage {
            *passed = true;
        }
    }

    /// Time at which a request or the rest of its head must have come, if one is waited for.
    fn read_deadline(&self) -> Option<Instant> {
        let Progress { stage, deadline } = *self.progress.lock();
        deadline.filter(|_| matches!(stage, Stage::Idle { .. } | Stage::Head))
    }

    fn is_answering(&self) -> bool {
        matches!(self.progress.lock().stage, Stage::Answer { .. })
    }

    /// Everything passed on so far is sent.
    fn flushed(&self) {
        let (mut progress, now) = (self.progress.lock(), Instant::now());
        match progress.stage {
            Stage::Answer { passed: true, more: false } => {
                *progress = Progress { stage: Stage::Idle { first: false }, deadline: Some(now + self.times.idle) };
            }
            Stage::Answer { passed: true, more: true } => {
                *progress = Progress { stage: Stage::Head, deadline: Some(now + self.times.head) };
            }
            _ => {}
        }
    }

    /// The answer is a stream of frames.
    pub(super) fn streaming(&self) {
        *self.progress.lock() = Progress { stage: Stage::Stream, deadline: None };
    }

    /// Bytes have come.
    fn received(&self) {
        let mut progress = self.progress.lock();
        match &mut progress.stage {
            Stage::Idle { first: false } => {
                *progress = Progress { stage: Stage::Head, deadline: Some(Instant::now() + self.times.head) };
            }
            stage @ Stage::Idle { first: true } => *stage = Stage::Head,
            Stage::Answer { more, .. } => *more = true,
            Stage::Head | Stage::Stream => {}
        }
    }
}

/// A timer that exists only while something waits.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether `deadline` has passed; if not, the task is woken then.
    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx).is_ready()
    }
}

/// A socket with time limits.
pub(super) struct TimedIo<S> {
    inner: S,
    clock: Arc<StageClock>,
    counters: Arc<AdminCounters>,
    reading: Alarm,
    writing: Alarm,
    /// A write waits, since this time.
    blocked: Option<Instant>,
    /// The peer sends nothing more. It is told to hyper behind the answer in progress.
    has_ended: bool,
    /// Nothing more is sent; the peer may close its side until this time.
    lingers: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TimedIo<S> {
    pub(super) fn new(inner: S, clock: Arc<StageClock>, counters: Arc<AdminCounters>) -> Self {
        Self {
            inner,
            clock,
            counters,
            reading: Alarm::default(),
            writing: Alarm::default(),
            blocked: None,
            has_ended: false,
            lingers: None,
        }
    }

    /// Fails if the peer has been too slow with its request.
    fn poll_late_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = self.clock.read_deadline() else { return Poll::Pending };
        if !self.reading.poll(deadline, cx) {
            return Poll::Pending;
        }
        let stage = self.clock.progress.lock().stage;
        match stage {
            Stage::Head => {
                AdminCounters::add(&self.counters.read_timeouts);
                // One attempt: every earlier answer has been flushed, and the connection ends whether this fits or not.
                let _ = Pin::new(&mut self.inner).poll_write(cx, TOO_SLOW);
                let _ = Pin::new(&mut self.inner).poll_flush(cx);
            }
            Stage::Idle { first: true } => AdminCounters::add(&self.counters.read_timeouts),
            _ => AdminCounters::add(&self.counters.idle_timeouts),
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Discards what the peer still sends, for a moment: a socket that is closed with unread bytes resets the
    /// connection, and the peer may lose the last answer.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [MaybeUninit::uninit(); LINGER_READ];
        for _ in 0..LINGER_READS {
            let mut buf = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let until = self.lingers.unwrap_or_else(Instant::now);
                    return if self.reading.poll(until, cx) { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Passes the result of a write on, or fails if the peer takes too little.
    fn poll_late_write<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Progress { stage, deadline } = *self.clock.progress.lock();
        let (deadline, now) = (deadline.filter(|_| matches!(stage, Stage::Answer { .. })), Instant::now());
        let is_overdue = deadline.is_some_and(|at| now >= at);
        if result.is_ready() && !is_overdue {
            self.blocked = None;
            if matches!(&result, Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::TimedOut) {
                // The kernel has found first that the peer takes nothing.
                AdminCounters::add(&self.counters.write_timeouts);
            }
            return result;
        }
        let stalled = *self.blocked.get_or_insert(now) + self.clock.times.write;
        if is_overdue || self.writing.poll(deadline.map_or(stalled, |at| at.min(stalled)), cx) {
            AdminCounters::add(&self.counters.write_timeouts);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TimedIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.has_ended {
            return if self.clock.is_answering() { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => self.poll_late_read(cx),
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(())) => {
                let count = buf.filled().len() - before;
                if count > 0 {
                    self.counters.bytes_read.fetch_add(count as u64, Relaxed);
                    self.clock.received();
                } else if buf.remaining() > 0 {
                    self.has_ended = true;
                    // hyper would give the answer up; the flush that ends it makes hyper read again.
                    if self.clock.is_answering() {
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        let count = ready!(self.poll_late_write(result, cx))?;
        add(&self.counters.bytes_written, count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        let count = ready!(self.poll_late_write(result, cx))?;
        add(&self.counters.bytes_written, count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        ready!(self.poll_late_write(result, cx))?;
        self.clock.flushed();
        // A read that waits since before the answer has no alarm: the next request's begins here.
        if let Some(deadline) = self.clock.read_deadline() {
            let _ = self.reading.poll(deadline, cx);
        }
        if self.has_ended {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingers.is_none() {
            let result = Pin::new(&mut self.inner).poll_shutdown(cx);
            ready!(self.poll_late_write(result, cx))?;
            self.lingers = Some(Instant::now() + LINGER);
        }
        self.poll_linger(cx)
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Relaxed);
}
