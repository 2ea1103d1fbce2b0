//! A thread that works until it is told to stop.
//!
//! Owns how such a thread is started, told, woken and waited for; what it does is its maker's. Used by the three threads
//! of `maint`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

/// The thread; dropping this stops it and waits for it.
pub(super) struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread asks whether it shall stop.
pub(super) struct Told(Arc<AtomicBool>);

impl Told {
    /// Whether the thread shall end. It is unparked once this has become true.
    pub(super) fn to_stop(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Background {
    /// Starts a thread that does `work`, which returns soon after it is told to stop.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(super) fn start(name: &str, work: impl FnOnce(&Told) + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Told(Arc::clone(&stop));
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&told))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic has been reported on standard error; there is nothing left to save here.
            let _ = thread.join();
        }
    }
}
