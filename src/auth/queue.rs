//! The thread that runs slow checks, one after the other.
//!
//! Owns the thread and the bounded queue before it; no worker ever waits for it. It starts with the first slow check
//! and ends with the server. Used by `Auth`.

use super::check::Check;
use crate::limits::LOGINS_WAITING;
use crossbeam_channel::{Sender, bounded};
use std::sync::OnceLock;

struct Job {
    check: Check,
    done: Box<dyn FnOnce() + Send>,
}

#[derive(Default)]
pub(super) struct Queue(OnceLock<Option<Sender<Job>>>);

impl Queue {
    /// See [`super::Auth::submit`].
    pub(super) fn submit(&self, check: Check, done: Box<dyn FnOnce() + Send>) {
        let job = Job { check, done };
        let refused = match self.0.get_or_init(start) {
            Some(sender) => sender.try_send(job).err().map(crossbeam_channel::TrySendError::into_inner),
            None => Some(job),
        };
        if let Some(job) = refused {
            (job.done)();
        }
    }
}

fn start() -> Option<Sender<Job>> {
    let (sender, receiver) = bounded::<Job>(LOGINS_WAITING);
    let thread = std::thread::Builder::new().name("mc-auth".to_owned());
    let started = thread.spawn(move || {
        for job in receiver {
            job.check.run();
            (job.done)();
        }
    });
    match started {
        Ok(_) => Some(sender),
        Err(e) => {
            log::error!("no thread to check passwords: {e}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Credentials, Format, Seed};
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    #[test]
    fn one_too_many_is_sent_away_at_once() {
        let seed = Seed::from_bytes(&[0; 32]);
        let all = Arc::new(Credentials::parse(b"a:b", Format::Tokens, &seed).unwrap());
        let queue = Queue::default();
        let (hold, held) = channel::<()>();
        let (tell, told) = channel();
        let began = tell.clone();
        // The first one occupies the thread until it is let go.
        queue.submit(
            Check::password(&all, b"a", b"b"),
            Box::new(move || {
                began.send(None).unwrap();
                let _ = held.recv();
            }),
        );
        assert!(told.recv().unwrap().is_none());
        for _ in 0..=LOGINS_WAITING {
            let check = Check::password(&all, b"a", b"b");
            let (answer, tell) = (check.answer(), tell.clone());
            queue.submit(check, Box::new(move || tell.send(Some(answer.get().is_some())).unwrap()));
        }
        assert_eq!(told.try_recv(), Ok(Some(false)), "the last one has no answer");
        hold.send(()).unwrap();
        for _ in 0..LOGINS_WAITING {
            assert_eq!(told.recv(), Ok(Some(true)));
        }
    }
}
