//! The command line and the settings that result from it.
//!
//! Owns every option, its default, its error texts, the rows of `stats settings`, and the settings that change while
//! the server runs. Must not know how a setting is carried out. `main` parses at start; afterwards every layer reads
//! the result.
//!
//! Order of calls: [`parse()`] (arguments to [`Settings`]; prints nothing but the scanner's own errors) ->
//! [`check_user`] -> [`check_start`] -> [`Runtime::new`]. The checks are separate because a command line may have
//! several errors and the one that memcached reports first must be shown.

mod admin;
mod check;
mod cluster;
mod config;
mod durable;
mod extended;
mod given;
mod help;
mod hotkeys;
mod latency;
mod listen;
mod number;
mod options;
mod parse;
mod quoting;
mod report;
mod row;
mod runtime;
mod sandbox;
mod ssl;
mod stop;
mod table;

use std::path::{Path, PathBuf};

pub use admin::{Admin, AdminAddr, AdminTimes};
pub use check::{check_authfile, check_start, check_user};
pub use durable::{Durability, DurableSettings, OnError, Reach, StorePolicy, Warm};
pub use hotkeys::HotKeyOptions;
pub use latency::{LatencyMode, LatencySettings, NO_THRESHOLD, large_threshold, slow_threshold};
pub use listen::{ListenPlace, ListenSpec, Transport, UnixGroup};
pub use options::unsupported;
pub use parse::{Action, Exit, parse};
pub use runtime::Runtime;
pub use sandbox::{SandboxOptions, UsedFile};
pub use ssl::{MinVersion, Ssl, VerifyMode};
pub use stop::StopSettings;
pub use table::{OptionRow, extended_rows, hash_password_row, option_rows};

/// The memcached version this server replaces, as shown by `-V` and the `version` command.
pub const VERSION: &str = "1.6.45";

/// Bytes in one slab page; not an option.
pub const SLAB_PAGE_SIZE: i32 = 1024 * 1024;

/// Slab class sizes are rounded up to this many bytes.
pub const CHUNK_ALIGN_BYTES: u32 = 8;

/// Maximum number of slab classes, including the unused class 0.
pub const SLAB_CLASSES_MAX: usize = 64;

/// Power of two of the hash table when `-o hashpower` is not given.
pub const HASHPOWER_DEFAULT: i32 = 16;

/// Protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// Decided by the first byte of each connection.
    Negotiating,
    /// Text only.
    Ascii,
    /// Binary only.
    Binary,
}

impl ProtocolChoice {
    /// Name in `stats settings`.
    pub fn text(self) -> &'static str {
        match self {
            ProtocolChoice::Negotiating => "auto-negotiate",
            ProtocolChoice::Ascii => "ascii",
            ProtocolChoice::Binary => "binary",
        }
    }
}

/// Hash function of the hash table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// Bob Jenkins' hash.
    Jenkins,
    /// Murmur3, 32 bits.
    Murmur3,
    /// XXH3.
    Xxh3,
}

impl HashAlgorithm {
    /// Name in the option and in `stats settings`.
    pub fn text(self) -> &'static str {
        match self {
            HashAlgorithm::Jenkins => "jenkins",
            HashAlgorithm::Murmur3 => "murmur3",
            HashAlgorithm::Xxh3 => "xxh3",
        }
    }
}

/// Buffers for the lines of `watch`, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct LogBuffers {
    /// `-o watcher_logbuf_size`: for each client that watches.
    pub watcher: u32,
    /// `-o worker_logbuf_size`: for each worker.
    pub worker: u32,
}

/// Ages of items above which memcached moves them on, as multiples of the oldest COLD item's; above 0.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxFactors {
    /// `-o hot_max_factor`.
    pub hot: f64,
    /// `-o warm_max_factor`.
    pub warm: f64,
}

