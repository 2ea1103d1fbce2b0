//! One server: its parts, the order of its start, the main thread's loop, and its shutdown.
//!
//! Owns the main thread: listening sockets, the clock's tick, signals and requests from sessions. Must not touch a
//! client's bytes. `main` runs one in the foreground; tests start any number of them in process.

use crate::admin::{AdminSockets, AdminThread, AdminToken, BindRefused, Phase};
use crate::auth::Auth;
use crate::clock::Clock;
use crate::maint::restart::{self, Memory};
use crate::maint::{Chores, Logger, MoverThread, RoundTally};
use crate::net::{self, Acceptor, Dispatcher, Workers};
use crate::proto::{Control, Shared, size_config};
use crate::report::hash_power;
use crate::settings::{self, Exit, Settings};
use crate::store::Sizes;
use crate::sys::reserve::ALLOCATOR;
use crate::sys::signal::{Signal, Signals};
use crate::sys::user::{Account, process_uids};
use crate::sys::{error_text, panics, process, say};
use crate::tls::Tls;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Exit code for every other failure (`EXIT_FAILURE`).
const FAILURE: i32 = 1;
/// Exit code for unusable files named by an option (`EX_USAGE`).
const USAGE: i32 = 64;
/// Exit code for errors of the operating system (`EX_OSERR`).
const OS_ERROR: i32 = 71;

const WAKE: Token = Token(0);
const SIGNALS: Token = Token(1);
/// Listener `n` has token `FIRST_LISTENER + n`.
const FIRST_LISTENER: usize = 2;

/// Maximum events of one poll; further ones wait for the next poll.
const EVENTS: usize = 128;

const TICK: Duration = Duration::from_secs(1);

/// Why a server did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// Exit code of the process.
    pub code: i32,
    /// For stderr, without a final line feed.
    pub message: String,
}

impl StartError {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Error of a step without an error text of its own.
    fn from_io(code: i32, what: &str, error: &io::Error) -> Self {
        Self::new(code, format!("{what}: {}", error_text(error)))
    }
}

impl From<Exit> for StartError {
    fn from(exit: Exit) -> Self {
        Self::new(exit.code, exit.stderr.strip_suffix('\n').unwrap_or(&exit.stderr))
    }
}

/// State read from files before the server starts.
#[derive(Default)]
pub struct Loaded {
    /// Certificates; see [`load_tls`].
    pub tls: Option<Tls>,
    /// Users; see [`load_auth`].
    pub auth: Option<Auth>,
}

/// Applies the process-wide part of `settings`: limits and the change of user, in memcached's order, so that
/// memcached's first error is reported. Must run while the process has one thread, and before [`Server::start`], so
/// that its sockets and memory belong to the new user.
pub fn prepare_process(settings: &Settings) -> Result<(), StartError> {
    if settings.large_pages
        && let Some(reason) = process::large_pages_refused()
    {
        say(format_args!("{reason}\nWill use default page size."));
        let complaint = "Cannot enable large pages on this system\n(There is no support as of this version)";
        return Err(StartError::new(FAILURE, complaint));
    }
    // Looked up first, since a low descriptor limit would make the user table unreadable; its error is reported in
    // memcached's order.
    let (uid, euid) = process_uids();
    let account = settings::check_user(uid, euid, settings);
    if settings.maxcore && !process::allow_core_files() {
        return Err(StartError::new(OS_ERROR, "failed to ensure corefile creation"));
    }
    if process::limit_open_files(descriptors(settings)).is_err() && !settings.relaxed_privileges {
        return Err(StartError::new(
            OS_ERROR,
            "failed to set rlimit for open files. Try starting as root or requesting smaller maxconns value.",
        ));
    }
    if let Some(account) = account? {
        become_account(account, settings)?;
    }
    Ok(())
}

/// Descriptors of a process: of clients, and of the admin listener on top.
fn descriptors(settings: &Settings) -> u64 {
    u64::from(settings.maxconns) + u64::from(settings.admin_descriptors())
}

