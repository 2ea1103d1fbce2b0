//! State shared by all sessions of the process, and the context of one run of a session.
//!
//! Owns how the parts of a server are built from its settings. Built by `server`, handed down as one `Arc`; a session
//! gets it in a [`Cx`]. Holds no sockets.

use crate::auth::Auth;
use crate::cache::{Attempt, Cache, Verbs};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::conns::{Addresses, ConnTable};
use crate::durable::Durable;
use crate::events::{Events, Log};
use crate::hotkeys::{HotKeys, NoSketchMemory};
use crate::limits::{REPLY_CHARGE, TURN_KEYS};
use crate::maint::{ChoreInput, Crawler, Mover, Tuning, Watchers};
use crate::point::point;
use crate::report::Collector;
use crate::settings::{self, LatencyMode, Runtime, Settings};
use crate::stats::{CommandKind, Counters, Stats};
use crate::store::{self, MemoryFile, Store};
use crate::tls::Tls;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::late::{Completions, Waits};
use super::turn_trace::TurnTrace;

/// Shared state of one server.
pub struct Shared {
    /// Settings fixed at start.
    pub settings: Settings,
    /// Settings that change while the server runs.
    pub runtime: Runtime,
    /// Seconds since start.
    pub clock: Clock,
    /// Items and verbs.
    pub cache: Cache,
    /// Counters and gauges.
    pub stats: Stats,
    /// Handle of the LRU crawler.
    pub crawler: Arc<Crawler>,
    /// Handle of the page mover.
    pub mover: Arc<Mover>,
    /// Certificates; `None` without `-Z`.
    pub tls: Option<Arc<Tls>>,
    /// Users; `None` without authentication.
    pub auth: Option<Auth>,
    /// Nodes of the cluster; `None` without `-o cluster_file`.
    pub cluster: Option<Arc<Cluster>>,
    /// Durable copy of the items; `None` without `-o store`.
    pub durable: Option<Arc<Durable>>,
    /// Open connections, for `stats conns`.
    pub conns: ConnTable,
    /// Number of connections per address, if that is limited.
    pub addresses: Addresses,
    /// Event log for watchers.
    pub events: Arc<Events>,
    /// Registered watchers.
    pub watchers: Arc<Watchers>,
    /// Sends a request to the main thread.
    pub control: Box<dyn Fn(Control) + Send + Sync>,
}

/// Size class configuration of `settings`.
pub fn size_config(settings: &Settings) -> store::SizeConfig {
    store::SizeConfig {
        chunk_size: settings.chunk_size as usize,
        growth_factor: settings.factor,
        chunk_max: settings.slab_chunk_size_max as usize,
        item_size_max: settings.item_size_max as usize,
        slab_sizes: settings.slab_sizes.clone().unwrap_or_default(),
        use_cas: settings.use_cas,
    }
}

/// Store configuration of `settings`.
fn store_config(settings: &Settings) -> store::Config {
    let power = if settings.hashpower_init > 0 { settings.hashpower_init } else { settings::HASHPOWER_DEFAULT };
    // Counts this many bytes as allocated: memcached's own tests reach limits above 4 GB this way.
    let precharged = std::env::var("T_MEMD_INITIAL_MALLOC").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    store::Config {
        sizes: size_config(settings),
        maxbytes: settings.maxbytes,
        evict: settings.evict_to_free,
        // memcached's table doubles at 1.5 items per bucket.
        initial_items: (1u64 << power) * 3 / 2,
        may_grow: settings.hash_expand,
        exact: settings.lock_memory || crate::sys::process::reservations_count(),
        precharged,
    }
}

/// A request to the main thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// `shutdown`: as SIGINT.
    Shutdown,
    /// `shutdown graceful`: as SIGUSR1.
    ShutdownGraceful,
}

impl Shared {
    /// State of a new server; `None` if address space for the items is short.
    pub fn new(settings: Settings, clock: Clock, control: Box<dyn Fn(Control) + Send + Sync>) -> Option<Self> {
        let store = Store::leak(&store_config(&settings))?;
        Some(Self::over(store, settings, clock, control))
    }

    /// [`Shared::new`] with the items in a memory file.
    pub fn in_file(
        settings: Settings,
        clock: Clock,
        memory_file: MemoryFile,
        control: Box<dyn Fn(Control) + Send + Sync>,
    ) -> Option<Self> {
        let store = Store::leak_in(&store_config(&settings), memory_file)?;
        Some(Self::over(store, settings, clock, control))
    }