/// Everything the command line decides, by memcached's names. Fields that change at run time say so; [`Runtime`] holds
/// their current values.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `-m`: memory for items, in bytes. Changes at run time.
    pub maxbytes: u64,
    /// `-c`: maximum simultaneous connections, and the file descriptor limit requested from the system; at least 1.
    pub maxconns: u32,
    /// `-p`: TCP port, -1 to 65535; 0 = no TCP, -1 = let the system choose.
    pub port: i32,
    /// `-U`: UDP port, -1 to 65535; 0 = no UDP, -1 = let the system choose.
    pub udpport: i32,
    /// `-l` as given, repeated options joined by commas; `None` = every address.
    pub inter: Option<String>,
    /// Parsed entries of `inter`. One entry without host or port when it is `None`; without network entries when none
    /// of them is served; empty when the text is bad (then [`check_start`] fails).
    pub listeners: Vec<ListenSpec>,
    /// `-v`, counted. Changes at run time.
    pub verbose: i32,
    /// Off with `-M`: out of memory is an error.
    pub evict_to_free: bool,
    /// `-s`: path of the unix socket that replaces the network listeners.
    pub socketpath: Option<PathBuf>,
    /// `-a`: file mode of the unix sockets.
    pub access: u32,
    /// `-o unix_group`: group of the unix sockets; a process that changes its user keeps this group only.
    pub unix_group: Option<UnixGroup>,
    /// `-A`: clients may stop the server.
    pub shutdown_command: bool,
    /// `-f`: ratio between neighbouring slab classes; above 1.
    pub factor: f64,
    /// `-n`: minimum bytes for key, value and flags in the smallest class; at least 1.
    pub chunk_size: i32,
    /// `-t`: worker threads; at least 1.
    pub num_threads: u32,
    /// Workers serving each UDP socket: all of them, or one when `-l` holds a comma.
    pub num_threads_per_udp: u32,
    /// `-N`: receive queues of the network card; above 0, each worker serves the clients of its own. 0 = round robin.
    pub num_napi_ids: u32,
    /// `-D`: byte that ends a key's prefix in `stats detail`.
    pub prefix_delimiter: u8,
    /// Per-prefix counting, enabled by `-D`. Changes at run time.
    pub detail_enabled: bool,
    /// `-R`: commands one connection may run before the others get a turn; at least 1.
    pub reqs_per_event: u32,
    /// Off with `-C`: no unique ids.
    pub use_cas: bool,
    /// `-b`: backlog passed to `listen`; not range-checked.
    pub backlog: i32,
    /// `-B`: protocol of listeners that name none.
    pub binding_protocol: ProtocolChoice,
    /// `-I`: largest item in bytes; 1024 to 1 GiB.
    pub item_size_max: i32,
    /// `-o slab_chunk_max`: largest chunk in bytes; divides [`SLAB_PAGE_SIZE`] and `item_size_max`.
    pub slab_chunk_size_max: i32,
    /// `-o slab_sizes`: requested class sizes in bytes, strictly increasing, without the last one
    /// (`slab_chunk_size_max`), which is always added; at most 62, may be empty.
    pub slab_sizes: Option<Vec<u32>>,
    /// `-o maxconns_fast`: a client beyond `maxconns` gets an error and is closed, instead of waiting in the backlog.
    pub maxconns_fast: bool,
    /// `-o hashpower`: power of two of the first hash table, 12 to 32; 0 = [`HASHPOWER_DEFAULT`].
    pub hashpower_init: i32,
    /// Off with `-o no_hashexpand`.
    pub hash_expand: bool,
    /// `-o hash_algorithm`.
    pub hash_algorithm: HashAlgorithm,
    /// `-o slab_reassign`: pages may move between classes.
    pub slab_reassign: bool,
    /// `-o slab_automove`: 0 off, 1 careful, 2 on every eviction. Changes at run time.
    pub slab_automove: u32,
    /// `-o slab_automove_ratio`: above 0, at most 1. Changes at run time.
    pub slab_automove_ratio: f64,
    /// `-o slab_automove_window`: samples, 3 to 1800. Changes at run time.
    pub slab_automove_window: u32,
    /// `-o tail_repair_time`: seconds before a stuck tail item is freed; 0 = never.
    pub tail_repair_time: i32,
    /// Off with `-F`.
    pub flush_enabled: bool,
    /// Off with `-X`.
    pub dump_enabled: bool,
    /// Off with `-W`.
    pub watch_enabled: bool,
    /// Whether the crawler thread starts. Changes at run time.
    pub lru_crawler: bool,
    /// `-o lru_crawler_sleep`: microseconds between items, 0 to 1000000. Changes at run time.
    pub lru_crawler_sleep: u32,
    /// `-o lru_crawler_tocrawl`: items per class and run; 0 = all. Changes at run time.
    pub lru_crawler_tocrawl: u32,
    /// Whether the LRU maintainer thread starts.
    pub lru_maintainer_thread: bool,
    /// Hot, warm and cold lists instead of one. Changes at run time.
    pub lru_segmented: bool,
    /// `-o hot_lru_pct`: percent of a class's memory, 1 to 79. Changes at run time. `None`: shown as
    /// [`HOT_LRU_PCT`], but the share of new items adapts.
    pub hot_lru_pct: Option<u32>,
    /// `-o warm_lru_pct`: percent, 1 to 79, with `hot_lru_pct` at most 80. Changes at run time; shown only, no effect.
    pub warm_lru_pct: u32,
    /// Age limits of the lists. Change at run time; shown only.
    pub max_factors: MaxFactors,
    /// Short-lived items get their own list. Changes at run time.
    pub temp_lru: bool,
    /// `-o classic_second`: a TTL of N seconds lasts N-1 to N seconds, as in memcached, in place of N to N+1.
    pub classic_second: bool,
    /// `-o temporary_ttl`: maximum lifetime of a short-lived item, in seconds. Changes at run time.
    pub temporary_ttl: u32,
    /// `-S`: the binary protocol needs a SASL login.
    pub sasl: bool,
    /// `-Y`: file of the users of the text protocol.
    pub auth_file: Option<PathBuf>,
    /// `-o auth_timeout`: seconds that a client may take to log in; 0 = no limit.
    pub auth_timeout: u32,
    /// `-o idle_timeout`: seconds; 0 = no limit.
    pub idle_timeout: u32,
    /// `-o maxconns_per_ip`: maximum connections from one address; 0 = no limit.
    pub maxconns_per_ip: u32,
    /// `-o write_timeout`: seconds in which a peer may take none of its replies; 0 = no limit.
    pub write_timeout: u32,
    /// Buffers for the lines of `watch`.
    pub log_buffers: LogBuffers,
    /// `-o read_buf_mem_limit`, in bytes for all workers together; 0 = none.
    pub read_buf_mem_limit: u32,
    /// `-o track_sizes`: `stats sizes` is enabled.
    pub track_sizes: bool,
    /// `-o sock_cookie_id`: mark set on listening sockets; 0 = none.
    pub sock_cookie_id: u32,
    /// `-o drop_privileges` and its like.
    pub sandbox: SandboxOptions,
    /// `-Z` and `-o ssl_*`.
    pub ssl: Ssl,
    /// `-o hotkeys`, `-o hotkeys_*`.
    pub hotkeys: HotKeyOptions,
    /// `--admin` and `-o admin_*`.
    pub admin: Admin,
    /// `-o cluster_file`.
    pub cluster_file: Option<PathBuf>,
    /// `-o store` and its companions.
    pub durable: DurableSettings,
    /// `-o latency` and its thresholds.
    pub latency: LatencySettings,
    /// `-o drain`, `-o save_on_term`.
    pub stop: StopSettings,
    /// `-d`.
    pub daemonize: bool,
    /// `-r`.
    pub maxcore: bool,
    /// `-k`.
    pub lock_memory: bool,
    /// `-L`: fails without large pages.
    pub large_pages: bool,
    /// `-u`, the last one; see [`check_user`].
    pub username: Option<Vec<u8>>,
    /// `-P`.
    pub pid_file: Option<PathBuf>,
    /// `-e`.
    pub memory_file: Option<PathBuf>,
    /// Base of relative paths, if the server changes its directory: see [`Settings::keep_directory`].
    pub directory: Option<PathBuf>,
    /// Warnings for standard error that do not prevent the start; each ends with a line feed.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Notes the current directory if the server will leave it. Paths are shown as given, and resolved against it.
    pub fn keep_directory(&mut self) {
        if self.daemonize && !self.maxcore {
            self.directory = std::env::current_dir().ok();
        }
    }

    /// Resolves `path`, which an option or the environment names.
    pub fn locate(&self, path: &Path) -> PathBuf {
        self.directory.as_ref().map_or_else(|| path.to_owned(), |directory| directory.join(path))
    }
}

