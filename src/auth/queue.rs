//! The thread that runs slow checks one after the other, and its queue.
//!
//! Owns both. No worker waits for the thread, which starts with the first slow check and ends with the server. Used by
//! `Auth`.
//!
//! The queue is fair between source addresses: each source has its own line, lines take turns, and when the queue is
//! full a new check displaces the last one of a longer line. So one address, whatever it sends, costs another at most
//! one turn. In a line, checks of clients that have sent their last byte run after the others and are displaced first:
//! those clients may have disconnected. A check leaves the queue when its connection closes.

use super::check::Check;
use crate::limits::LOGINS_WAITING;
use crate::sys::panics::{contain, trap};
use crate::sys::sandbox::{Role, confine};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};

/// Source address of a check; all local clients count as one source.
pub type Source = Option<IpAddr>;

/// Callback after a check has run or was refused.
pub type CheckDone = Box<dyn FnOnce() + Send>;

struct Job {
    id: u64,
    check: Check,
    done: CheckDone,
}

/// Checks of one source, in the order of their turns.
struct Lane {
    source: Source,
    /// Checks of clients that may still send.
    live: VecDeque<Job>,
    /// Checks of clients that have sent their last byte.
    ended: VecDeque<Job>,
}

impl Lane {
    fn len(&self) -> usize {
        self.live.len() + self.ended.len()
    }

    fn take_first(&mut self) -> Option<Job> {
        self.live.pop_front().or_else(|| self.ended.pop_front())
    }

    fn take_last(&mut self) -> Option<Job> {
        self.ended.pop_back().or_else(|| self.live.pop_back())
    }
}

/// Waiting checks.
#[derive(Default)]
struct Waiting {
    /// Never empty; the first has the next turn.
    lines: VecDeque<Lane>,
    len: usize,
    last_id: u64,
    /// The server is shutting down.
    is_over: bool,
}

impl Waiting {
    fn line(&mut self, source: Source) -> Option<usize> {
        self.lines.iter().position(|line| line.source == source)
    }

    /// Queues a check. Returns its number, and the check that has no place.
    fn join(&mut self, source: Source, check: Check, done: CheckDone) -> (u64, Option<Job>) {
        self.last_id += 1;
        let job = Job { id: self.last_id, check, done };
        let mut refused = None;
        if self.len >= LOGINS_WAITING {
            refused = self.make_place(source);
            if refused.is_none() {
                return (job.id, Some(job));
            }
        }
        let id = job.id;
        match self.line(source) {
            Some(at) => self.lines[at].live.push_back(job),
            None => {
                let (live, ended) = (VecDeque::from([job]), VecDeque::new());
                self.lines.push_back(Lane { source, live, ended });
            }
        }
        self.len += 1;
        (id, refused)
    }

    /// Removes a check to make room for a new one of `source`.
    fn make_place(&mut self, source: Source) -> Option<Job> {
        let own = self.line(source);
        if let Some(job) = own.and_then(|at| self.lines[at].ended.pop_back()) {
            self.took_from(own?);
            return Some(job);
        }
        let own = own.map_or(0, |at| self.lines[at].len());
        let (at, longest) = self.lines.iter().enumerate().max_by_key(|(_, line)| line.len())?;
        if longest.len() <= own + 1 {
            return None;
        }
        let job = self.lines[at].take_last();
        self.took_from(at);
        job
    }

    /// Updates the count after a check was taken from line `at`; removes an empty line.
    fn took_from(&mut self, at: usize) {
        self.len -= 1;
        if self.lines[at].len() == 0 {
            self.lines.remove(at);
        }
    }

    /// Takes out the next check to run.
    fn next(&mut self) -> Option<Job> {
        let mut line = self.lines.pop_front()?;
        let job = line.take_first();
        self.len -= usize::from(job.is_some());
        if line.len() > 0 {
            self.lines.push_back(line);
        }
        job
    }

    fn remove(&mut self, source: Source, id: u64) -> Option<Job> {
        let at = self.line(source)?;
        let Lane { live, ended, .. } = &mut self.lines[at];
        let job = [live, ended].into_iter().find_map(|jobs| {
            let place = jobs.iter().position(|job| job.id == id)?;
            jobs.remove(place)
        })?;
        self.took_from(at);
        Some(job)
    }

    /// Notes that the client of a check has sent its last byte.
    fn end(&mut self, source: Source, id: u64) {
        let Some(at) = self.line(source) else { return };
        let Lane { live, ended, .. } = &mut self.lines[at];
        if let Some(job) = live.iter().position(|job| job.id == id).and_then(|place| live.remove(place)) {
            ended.push_back(job);
        }
    }
}

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    /// Notified of each new check, and of the shutdown.
    news: Condvar,
}