    /// [`Shared::new`] over an existing store with matching settings, so that consecutive servers can share one
    /// store.
    pub fn over(
        store: &'static Store,
        settings: Settings,
        clock: Clock,
        control: Box<dyn Fn(Control) + Send + Sync>,
    ) -> Self {
        let events = Arc::new(Events::new(settings.num_threads as usize, settings.log_buffers.worker as usize));
        store.report_to(Arc::clone(&events), clock.begun());
        store.set_origin(clock.unix(0));
        store.set_flat(!settings.lru_segmented);
        store.set_hot_pct(settings.hot_lru_pct);
        store.set_temp_ttl(settings.temp_lru.then_some(settings.temporary_ttl.saturating_add(clock.begun())));
        let workers = settings.num_threads as usize;
        let hotkeys = HotKeys::new(workers, settings.hotkeys.sample, settings.hotkeys.window);
        let (delimiter, detail) = (settings.prefix_delimiter, settings.detail_enabled);
        let shared = Self {
            clock,
            stats: Stats::new(workers),
            cache: Cache::new(store, settings.use_cas, delimiter, detail, hotkeys),
            crawler: Arc::default(),
            mover: Arc::default(),
            tls: None,
            auth: None,
            cluster: None,
            durable: None,
            conns: ConnTable::default(),
            addresses: Addresses::default(),
            watchers: Watchers::new(Arc::clone(&events), settings.log_buffers.watcher as usize),
            events,
            control,
            runtime: Runtime::new(&settings),
            settings,
        };
        if shared.runtime.latency_mode() != LatencyMode::Off && shared.stats.latency.open().is_err() {
            crate::sys::say(format_args!("latencies are not measured: no memory for {workers} workers"));
            shared.runtime.set_latency_mode(LatencyMode::Off);
        }
        if shared.settings.hotkeys.enabled && shared.begin_hotkeys().is_err() {
            crate::sys::say(format_args!("hot keys are off: no memory for {workers} workers"));
        }
        shared
    }

    /// Advances the clock; items with a date follow the wall clock. The main thread calls it once a second.
    pub fn tick(&self) {
        self.clock.tick();
        self.cache.store.set_origin(self.clock.unix(0));
        if let Some(durable) = &self.durable {
            durable.tick(self.clock.now(), self.clock.unix(0));
        }
    }

    /// Moves the wall clock forward by `seconds`, for tests.
    pub fn set_wall(&self, seconds: i64) {
        self.clock.set_wall(seconds);
        self.cache.store.set_origin(self.clock.unix(0));
    }

    /// `hotkeys on`, `hotkeys reset`: samples keys from the next second on.
    ///
    /// # Errors
    /// Memory is short; nothing has changed.
    pub fn begin_hotkeys(&self) -> Result<(), NoSketchMemory> {
        self.cache.hotkeys.begin(self.clock.now(), || {
            self.events.sample_accesses(true);
            self.runtime.set_hotkeys(true);
        })
    }

    /// `hotkeys off`: samples no keys, and frees the memory for them.
    pub fn end_hotkeys(&self) {
        self.cache.hotkeys.end(|| {
            self.events.sample_accesses(false);
            self.runtime.set_hotkeys(false);
        });
    }