/// Daemonizes, after [`prepare_process`]. Between the two, files can be read with the rights of the new user while
/// error texts still reach the terminal.
pub fn go_to_work(settings: &Settings) -> Result<(), StartError> {
    if settings.daemonize && process::daemonize(settings.maxcore, settings.verbose > 0).is_err() {
        return Err(StartError::new(FAILURE, "failed to daemon() in order to daemonize"));
    }
    process::save_address_space();
    Ok(())
}

/// Locks the memory of a started server, for `-k`. If that fails, prints a warning and the server runs without.
pub fn lock_memory() {
    if let Err(e) = process::lock_memory() {
        say(format_args!("warning: -k invalid, mlockall() failed: {}", error_text(&e)));
    }
}

/// Loads the certificates that `settings` name. As in memcached, a process that changes its user must call this before
/// [`prepare_process`], because only root may be able to read the key.
pub fn load_tls(settings: &Settings) -> Result<Option<Tls>, StartError> {
    Tls::load(settings).map_err(|complaint| StartError::new(USAGE, complaint))
}

/// Loads the users that `settings` and the environment name. Must run after the change of user, so that a reload can
/// read the same files.
pub fn load_auth(settings: &Settings) -> Result<Option<Auth>, StartError> {
    settings::check_authfile(settings)?;
    let auth = Auth::load(settings, |name| std::env::var_os(name));
    let auth = auth.map_err(|complaint| StartError::new(FAILURE, complaint))?;
    if settings.sasl && settings.verbose > 0 {
        say(format_args!("Initialized SASL."));
    }
    Ok(auth)
}

fn become_account(account: Account, settings: &Settings) -> Result<(), StartError> {
    if let Err(e) = process::drop_groups() {
        let words = format!("failed to drop supplementary groups: {}", error_text(&e));
        // EPERM: the process is already confined (a container), which is the goal.
        if e.raw_os_error() != Some(libc::EPERM) {
            return Err(StartError::new(OS_ERROR, words));
        }
        say(format_args!("{words}"));
    }
    process::become_user(account).map_err(|_| {
        let name = String::from_utf8_lossy(settings.username.as_deref().unwrap_or_default()).into_owned();
        StartError::new(OS_ERROR, format!("failed to assume identity of user {name}"))
    })
}

/// Prints the slab classes, for `-vv`.
fn say_classes(sizes: &Sizes) {
    for id in 1..=sizes.largest() {
        let size = sizes.class(id);
        say(format_args!("slab class {id:3}: chunk size {:9} perslab {:7}", size.memcached_size, size.per_page));
    }
}

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
    addresses: Vec<SocketAddr>,
    poll: Poll,
    next_tick: Instant,
}

