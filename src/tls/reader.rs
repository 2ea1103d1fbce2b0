//! The thread that reads certificates for threads that may open no files.
//!
//! Owns the thread and its queue, of which each waiting caller has one place. Used by `Tls::refresh` under
//! `-o drop_privileges`; otherwise the caller reads the files itself.

use crate::sys::panics;
use crate::sys::sandbox::{Role, confine};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Result of a refresh.
type Refreshed = Result<(), String>;

struct Request {
    /// Relative time of the refresh.
    now: u32,
    answer: SyncSender<Refreshed>,
}

/// The thread; it ends when this is dropped.
pub(super) struct Reader(SyncSender<Request>);

impl Reader {
    /// Starts the thread, which answers each request by `refresh`.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(super) fn start(refresh: impl Fn(u32) -> Refreshed + Send + 'static) -> io::Result<Self> {
        let (requests, waiting) = sync_channel(0);
        std::thread::Builder::new().name("mc-files".to_owned()).spawn(move || run(&waiting, refresh))?;
        Ok(Self(requests))
    }

    /// Has the thread refresh, and waits for its answer.
    pub(super) fn refresh(&self, now: u32) -> Refreshed {
        let (answer, answered) = sync_channel(1);
        let sent = self.0.send(Request { now, answer });
        sent.ok().and_then(|()| answered.recv().ok()).unwrap_or_else(|| Err("no thread reads the files".to_owned()))
    }
}

fn run(waiting: &Receiver<Request>, refresh: impl Fn(u32) -> Refreshed) {
    confine(Role::Main);
    while let Ok(request) = waiting.recv() {
        // The panic hook has reported a panic; dropping the request answers it.
        let _ = panics::contain(|| request.answer.send(refresh(request.now)));
    }
}