    /// The parts that statistics are read from.
    pub fn collector(&self) -> Collector<'_> {
        Collector {
            settings: &self.settings,
            runtime: &self.runtime,
            clock: &self.clock,
            stats: &self.stats,
            store: self.cache.store,
            mover: &self.mover,
            crawler: &self.crawler,
            tls: self.tls.as_deref(),
            auth: self.auth.is_some(),
            cluster: self.cluster.as_deref(),
            durable: self.durable.as_deref(),
        }
    }

    /// `stats reset`: resets all counters.
    pub fn reset_stats(&self) {
        self.stats.reset();
        if let Some(tls) = &self.tls {
            tls.counters().reset();
        }
        if let Some(cluster) = &self.cluster {
            cluster.reset();
        }
        if let Some(durable) = &self.durable {
            durable.reset();
        }
        self.cache.store.reset_counts();
        self.cache.prefixes.clear();
        self.crawler.reset();
        self.mover.reset();
    }

    /// Input for the next step of the chores thread.
    pub fn moment(&self) -> ChoreInput {
        ChoreInput {
            now: self.clock.now(),
            enabled: self.runtime.lru_crawler(),
            prompt: self.runtime.lru_crawler() || self.runtime.lru_maintainer_thread(),
            maintained: self.runtime.lru_maintainer_thread(),
            sleep: Duration::from_micros(self.runtime.lru_crawler_sleep().into()),
        }
    }

    /// Activity fingerprint. It changes with everything that may create work for an idle background thread: a
    /// command, client bytes, the end of a connection, a changed setting, work of another background thread.
    pub fn news(&self) -> u64 {
        let (moment, (now, tuning)) = (self.moment(), self.tuning());
        let flags = [moment.enabled, moment.prompt, moment.maintained].map(u64::from);
        let knobs = [u64::from(tuning.level), tuning.window.into(), tuning.ratio.to_bits(), tuning.version.into()];
        let happened = [self.stats.activity(), self.stats.globals.curr_conns.load(Relaxed)];
        let parts = self.cache.store.activity(now).into_iter().chain(happened).chain(flags).chain(knobs);
        // An odd factor never loses a change of one part; changes of two parts rarely cancel out.
        parts.fold(moment.sleep.as_micros() as u64, |all, part| {
            (all.rotate_left(7) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }

    /// Current time and settings of the page mover.
    pub fn tuning(&self) -> (u32, Tuning) {
        let version = self.runtime.slab_automove_version();
        let tuning = Tuning {
            level: self.runtime.slab_automove(),
            window: self.runtime.slab_automove_window(),
            ratio: self.runtime.slab_automove_ratio(),
            version,
        };
        (self.clock.now(), tuning)
    }
}

/// Context of one run of a session.
pub struct Cx<'a> {
    /// Shared state of the server.
    pub shared: &'a Shared,
    /// The running worker's counters.
    pub counters: &'a Counters,
    /// The connection's descriptor: its name in verbose lines and `stats conns`.
    pub fd: i32,
    /// Verbosity level, as of the last command that set it.
    verbose: Cell<u32>,
    /// Log of the run's events.
    pub log: Log<'a>,
    /// A command has run since bytes were last read.
    pub piped: Cell<bool>,
    /// Keys that multigets may still look up in this run.
    keys: Cell<u32>,
    /// What a command does while its item is being loaded.
    pub waits: Waits<'a>,
    /// Attempt of the command that runs.
    attempt: Cell<Attempt>,
    /// Kind of the last command.
    kind: Cell<CommandKind>,
    /// The worker's turn that the run is part of; `None` if it is part of none.
    trace: Option<&'a TurnTrace>,
}

impl<'a> Cx<'a> {
    /// Context for one run of the session of descriptor `fd`.
    #[inline]
    pub fn new(shared: &'a Shared, counters: &'a Counters, fd: i32) -> Self {
        let (verbose, log) = (Cell::new(shared.runtime.verbose()), Log::new(&shared.events, fd));
        let (piped, keys) = (Cell::new(false), Cell::new(TURN_KEYS));
        let (waits, attempt) = (Waits::Refused, Cell::new(Attempt::First));
        let kind = Cell::new(CommandKind::Other);
        Self { shared, counters, fd, verbose, log, piped, keys, waits, attempt, kind, trace: None }
    }

    /// Makes the run a part of the worker's turn.
    #[inline]
    #[must_use]
    pub fn in_turn(self, trace: &'a TurnTrace) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// The worker's turn.
    #[inline]
    pub(super) fn trace(&self) -> Option<&'a TurnTrace> {
        self.trace
    }

    /// The worker's turn, if it is timed.
    #[inline]
    pub(super) fn timing(&self) -> Option<&'a TurnTrace> {
        self.trace.filter(|trace| trace.is_on())
    }

    /// Whether each command is timed.
    #[inline]
    pub(super) fn times_commands(&self) -> bool {
        self.trace.is_some_and(TurnTrace::times_commands)
    }

    /// Notes the kind of the command that runs.
    #[inline]
    pub(super) fn note(&self, kind: CommandKind) {
        self.kind.set(kind);
    }

    /// Kind of the last command.
    #[inline]
    pub(super) fn kind(&self) -> CommandKind {
        self.kind.get()
    }

    /// Lets commands wait in slots.
    #[inline]
    #[must_use]
    pub fn with_slots(self, completions: &'a dyn Completions) -> Self {
        Self { waits: Waits::InSlot(completions), ..self }
    }

    /// Sets which attempt of the next command this is.
    pub(super) fn set_attempt(&self, attempt: Attempt) {
        self.attempt.set(attempt);
    }

    /// Subtracts `keys` from the keys left in this run; true if none are left.
    #[inline]
    pub fn spend_keys(&self, keys: u32) -> bool {
        let left = self.keys.get().saturating_sub(keys);
        self.keys.set(left);
        left == 0
    }

    /// Maximum replies of one turn that may wait together, each key of a multiget counting as one:
    /// `read_buf_mem_limit`.
    #[inline]
    pub fn reply_cap(&self) -> u32 {
        match self.shared.settings.read_buf_mem_limit {
            0 => u32::MAX,
            limit => (limit / self.shared.settings.num_threads / REPLY_CHARGE as u32).max(1),
        }
    }

    /// Verbosity level.
    #[inline]
    pub fn verbose(&self) -> u32 {
        self.verbose.get()
    }

    /// Sets the verbosity level; it applies to the reply of the same command already.
    pub fn set_verbose(&self, level: u32) {
        self.shared.runtime.set_verbose(level);
        self.verbose.set(level);
    }

    /// Routes events to the buffer of worker `number`; the result must be used on that worker's thread only.
    #[inline]
    #[must_use]
    pub fn of_worker(self, number: usize) -> Self {
        Self { log: self.log.of_worker(number), ..self }
    }

    /// The connection's peer, for log lines.
    pub fn peer(&self) -> impl std::fmt::Display {
        std::fmt::from_fn(|f| match self.shared.conns.get(self.fd).and_then(|info| info.peer) {
            Some(peer) => write!(f, "{peer}"),
            None => f.write_str("a local client"),
        })
    }

    /// The verbs at the current time.
    #[inline]
    pub fn verbs(&self) -> Verbs<'a> {
        let now = self.shared.clock.now();
        self.shared.cache.store.settle(now);
        point("a command has read the clock");
        let life_begin = now.saturating_add(self.shared.clock.begun());
        let attempt = self.attempt.get();
        Verbs { cache: &self.shared.cache, counters: self.counters, now, life_begin, log: self.log, attempt }
    }
}
