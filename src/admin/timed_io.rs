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
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Sent to a peer that takes too long for its head.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n";

/// Stage of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No byte of a request has come; the first request of a connection is due as soon as its head would be.
    Idle { first: bool },
    /// Some bytes of a head have come.
    Head,
    /// A request is being answered. Bytes of a next one may have come.
    Answer { more: bool },
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
        *self.progress.lock() = Progress { stage: Stage::Answer { more: false }, deadline };
    }

    /// The answer has been passed on.
    pub(super) fn answered(&self) {
        let (mut progress, now) = (self.progress.lock(), Instant::now());
        *progress = match progress.stage {
            Stage::Answer { more: true } => Progress { stage: Stage::Head, deadline: Some(now + self.times.head) },
            _ => Progress { stage: Stage::Idle { first: false }, deadline: Some(now + self.times.idle) },
        };
    }

    /// Bytes have come.
    fn received(&self) {
        let mut progress = self.progress.lock();
        match &mut progress.stage {
            Stage::Idle { first: false } => {
                *progress = Progress { stage: Stage::Head, deadline: Some(Instant::now() + self.times.head) };
            }
            stage @ Stage::Idle { first: true } => *stage = Stage::Head,
            Stage::Answer { more } => *more = true,
            Stage::Head => {}
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
}

impl<S: AsyncRead + AsyncWrite + Unpin> TimedIo<S> {
    pub(super) fn new(inner: S, clock: Arc<StageClock>, counters: Arc<AdminCounters>) -> Self {
        Self { inner, clock, counters, reading: Alarm::default(), writing: Alarm::default(), blocked: None }
    }

    /// Fails if the peer has been too slow with its request.
    fn poll_late_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Progress { stage, deadline } = *self.clock.progress.lock();
        let Some(deadline) = deadline.filter(|_| matches!(stage, Stage::Idle { .. } | Stage::Head)) else {
            return Poll::Pending;
        };
        if !self.reading.poll(deadline, cx) {
            return Poll::Pending;
        }
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

    /// Passes the result of a write on, or fails if the peer takes too little.
    fn poll_late_write<T>(&mut self, result: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let Progress { stage, deadline } = *self.clock.progress.lock();
        let overdue = matches!(stage, Stage::Answer { .. }) && deadline.is_some_and(|at| Instant::now() >= at);
        if result.is_ready() && !overdue {
            self.blocked = None;
            return result;
        }
        let since = *self.blocked.get_or_insert_with(Instant::now);
        if overdue || self.writing.poll(since + self.clock.times.write, cx) {
            AdminCounters::add(&self.counters.write_timeouts);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TimedIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => self.poll_late_read(cx),
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(())) => {
                let count = buf.filled().len() - before;
                if count > 0 {
                    self.counters.bytes_read.fetch_add(count as u64, Relaxed);
                    self.clock.received();
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
        self.poll_late_write(result, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.poll_late_write(result, cx)
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Relaxed);
}