impl Server {
    /// Starts a server: certificates, users, poll, shared state, workers, clock, listening sockets.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let loaded = Loaded { tls: load_tls(&settings)?, auth: load_auth(&settings)? };
        Self::start_with(settings, loaded)
    }

    /// As [`Server::start`], with certificates and users already loaded.
    pub fn start_with(settings: Settings, loaded: Loaded) -> Result<Self, StartError> {
        let failed = |what: &'static str| move |e: io::Error| StartError::from_io(FAILURE, what, &e);
        settings::check_start(&settings)?;
        let tls = loaded.tls.map(Arc::new);
        // First of all, so that it answers while a memory file is recovered.
        let admin = serve_admin(&settings, tls.as_ref())?;
        let poll = Poll::new().map_err(failed("epoll_create"))?;
        let requests = Arc::new(Requests::default());
        let waker = Waker::new(poll.registry(), WAKE).map_err(failed("eventfd"))?;
        // Cannot fail: the cell is new.
        let _ = requests.waker.set(waker);
        let asked = Arc::clone(&requests);
        let restoring = || admin.iter().for_each(|admin| admin.health().begin(Phase::Restoring));
        let shared = share(settings, Box::new(move |control| asked.ask(control)), &restoring)?;
        let shared = Arc::new(Shared { tls, auth: loaded.auth, ..shared });
        if let Some(admin) = &admin {
            admin.health().begin(Phase::Starting);
            admin.attach(&shared);
        }
        if shared.settings.verbose > 1 {
            say_classes(shared.cache.store.sizes());
        }
        let next_tick = Instant::now() + TICK;
        let workers = Workers::start(&shared).map_err(failed("Can't create thread"))?;

        let source = Arc::clone(&shared);
        let moment = move || source.moment();
        let chores = Chores::start(shared.cache.store, Arc::clone(&shared.crawler), moment, news(&shared));
        let chores = chores.map_err(failed("Can't create thread"))?;
        let mover = match shared.settings.slab_reassign {
            true => {
                let source = Arc::clone(&shared);
                let tuning = move || source.tuning();
                let thread = MoverThread::start(shared.cache.store, Arc::clone(&shared.mover), tuning, news(&shared));
                Some(thread.map_err(failed("Can't create slab rebalancer thread"))?)
            }
            false => None,
        };
        let counted = Arc::clone(&shared);
        let logger = Logger::start(Arc::clone(&shared.watchers), move |tally| count(&counted, tally));
        let logger = logger.map_err(failed("Can't start logger thread"))?;
        match listen(&shared, workers.dispatcher(), poll.registry(), admin.as_ref()) {
            Ok((acceptor, addresses)) => Ok(Self {
                shared,
                requests,
                workers,
                chores,
                mover,
                logger,
                acceptor,
                admin,
                addresses,
                poll,
                next_tick,
            }),
            Err(e) => {
                workers.stop();
                Err(e)
            }
        }
    }

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
        let served = self.serve(signals.as_mut());
        self.begin(Phase::Draining);
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
        served.map(|_| ())
    }

    /// Runs it on its own thread, for tests.
    pub fn spawn(self) -> io::Result<Running> {
        let (handle, addresses) = (self.handle(), self.addresses.clone());
        let thread = thread::Builder::new().name("mc-main".to_owned()).spawn(move || self.run(None))?;
        Ok(Running { handle, addresses, thread })
    }

    fn begin(&self, phase: Phase) {
        if let Some(admin) = &self.admin {
            admin.health().begin(phase);
        }
    }

    fn serve(&mut self, mut signals: Option<&mut Signals>) -> io::Result<Stop> {
        ALLOCATOR.refill();
        if let Some(signals) = &mut signals {
            self.poll.registry().register(signals.source(), SIGNALS, Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(EVENTS);
        self.begin(Phase::Serving);
        loop {
            let until_tick = self.next_tick.saturating_duration_since(Instant::now());
            let timeout = self.acceptor.timeout().map_or(until_tick, |t| t.min(until_tick));
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            let mut signalled = None;
            for event in &events {
                match event.token() {
                    WAKE => {}
                    SIGNALS => signalled = signals.as_deref_mut(),
                    listener => self.acceptor.ready(listener, self.poll.registry()),
                }
            }
            self.acceptor.on_timer(self.poll.registry());
            if let Some(stop) = self.asked(signalled) {
                return Ok(stop);
            }
            self.tick();
        }
    }

    /// Stop requested by signals or sessions. Signals are read only if their event came.
    fn asked(&self, signals: Option<&mut Signals>) -> Option<Stop> {
        let mut stop = None;
        for signal in signals.map(Signals::take).unwrap_or_default() {
            match signal {
                Signal::Exit => stop = Some(Stop::Exit),
                Signal::Graceful => stop = stop.or(Some(Stop::Graceful)),
                Signal::Reload => self.reload(),
            }
        }
        if self.requests.exit.load(Relaxed) {
            stop = Some(Stop::Exit);
        } else if self.requests.graceful.load(Relaxed) {
            stop = stop.or(Some(Stop::Graceful));
        }
        stop
    }

    /// Reloads users, certificates and the admin token.
    fn reload(&self) {
        if let Some(admin) = &self.admin {
            match AdminToken::load(&self.shared.settings) {
                Ok(token) => admin.set_token(token),
                Err(complaint) => say(format_args!("Could not reload on SIGHUP: {complaint}")),
            }
        }
        for complaint in self.shared.auth.iter().flat_map(Auth::reload) {
            say(format_args!("Could not reload on SIGHUP: {complaint}"));
        }
        if let Some(tls) = &self.shared.tls
            && let Err(complaint) = tls.refresh(self.shared.clock.now())
        {
            say(format_args!("Could not reload TLS certificates on SIGHUP: {complaint}"));
        }
    }

    /// Advances the clock once a second, and wakes idle background threads that have work. Ticks are scheduled from the
    /// start time, so they do not drift.
    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        panics::trap("main");
        self.shared.clock.tick();
        if let Some(admin) = &self.admin {
            admin.health().tick();
        }
        self.shared.cache.store.note_time(self.shared.clock.now(), unix_now());
        ALLOCATOR.refill();
        let (second, news) = (self.shared.clock.now(), self.shared.news());
        self.chores.tick(second, news);
        if let Some(mover) = &self.mover {
            mover.tick(second, news);
        }
        let behind = now.duration_since(self.next_tick).as_secs();
        self.next_tick += TICK + Duration::from_secs(behind);
    }

    /// Stops every thread in memcached's order; with `verbose` prints each step.
    fn stop_gracefully(self, verbose: bool) {
        let tell = |line: &str| {
            if verbose {
                say(format_args!("{line}"));
            }
        };
        let settings = &self.shared.settings;
        self.chores.stop();
        tell("stopped assoc");
        tell("asking workers to stop");
        tell("asking background threads to stop");
        tell("stopped lru crawler");
        if settings.lru_maintainer_thread {
            tell("stopped maintainer");
        }
        if let Some(mover) = self.mover {
            mover.stop();
            tell("stopped slab mover");
        }
        self.logger.stop();
        tell("stopped logger thread");
        tell("stopped idle timeout thread");
        tell("closing connections");
        tell("reaping worker threads");
        self.workers.stop_gracefully();
        tell("all background threads stopped");
        put_aside(&self.shared);
    }
}