/// Value of `-o hot_lru_pct` that is shown when it was not given: memcached's.
pub const HOT_LRU_PCT: u32 = 20;

impl Default for Settings {
    fn default() -> Self {
        Settings {
            maxbytes: 64 * 1024 * 1024,
            maxconns: 1024,
            port: 11211,
            udpport: 0,
            inter: None,
            listeners: vec![ListenSpec::any(ProtocolChoice::Negotiating, false)],
            verbose: 0,
            evict_to_free: true,
            socketpath: None,
            access: 0o700,
            unix_group: None,
            shutdown_command: false,
            factor: 1.25,
            chunk_size: 48,
            num_threads: 4,
            num_threads_per_udp: 4,
            num_napi_ids: 0,
            prefix_delimiter: b':',
            detail_enabled: false,
            reqs_per_event: 20,
            use_cas: true,
            backlog: 1024,
            binding_protocol: ProtocolChoice::Negotiating,
            item_size_max: 1024 * 1024,
            slab_chunk_size_max: SLAB_PAGE_SIZE / 2,
            slab_sizes: None,
            maxconns_fast: true,
            hashpower_init: 0,
            hash_expand: true,
            hash_algorithm: HashAlgorithm::Murmur3,
            slab_reassign: true,
            slab_automove: 1,
            slab_automove_ratio: 0.8,
            slab_automove_window: 10,
            tail_repair_time: 0,
            flush_enabled: true,
            dump_enabled: true,
            watch_enabled: true,
            lru_crawler: true,
            lru_crawler_sleep: 100,
            lru_crawler_tocrawl: 0,
            lru_maintainer_thread: true,
            lru_segmented: true,
            hot_lru_pct: None,
            warm_lru_pct: 40,
            max_factors: MaxFactors { hot: 0.2, warm: 2.0 },
            temp_lru: false,
            classic_second: false,
            temporary_ttl: 61,
            sasl: false,
            auth_file: None,
            auth_timeout: crate::limits::AUTH_SECONDS,
            idle_timeout: 0,
            maxconns_per_ip: 0,
            write_timeout: 0,
            log_buffers: LogBuffers { watcher: 256 * 1024, worker: 64 * 1024 },
            read_buf_mem_limit: 0,
            track_sizes: false,
            sock_cookie_id: 0,
            sandbox: SandboxOptions::default(),
            ssl: Ssl::default(),
            hotkeys: HotKeyOptions::default(),
            admin: Admin::default(),
            cluster_file: None,
            durable: DurableSettings::default(),
            latency: LatencySettings::default(),
            stop: StopSettings::default(),
            daemonize: false,
            maxcore: false,
            lock_memory: false,
            large_pages: false,
            username: None,
            pid_file: None,
            memory_file: None,
            directory: None,
            warnings: Vec::new(),
        }
    }
}