/// The place of a check in the queue; dropping it takes the check out.
pub struct Ticket {
    inner: Arc<Inner>,
    source: Source,
    id: u64,
}

impl Ticket {
    /// Notes that the client has sent its last byte.
    pub fn peer_ended(&self) {
        self.inner.waiting.lock().end(self.source, self.id);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let job = self.inner.waiting.lock().remove(self.source, self.id);
        drop(job); // outside the lock: it may wake a worker
    }
}

#[derive(Default)]
pub(super) struct Queue {
    inner: Arc<Inner>,
    runs: AtomicBool,
}

impl Queue {
    /// See [`super::Auth::submit`].
    pub(super) fn submit(&self, check: Check, source: Source, done: CheckDone) -> Ticket {
        let (id, refused) = self.inner.waiting.lock().join(source, check, done);
        self.inner.news.notify_one();
        if let Some(job) = refused {
            (job.done)();
        }
        self.run();
        Ticket { inner: Arc::clone(&self.inner), source, id }
    }

    /// Starts the thread unless it runs.
    pub(super) fn run(&self) {
        if !self.runs.swap(true, AcqRel) {
            self.start();
        }
    }

    /// Starts the thread. If that fails, refuses all waiting checks; the next check tries again.
    #[cold]
    fn start(&self) {
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new().name("mc-auth".to_owned());
        if let Err(error) = thread.spawn(move || {
            confine(Role::Main);
            run(&inner);
        }) {
            log::error!("no thread to check passwords: {error}");
            self.runs.store(false, Release);
            let refused = std::mem::take(&mut *self.inner.waiting.lock());
            for job in refused.lines.into_iter().flat_map(|line| line.live.into_iter().chain(line.ended)) {
                (job.done)();
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let mut waiting = self.inner.waiting.lock();
        let left = std::mem::replace(&mut *waiting, Waiting { is_over: true, ..Waiting::default() });
        drop(waiting);
        self.inner.news.notify_one();
        drop(left); // outside the lock, as in a ticket
    }
}

fn run(inner: &Inner) {
    loop {
        let mut waiting = inner.waiting.lock();
        let job = loop {
            if waiting.is_over {
                return;
            }
            match waiting.next() {
                Some(job) => break job,
                None => inner.news.wait(&mut waiting),
            }
        };
        drop(waiting);
        // The panic hook has reported and counted a panic. The answer stays empty, which refuses the login.
        let _ = contain(|| {
            trap("auth");
            job.check.run();
        });
        let _ = contain(job.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Credentials, Format, Seed};
    use std::net::Ipv4Addr;
    use std::sync::mpsc::{Receiver, Sender, channel};

    fn check() -> Check {
        let seed = Seed::from_bytes(&[0; 32]);
        Check::password(&Arc::new(Credentials::parse(b"a:b", Format::Tokens, &seed).unwrap()), b"a", b"b")
    }

    fn address(last: u16) -> Source {
        Some(Ipv4Addr::from(0x7f00_0000 + u32::from(last)).into())
    }

    /// A queue of labels: the source and how many came from it before.
    #[derive(Default)]
    struct Numbers {
        waiting: Waiting,
        all: Vec<(u16, u64)>,
    }

    impl Numbers {
        /// Queues a label; returns the one that has no place.
        fn join(&mut self, source: u16) -> Option<(u16, u64)> {
            let (id, refused) = self.waiting.join(address(source), check(), Box::new(|| ()));
            let before = self.all.iter().filter(|one| one.0 == source).count();
            self.all.push((source, before as u64));
            assert_eq!(id, self.all.len() as u64);
            assert_eq!(self.waiting.lines.iter().map(Lane::len).sum::<usize>(), self.waiting.len);
            assert!(self.waiting.len <= LOGINS_WAITING && self.waiting.lines.iter().all(|line| line.len() > 0));
            refused.map(|job| self.all[job.id as usize - 1])
        }

        fn next(&mut self) -> Option<(u16, u64)> {
            self.waiting.next().map(|job| self.all[job.id as usize - 1])
        }
    }

    #[test]
    fn sources_take_turns() {
        let mut queue = Numbers::default();
        for source in [1, 1, 1, 2, 1, 3, 3] {
            assert_eq!(queue.join(source), None);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(order, [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1), (1, 2), (1, 3)]);
        assert_eq!(queue.waiting.len, 0);
    }

    #[test]
    fn a_full_queue_refuses_the_longest_line() {
        let mut queue = Numbers::default();
        let all = LOGINS_WAITING as u64;
        for _ in 0..all {
            assert_eq!(queue.join(1), None);
        }
        assert_eq!(queue.join(1), Some((1, all)), "its own");
        assert_eq!(queue.join(2), Some((1, all - 1)), "the newest of the longest");
        assert_eq!(queue.join(2), Some((1, all - 2)));
        assert_eq!([queue.next(), queue.next(), queue.next()], [Some((1, 0)), Some((2, 0)), Some((1, 1))]);
        // As many sources as places: no line is longer than the new check's would be.
        let mut queue = Numbers::default();
        for source in 0..LOGINS_WAITING as u16 {
            assert_eq!(queue.join(source), None);
        }
        assert_eq!(queue.join(60_000), Some((60_000, 0)));
    }

    #[test]
    fn clients_that_have_ended_run_last_and_are_displaced_first() {
        let mut queue = Numbers::default();
        for _ in 0..4 {
            queue.join(1);
        }
        for id in [1, 3, 3, 99] {
            queue.waiting.end(address(1), id);
        }
        queue.waiting.end(address(2), 2);
        assert_eq!([queue.next(), queue.next(), queue.next()], [Some((1, 1)), Some((1, 3)), Some((1, 0))]);
        while queue.waiting.len < LOGINS_WAITING {
            queue.join(1);
        }
        assert_eq!(queue.join(1), Some((1, 2)), "the ended one, not the newcomer");
        assert!(queue.join(1).is_some_and(|refused| refused.1 > 500));
    }

    #[test]
    fn a_check_that_leaves_has_no_place() {
        let mut queue = Numbers::default();
        for source in [1, 2, 1] {
            queue.join(source);
        }
        queue.waiting.end(address(1), 3);
        for (source, id, there) in [(1, 2, false), (2, 2, true), (2, 2, false), (1, 3, true), (1, 1, true)] {
            assert_eq!(queue.waiting.remove(address(source), id).is_some(), there);
        }
        assert!(queue.waiting.len == 0 && queue.waiting.lines.is_empty() && queue.next().is_none());
    }

    /// Blocks the thread until the sender is dropped.
    fn hold(queue: &Queue) -> (Sender<()>, Ticket) {
        let ((hold, held), (began, begun)): ((_, Receiver<()>), _) = (channel(), channel());
        let occupy = move || {
            began.send(()).unwrap();
            let _ = held.recv();
        };
        let ticket = queue.submit(check(), None, Box::new(occupy));
        begun.recv().unwrap();
        (hold, ticket)
    }

    #[test]
    fn a_check_that_panics_does_not_end_the_thread() {
        let queue = Queue::default();
        let _panics = queue.submit(check(), None, Box::new(|| panic!("as a test wants it")));
        let (tell, told) = channel();
        let check = check();
        let answer = check.answer();
        let _ticket = queue.submit(check, None, Box::new(move || tell.send(answer.get().is_some()).unwrap()));
        assert_eq!(told.recv(), Ok(true));
    }

    #[test]
    fn a_check_beyond_the_limit_is_refused_at_once_and_the_others_are_answered() {
        let queue = Queue::default();
        let (hold, _held) = hold(&queue);
        let (tell, told) = channel();
        let submit = || {
            let (check, tell) = (check(), tell.clone());
            let answer = check.answer();
            queue.submit(check, address(1), Box::new(move || tell.send(answer.get().is_some()).unwrap()))
        };
        let tickets: Vec<_> = (0..=LOGINS_WAITING).map(|_| submit()).collect();
        assert_eq!(told.try_recv(), Ok(false), "the last one has no answer");
        drop(hold);
        for _ in 0..LOGINS_WAITING {
            assert_eq!(told.recv(), Ok(true));
        }
        drop(tickets);
    }

    #[test]
    fn a_dropped_ticket_is_a_check_that_is_not_run() {
        let queue = Queue::default();
        let (hold, _held) = hold(&queue);
        let (gone, stays) = (check(), check());
        let (answer, (tell, told)) = (gone.answer(), channel());
        let ticket = queue.submit(gone, address(1), Box::new(|| panic!("it has left")));
        let _stays = queue.submit(stays, address(1), Box::new(move || tell.send(()).unwrap()));
        drop(ticket);
        drop(hold);
        told.recv().unwrap();
        assert!(answer.get().is_none());
    }
}