/// Counter that changes after every event that may cause work for background threads.
fn news(shared: &Arc<Shared>) -> impl Fn() -> u64 + Send + 'static {
    let shared = Arc::clone(shared);
    move || shared.news()
}

/// Creates the shared state: an empty cache, or with `-e` the items of the previous process.
/// `restoring` is called before old items are looked for.
fn share(
    mut settings: Settings,
    control: Box<dyn Fn(Control) + Send + Sync>,
    restoring: &dyn Fn(),
) -> Result<Shared, StartError> {
    let no_space = || StartError::new(FAILURE, "Failed to reserve address space for item memory");
    let Some(path) = settings.memory_file.as_deref().map(|path| settings.locate(path)) else {
        let shared = Shared::new(settings, Clock::real(), control).ok_or_else(no_space)?;
        let (limit, wanted) = (shared.cache.store.limit(), shared.settings.maxbytes);
        if limit < wanted {
            let (limit, wanted) = (limit >> 20, wanted >> 20);
            say(format_args!("warning: address space for {limit} MB of the {wanted} MB of -m only"));
        }
        return Ok(shared);
    };
    restoring();
    let sizes = Sizes::new(size_config(&settings));
    let Memory { memory_file, resume } =
        restart::open(&path, &settings, &sizes, unix_now()).map_err(|complaint| StartError::new(FAILURE, complaint))?;
    let clock = resume.map_or_else(Clock::real, |resume| Clock::resumed(resume.now));
    if let Some(power) = resume.and_then(|resume| resume.hashpower) {
        settings.hashpower_init = power.max(settings.hashpower_init);
    }
    memory_file.begin(clock.unix(0));
    let shared = Shared::in_file(settings, clock, memory_file, control).ok_or_else(no_space)?;
    if let Some(resume) = resume {
        let adopted = shared.cache.store.adopt(shared.clock.now());
        shared.events.resume_after(resume.gid);
        if !resume.in_order || shared.settings.verbose > 0 {
            let (items, dropped) = (adopted.items, adopted.dropped);
            say(format_args!("[restart] {items} items are back, {dropped} were out of date or not whole"));
        }
    }
    shared.cache.store.note_time(shared.clock.now(), unix_now());
    Ok(shared)
}

