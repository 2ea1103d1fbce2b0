//! One server: its parts, the order of its start, the main thread's loop, and its shutdown.
//!
//! Owns the main thread: listening sockets, the clock's tick, signals and requests from sessions. Must not touch a
//! client's bytes. `main` runs one in the foreground; tests start any number of them in process.
//!
//! ```text
//! prepare      the process: files, limits, user, background; `host` warns, `sandbox` restricts
//! start        memory, threads, listening sockets
//! main_loop    until a stop is requested
//! watchdog     signs of life for the service manager
//! stop         threads end, items are saved
//! ```

mod check;
mod host;
mod main_loop;
mod prepare;
mod running;
mod sandbox;
mod start;
mod start_error;
mod stop;
mod watchdog;

use crate::admin::{AdminThread, Phase};
use crate::cluster::ClusterWatch;
use crate::maint::{Chores, Logger, MoverThread};
use crate::net::{Acceptor, Workers};
use crate::proto::{Control, Shared};
use crate::sys::say;
use crate::sys::service_manager::ServiceManager;
use crate::sys::signal::Signals;
use mio::{Poll, Token, Waker};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use check::check_files;
pub use host::warn_of_limits;
pub use prepare::{Loaded, go_to_work, load_auth, load_cluster, load_tls, lock_memory, prepare_process};
pub use running::Running;
pub use sandbox::{enter_sandbox, make_sandbox};
pub use start_error::StartError;
use watchdog::Watchdog;

const WAKE: Token = Token(0);
const SIGNALS: Token = Token(1);
/// Listener `n` has token `FIRST_LISTENER + n`.
const FIRST_LISTENER: usize = 2;

/// Requests to the main thread, from sessions and from holders of a [`ServerHandle`].
#[derive(Default)]
struct Requests {
    exit: AtomicBool,
    graceful: AtomicBool,
    /// Set once the main thread's poll exists, before any session runs.
    waker: OnceLock<Waker>,
}

impl Requests {
    fn ask(&self, control: Control) {
        match control {
            Control::Shutdown => self.exit.store(true, Relaxed),
            Control::ShutdownGraceful => self.graceful.store(true, Relaxed),
        }
        // A failed wake-up delays the request by one clock tick at most.
        if let Some(waker) = self.waker.get() {
            let _ = waker.wake();
        }
    }
}

/// Stops a server from another thread.
#[derive(Clone)]
pub struct ServerHandle(Arc<Requests>);

impl ServerHandle {
    /// Requests a stop, as the `shutdown` commands do.
    pub fn shutdown(&self, how: Control) {
        self.0.ask(how);
    }
}

/// Requested kind of stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Exit,
    Graceful,
}

/// A server with open listeners and running workers; [`Server::run`] starts accepting.
pub struct Server {
    shared: Arc<Shared>,
    requests: Arc<Requests>,
    workers: Workers,
    chores: Chores,
    /// `None` without `slab_reassign`.
    mover: Option<MoverThread>,
    logger: Logger,
    acceptor: Acceptor,
    /// `None` without `--admin`.
    admin: Option<AdminThread>,
    /// `None` without `-o cluster_file`.
    cluster: Option<ClusterWatch>,
    /// `None` unless a service manager asked for messages.
    manager: Option<ServiceManager>,
    /// `None` unless the manager watches.
    watchdog: Option<Watchdog>,
    addresses: Vec<SocketAddr>,
    poll: Poll,
    next_tick: Instant,
}

impl Server {
    /// Network addresses of its listeners, in the order of opening.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The admin listener; `None` without `--admin`.
    pub fn admin(&self) -> Option<&AdminThread> {
        self.admin.as_ref()
    }

    /// State shared by all sessions.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Handle that stops it.
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(Arc::clone(&self.requests))
    }

    /// Serves until stopped by a signal (if `signals` are given), by command or by a [`ServerHandle`]; then stops all
    /// threads.
    ///
    /// # Errors
    /// Polling failed.
    pub fn run(mut self, mut signals: Option<Signals>) -> io::Result<()> {
        let durable = self.shared.durable.clone();
        let served = self.serve(signals.as_mut());
        self.begin(Phase::Draining);
        let stop = self.shared.settings.stop.clone();
        let served = match (served, stop.drain_time()) {
            (Ok(how), Some(limit)) => self.drain(limit, signals.as_mut()).map(|()| how),
            (served, _) => served,
        };
        let served = served.map(|how| if stop.save_on_term { Stop::Graceful } else { how });
        let verbose = self.shared.runtime.verbose() > 0;
        match served {
            Ok(Stop::Graceful) => {
                say(format_args!("Gracefully stopping"));
                self.stop_gracefully(verbose);
            }
            Ok(Stop::Exit) => {
                if verbose {
                    say(format_args!("Exiting normally"));
                }
                self.workers.stop();
                if let Some(memory_file) = self.shared.cache.store.memory_file() {
                    memory_file.abandon();
                }
            }
            Err(_) => {
                say(format_args!("Exiting on error"));
                self.workers.stop();
            }
        }
        // No command runs any more: what is pending can be written.
        durable.iter().for_each(|durable| durable.stop());
        served.map(|_| ())
    }

    /// Begins a phase, and reports it.
    fn begin(&mut self, phase: Phase) {
        if let Some(admin) = &self.admin {
            admin.health().begin(phase);
        }
        let Some(manager) = &mut self.manager else { return };
        match phase {
            Phase::Serving => {
                self.watchdog = manager.watchdog().map(|limit| Watchdog::start(limit, &self.workers));
                manager.ready(&serving(&self.shared));
            }
            Phase::Draining => manager.stopping("Stopping"),
            Phase::Starting | Phase::Restoring => {}
        }
    }
}

/// Status of a server that serves.
fn serving(shared: &Shared) -> String {
    let workers = shared.settings.num_threads;
    format!("Serving with {workers} worker{}", if workers == 1 { "" } else { "s" })
}

fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
