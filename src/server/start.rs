//! The start of a server: memory and items, threads, listening sockets.
//!
//! Owns the order of these steps. `main` and tests call it once the process is prepared.

use super::main_loop::TICK;
use super::prepare::{Loaded, load_auth, load_cluster, load_tls};
use super::start_error::{FAILURE, OS_ERROR, StartError};
use super::{FIRST_LISTENER, Requests, Server, WAKE, unix_now};
use crate::admin::{AdminSockets, AdminThread, AdminToken, Phase};
use crate::auth::Auth;
use crate::clock::Clock;
use crate::durable::Durable;
use crate::durable::sqlite::SqliteEngine;
use crate::limits::STORE_CACHE;
use crate::maint::restart::{self, Memory};
use crate::maint::{Chores, Logger, MoverThread, RoundTally};
use crate::net::{self, Acceptor, Dispatcher, Workers};
use crate::proto::{Control, Shared, size_config};
use crate::settings::{self, Settings};
use crate::store::Sizes;
use crate::sys::inherited::InheritedSocket;
use crate::sys::socket::incoming_napi_id;
use crate::sys::{sandbox, say};
use crate::tls::Tls;
use mio::{Poll, Registry, Waker};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

impl Server {
    /// Starts a server: certificates, users, poll, shared state, workers, clock, listening sockets.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let loaded = Loaded {
            tls: load_tls(&settings)?,
            auth: load_auth(&settings)?,
            cluster: load_cluster(&settings)?,
            ..Loaded::default()
        };
        Self::start_with(settings, loaded)
    }

    /// As [`Server::start`], with certificates and users already loaded.
    pub fn start_with(settings: Settings, loaded: Loaded) -> Result<Self, StartError> {
        let failed = |what: &'static str| move |e: io::Error| StartError::from_io(FAILURE, what, &e);
        settings::check_start(&settings)?;
        let Loaded { tls, auth, cluster, sockets, mut manager } = loaded;
        let (of_admin, of_clients) = sockets.into_iter().partition(|socket| socket.name == "admin");
        let tls = tls.map(Arc::new);
        // First of all, so that it answers while a memory file is recovered.
        let admin = serve_admin(&settings, of_admin, tls.as_ref())?;
        let poll = Poll::new().map_err(failed("epoll_create"))?;
        let requests = Arc::new(Requests::default());
        let waker = Waker::new(poll.registry(), WAKE).map_err(failed("eventfd"))?;
        // Cannot fail: the cell is new.
        let _ = requests.waker.set(waker);
        let asked = Arc::clone(&requests);
        let restoring = |path: &Path| {
            admin.iter().for_each(|admin| admin.health().begin(Phase::Restoring));
            if let Some(manager) = &mut manager {
                manager.status(&format!("Restoring the items of {}", path.display()));
            }
        };
        let shared = share(settings, Box::new(move |control| asked.ask(control)), restoring)?;
        let nodes = cluster.as_ref().map(|watch| Arc::clone(watch.cluster()));
        let durable = open_copy(&shared)?;
        let shared = Arc::new(Shared { tls, auth, cluster: nodes, durable, ..shared });
        if let Some(admin) = &admin {
            admin.health().begin(Phase::Starting);
            admin.attach(&shared);
        }
        if shared.settings.verbose > 1 {
            say_classes(shared.cache.store.sizes());
        }
        if sandbox::is_prepared() {
            start_readers(&shared).map_err(failed("Can't create thread"))?;
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
        match listen(&shared, of_clients, workers.dispatcher(), poll.registry(), admin.as_ref()) {
            Ok((acceptor, addresses)) => Ok(Self {
                shared,
                requests,
                workers,
                chores,
                mover,
                logger,
                acceptor,
                admin,
                cluster,
                manager,
                watchdog: None,
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
}

/// Starts the threads that a worker starts, or does without, where there is no sandbox: a worker in one may start no
/// thread and open no file.
fn start_readers(shared: &Shared) -> io::Result<()> {
    shared.auth.iter().for_each(Auth::start_thread);
    shared.tls.iter().try_for_each(Tls::start_reader)
}

/// Prints the slab classes, for `-vv`.
fn say_classes(sizes: &Sizes) {
    for id in 1..=sizes.largest() {
        let size = sizes.class(id);
        say(format_args!("slab class {id:3}: chunk size {:9} perslab {:7}", size.memcached_size, size.per_page));
    }
}

/// Counter that changes after every event that may cause work for background threads.
fn news(shared: &Arc<Shared>) -> impl Fn() -> u64 + Send + 'static {
    let shared = Arc::clone(shared);
    move || shared.news()
}

/// The clock of a new process, or of one that goes on at relative time `first`.
fn clock_of(settings: &Settings, first: Option<u32>) -> Clock {
    let clock = first.map_or_else(Clock::real, Clock::resumed);
    if settings.classic_second { clock.classic() } else { clock }
}

/// Creates the shared state: an empty cache, or with `-e` the items of the previous process.
/// `restoring` is called with the memory file before old items are looked for.
fn share(
    mut settings: Settings,
    control: Box<dyn Fn(Control) + Send + Sync>,
    restoring: impl FnOnce(&Path),
) -> Result<Shared, StartError> {
    let no_space = || StartError::new(FAILURE, "Failed to reserve address space for item memory");
    let Some(path) = settings.memory_file.as_deref().map(|path| settings.locate(path)) else {
        let clock = clock_of(&settings, None);
        let shared = Shared::new(settings, clock, control).ok_or_else(no_space)?;
        let (limit, wanted) = (shared.cache.store.limit(), shared.settings.maxbytes);
        if limit < wanted {
            let (limit, wanted) = (limit >> 20, wanted >> 20);
            say(format_args!("warning: address space for {limit} MB of the {wanted} MB of -m only"));
        }
        return Ok(shared);
    };
    restoring(&path);
    let sizes = Sizes::new(size_config(&settings));
    let Memory { memory_file, resume } =
        restart::open(&path, &settings, &sizes, unix_now()).map_err(|complaint| StartError::new(FAILURE, complaint))?;
    let clock = clock_of(&settings, resume.map(|resume| resume.now));
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

/// Opens the durable copy, if there is to be one, and puts it behind the cache.
fn open_copy(shared: &Shared) -> Result<Option<Arc<Durable>>, StartError> {
    let settings = &shared.settings;
    let Some(path) = settings.durable.path.as_deref().map(|path| settings.locate(path)) else { return Ok(None) };
    let failed = |error| StartError::new(FAILURE, format!("store: {error}"));
    let engine = SqliteEngine::open(&path, settings.durable.durability, STORE_CACHE).map_err(failed)?;
    let time = (shared.clock.now(), shared.clock.unix(0));
    Durable::start(&shared.cache, settings.durable.clone(), Box::new(engine), time).map(Some).map_err(failed)
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
fn serve_admin(
    settings: &Settings,
    inherited: Vec<InheritedSocket>,
    tls: Option<&Arc<Tls>>,
) -> Result<Option<AdminThread>, StartError> {
    let sockets = match inherited.is_empty() {
        true => AdminSockets::open(settings)?,
        false => Some(AdminSockets::adopt(settings, inherited)?),
    };
    let Some(sockets) = sockets else { return Ok(None) };
    let token = AdminToken::load(settings).map_err(|complaint| StartError::new(FAILURE, complaint))?;
    let admin = AdminThread::start(sockets, settings, tls, token)
        .map_err(|e| StartError::from_io(FAILURE, "Can't create admin thread", &e))?;
    if settings.verbose > 0 {
        admin.addresses().iter().for_each(|address| say(format_args!("admin listener on {address}")));
    }
    Ok(Some(admin))
}

/// Opens the listening sockets, unless there are inherited ones, and creates the acceptor.
fn listen(
    shared: &Arc<Shared>,
    inherited: Vec<InheritedSocket>,
    dispatcher: Dispatcher,
    registry: &Registry,
    admin: Option<&AdminThread>,
) -> Result<(Acceptor, Vec<SocketAddr>), StartError> {
    let port_file = std::env::var_os("MEMCACHED_PORT_FILENAME").map(|path| shared.settings.locate(Path::new(&path)));
    let admin = admin.map(AdminThread::addresses).unwrap_or_default();
    let listeners = match inherited.is_empty() {
        true => net::open(&shared.settings, port_file.as_deref(), admin),
        false => net::adopt(&shared.settings, inherited, port_file.as_deref(), admin),
    };
    let listeners = listeners.map_err(|net::BindError(message)| StartError::new(OS_ERROR, message))?;
    if shared.settings.num_napi_ids > 0 && listeners.iter().any(|l| incoming_napi_id(l.socket.fd()).is_err()) {
        return Err(StartError::new(FAILURE, "-N <num_napi_ids> option not supported"));
    }
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