/// Saves the state that the next process needs to recover the items of the memory file, if there is one.
fn put_aside(shared: &Shared) {
    let settings = &shared.settings;
    let Some(path) = settings.memory_file.as_deref().map(|path| settings.locate(path)) else { return };
    let slots = shared.cache.store.index_view().2;
    let facts = restart::Facts {
        now: shared.clock.now(),
        origin: shared.clock.unix(0),
        stop_time: unix_now(),
        hashpower: hash_power(slots, settings.hashpower_init),
        gid: shared.events.last_number(),
    };
    restart::save(&path, settings, shared.cache.store, &facts);
}

fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Adds the logger's counts to the statistics.
fn count(shared: &Shared, tally: RoundTally) {
    let globals = &shared.stats.globals;
    globals.log_worker_dropped.fetch_add(tally.dropped, Relaxed);
    globals.log_worker_written.fetch_add(tally.written, Relaxed);
    globals.log_watcher_skipped.fetch_add(tally.skipped, Relaxed);
    globals.log_watcher_sent.fetch_add(tally.sent, Relaxed);
    globals.log_watchers.store(tally.watchers, Relaxed);
}

/// Starts the admin listener, if there is to be one.
fn serve_admin(settings: &Settings, tls: Option<&Arc<Tls>>) -> Result<Option<AdminThread>, StartError> {
    let sockets = AdminSockets::open(settings).map_err(|refused| match refused {
        BindRefused::Insecure(message) => StartError::new(USAGE, message),
        BindRefused::System(message) => StartError::new(OS_ERROR, message),
    })?;
    let Some(sockets) = sockets else { return Ok(None) };
    let token = AdminToken::load(settings).map_err(|complaint| StartError::new(FAILURE, complaint))?;
    let admin = AdminThread::start(sockets, settings, tls, token)
        .map_err(|e| StartError::from_io(FAILURE, "Can't create admin thread", &e))?;
    if settings.verbose > 0 {
        admin.addresses().iter().for_each(|address| say(format_args!("admin listener on {address}")));
    }
    Ok(Some(admin))
}

/// Opens the listening sockets and creates the acceptor.
fn listen(
    shared: &Arc<Shared>,
    dispatcher: Dispatcher,
    registry: &Registry,
    admin: Option<&AdminThread>,
) -> Result<(Acceptor, Vec<SocketAddr>), StartError> {
    let port_file = std::env::var_os("MEMCACHED_PORT_FILENAME").map(|path| shared.settings.locate(Path::new(&path)));
    let admin = admin.map(AdminThread::addresses).unwrap_or_default();
    let listeners = net::open(&shared.settings, port_file.as_deref(), admin)
        .map_err(|net::BindError(message)| StartError::new(OS_ERROR, message))?;
    let addresses = listeners.iter().filter_map(|l| l.local).collect();
    let acceptor = Acceptor::new(Arc::clone(shared), listeners, dispatcher, registry, FIRST_LISTENER)
        .map_err(|e| StartError::from_io(FAILURE, "failed to create listening connection", &e))?;
    let gauges = &shared.stats.globals;
    let used = gauges.curr_conns.load(Relaxed) + gauges.reserved_fds.load(Relaxed);
    if used + 1 >= u64::from(shared.settings.maxconns) {
        return Err(StartError::new(FAILURE, "Maxconns setting is too low, use -c to increase."));
    }
    Ok((acceptor, addresses))
}

/// A server that runs on its own thread.
pub struct Running {
    handle: ServerHandle,
    addresses: Vec<SocketAddr>,
    thread: thread::JoinHandle<io::Result<()>>,
}

impl Running {
    /// Network addresses of its listeners, in the order of opening.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Handle that stops it.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Stops it and waits for its thread.
    pub fn shutdown(self) -> io::Result<()> {
        self.handle.shutdown(Control::Shutdown);
        self.wait()
    }

    /// Waits until it has been stopped by other means.
    pub fn wait(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
