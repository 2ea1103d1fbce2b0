//! Every constant bound of the server, with asserts between them.
//!
//! Owns numbers only; must not know any other module. Every bound that a peer can reach is here and nowhere else, so
//! that the memory of a hostile load can be added up from one file. Each comment ends with the unit and with what
//! happens beyond the bound; docs/limits.md is generated from them.

/// Maximum key length (memcached's `KEY_MAX_LENGTH`).
///
/// Unit: bytes. Beyond: `CLIENT_ERROR bad command line format`; in the binary protocol, status 0x04 and the end of the
/// connection.
pub const KEY_MAX: usize = 250;

/// Length of a command line without a newline at which the connection is checked: above it only `get ` and `gets `
/// lines may grow.
///
/// Unit: bytes. Beyond: the connection is closed; a `get` or `gets` line is waited for.
pub const LINE_WAIT_MAX: usize = 2048;

/// Maximum length of a command line that has its newline (memcached's read buffer).
///
/// Unit: bytes. Beyond: the connection is closed, except for a `get` or `gets` line.
pub const LINE_MAX: usize = 16 * 1024;

/// Maximum length of a `get`/`gets` line. memcached has no bound here; a bound is needed so that one client cannot take
/// all memory.
///
/// Unit: bytes. Beyond: as for `INPUT_MAX`.
pub const GET_LINE_MAX: usize = 16 * 1024 * 1024;

/// Maximum input buffer of one connection: the longest `get` line, and one more read.
///
/// Unit: bytes. Beyond: `SERVER_ERROR out of memory reading request` and the end of the connection; counted in
/// `read_buf_oom`.
pub const INPUT_MAX: usize = GET_LINE_MAX + READ_BUF;

/// Bound of the input buffers of all connections with an unfinished request of more than `REQUEST_CHARGE`: the maximum
/// of this and one part in `LONG_INPUT_SHARE` of `-m`. `read_buf_mem_limit` replaces it where given.
///
/// Unit: bytes. Beyond: as for `INPUT_MAX`.
pub const LONG_INPUT_MIN: u64 = 32 * 1024 * 1024;

/// Divisor of `-m` in the bound of `LONG_INPUT_MIN`.
///
/// Unit: one part of `-m`. Beyond: nothing.
pub const LONG_INPUT_SHARE: u64 = 16;

/// Leading spaces tolerated before an over-long `get` line.
///
/// Unit: bytes. Beyond: the line counts as another command's.
pub const LEADING_SPACES_MAX: usize = 100;

/// Size of one worker's shared read buffer: the maximum that one `read` returns.
///
/// Unit: bytes. Beyond: the rest is read in the next turn.
pub const READ_BUF: usize = 64 * 1024;

/// Spare buffers of each kind, for requests and for replies, of `READ_BUF` bytes at most each, that one worker keeps.
///
/// Unit: bytes. Beyond: the buffer is freed.
pub const SPARE_BYTES: usize = 1024 * 1024;

/// Unsent reply bytes (pinned values included) at which a connection stops running commands.
///
/// Unit: bytes. Beyond: no command runs and nothing is read until the peer has taken replies.
pub const OUTPUT_HIGH: usize = 256 * 1024;

/// As `OUTPUT_HIGH`, while unsent replies of all connections exceed their bound.
///
/// Unit: bytes. Beyond: as `OUTPUT_HIGH`.
pub const OUTPUT_LOW: usize = 16 * 1024;

/// Bound of the unsent replies of all connections, beyond which each may have only `OUTPUT_LOW`: the maximum of this
/// and one part in `REPLIES_SHARE` of `-m`. `read_buf_mem_limit` replaces it where given.
///
/// Unit: bytes. Beyond: each connection stops at `OUTPUT_LOW`.
pub const REPLIES_MIN: u64 = 64 << 20;

/// Divisor of `-m` in the bound of `REPLIES_MIN`.
///
/// Unit: a divisor. Beyond: each connection stops at `OUTPUT_LOW`.
pub const REPLIES_SHARE: u64 = 16;

/// Free output memory required before each command and each key of a multiget: more than the longest reply other than
/// statistics. Lack of memory thus shows before a reply and not in the middle of one.
///
/// Unit: bytes. Beyond: the reply takes memory that was not reserved.
pub const REPLY_ROOM: usize = 16 * 1024;

/// Pinned values in one unsent reply at which a connection stops running commands.
///
/// Unit: values. Beyond: as for `OUTPUT_HIGH`.
pub const OUTPUT_PINS: usize = 256;

/// Datagrams that answer one request datagram, all its replies together. The sequence number cannot count further.
///
/// Unit: datagrams. Beyond: an error in place of the reply that would exceed it.
pub const DATAGRAM_ANSWER_MAX: usize = u16::MAX as usize;

/// Bytes of one step of a report or dump; the longest line may exceed it.
///
/// Unit: bytes. Beyond: the rest follows in the next turn.
pub const REPORT_STEP: usize = 32 * 1024;

/// Bytes that reports of all clients hold in addition to unsent replies: histograms of sizes, and prefix dumps that are
/// sent as one packet.
///
/// Unit: bytes. Beyond: the connection is closed, and counted in `response_obj_oom`.
pub const REPORTS_MAX: usize = 64 << 20;

/// Memory that must stay free beyond what a report or a new prefix takes, for other clients.
///
/// Unit: bytes. Beyond: the report or the prefix is refused.
pub const HEADROOM: usize = 8 << 20;

/// Maximum report in answer to a datagram; it is held until it is complete.
///
/// Unit: bytes. Beyond: no answer, counted in `response_obj_oom`.
pub const DATAGRAM_REPORT_MAX: usize = 4 << 20;

/// Slices in one `writev` call (Linux `IOV_MAX` is 1024).
///
/// Unit: slices. Beyond: the rest goes into the next call.
pub const WRITE_SLICES: usize = 512;

/// Bytes read and written after which a turn ends.
///
/// Unit: bytes. Beyond: the connection goes to the back of its worker's ready queue.
pub const TURN_BYTES: usize = 1024 * 1024;

/// Microseconds after which a turn ends; checked between two runs of the session. One run is bounded by `-R`,
/// `TURN_KEYS`, `TURN_LINE` and `OUTPUT_HIGH`.
///
/// Unit: microseconds. Beyond: as for `TURN_BYTES`.
pub const TURN_MICROS: u64 = 1000;

/// Keys of multigets looked up in one run.
///
/// Unit: keys. Beyond: as for `TURN_BYTES`.
pub const TURN_KEYS: u32 = 4096;

/// Bytes of a multiget's line scanned in one run: a line of spaces has no keys to count.
///
/// Unit: bytes. Beyond: as for `TURN_BYTES`.
pub const TURN_LINE: usize = 256 * 1024;

/// Longer values are pinned and written from the item instead of being copied.
///
/// Unit: bytes. Beyond: the value is written from its item, which stays in memory until then.
pub const COPY_MAX: usize = 4096;

/// Minimum missing part of a value for a read from the socket directly into its item.
///
/// Unit: bytes. Beyond: the read bypasses the buffer.
pub const DIRECT_READ_MIN: usize = 16 * 1024;

/// Maximum value length a client may announce (memcached: `INT_MAX - 2`).
///
/// Unit: bytes. Beyond: `CLIENT_ERROR bad data chunk` or `bad command line format`; below it, `-I` decides.
pub const VALUE_LEN_MAX: u32 = i32::MAX as u32 - 2;

/// Maximum body of a packet (memcached's bound of `-I`).
///
/// Unit: bytes. Beyond: status 0x04 and the end of the connection; below it, `-I` decides.
pub const BODY_MAX: u32 = 1 << 30;

/// Token slots of one command line (memcached's 24 less its end marker).
///
/// Unit: tokens. Beyond: later tokens are ignored.
pub const TOKENS_MAX: usize = 23;

/// Connections accepted in one batch, before the main thread handles other events.
///
/// Unit: connections. Beyond: the others wait for the next round.
pub const ACCEPT_BATCH: usize = 64;

/// New connections and other messages queued for one worker.
///
/// Unit: messages. Beyond: the new connection is closed.
pub const WORKER_QUEUE: usize = 4096;

/// Maximum simultaneous watchers.
///
/// Unit: connections. Beyond: `WATCHER_TOO_MANY log watcher limit reached`.
pub const WATCHERS_MAX: usize = 20;

/// Watchers that have sent their last byte and keep their events, as after `nc -N`. One that has gone looks the same,
/// until an event is sent to it, or the system probes the connection after about a minute.
///
/// Unit: connections. Beyond: the oldest of them is closed.
pub const WATCHERS_ENDED_MAX: usize = 10;

/// Interval at which the system probes the peer of such a watcher; after 6 probes without an answer it is closed.
///
/// Unit: seconds. Beyond: the connection is closed.
pub const WATCHER_PROBE_SECONDS: u32 = 10;

/// Slow turns that one worker keeps, and as many large values; a reply of `stats slow` or `stats large` has no more.
///
/// Unit: records. Beyond: the oldest one is forgotten.
pub const LATEST_MAX: usize = 128;

/// Bytes of lines queued for standard error.
///
/// Unit: bytes. Beyond: lines are dropped, and a line reports how many.
pub const LOG_QUEUE: usize = 1 << 20;

/// Slab classes, numbered 1..=63; 0 is the global page pool.
///
/// Unit: classes. Beyond: the class table is cut off and ends with the largest size.
pub const CLASSES: usize = 64;

/// Bytes charged against `read_buf_mem_limit` for each command of a turn, and each key of a multiget, until its reply
/// is sent; a fixed charge.
///
/// Unit: bytes. Beyond: the connection is closed, and counted in `response_obj_oom`, where `read_buf_mem_limit`
/// allows no more of them.
pub const REPLY_CHARGE: usize = 1024;

/// Bytes charged against `read_buf_mem_limit` for each connection inside a request, unless it holds more.
///
/// Unit: bytes. Beyond: `SERVER_ERROR out of memory reading request` and the end of the connection, where
/// `read_buf_mem_limit` allows no more of them; counted in `read_buf_oom`.
pub const REQUEST_CHARGE: usize = 16 * 1024;

/// Seconds that a client may take for its TLS handshake.
///
/// Unit: seconds. Beyond: the connection is closed, and counted in `ssl_handshake_errors`.
pub const TLS_HANDSHAKE_SECONDS: u32 = 10;

/// Sessions kept for resumption, for each kind of TLS listener; the oldest is replaced. A session takes some hundred
/// bytes, and as much again as the client's certificates.
///
/// Unit: sessions. Beyond: the oldest one cannot be resumed.
pub const TLS_SESSIONS: usize = 8192;

/// Seconds that a client may take to log in, unless `-o auth_timeout` is given.
///
/// Unit: seconds. Beyond: the refusal of the protocol and the end of the connection, counted in `auth_timeouts`.
pub const AUTH_SECONDS: u32 = 15;

/// Maximum of `-t`: each worker thread takes memory at start.
///
/// Unit: threads. Beyond: the server does not start.
pub const THREADS_MAX: u32 = 4096;

/// Maximum of `-o auth_timeout`.
///
/// Unit: seconds. Beyond: the server does not start.
pub const AUTH_SECONDS_MAX: u32 = 1000;

/// Maximum length of a login token in the text protocol (memcached's bound).
///
/// Unit: bytes. Beyond: `CLIENT_ERROR auth token too long`.
pub const TOKEN_MAX: u32 = 16 * 1024;

/// Maximum length of a SASL mechanism's name (memcached's bound).
///
/// Unit: bytes. Beyond: status 0x04.
pub const MECHANISM_MAX: usize = 32;

/// Maximum message of a client in a SASL login. It stays in the read buffer until it is complete.
///
/// Unit: bytes. Beyond: status 0x82.
pub const SASL_MESSAGE_MAX: usize = 16 * 1024;

/// Failed logins of one connection.
///
/// Unit: logins. Beyond: the last of them closes the connection.
pub const LOGIN_FAILURES_MAX: u8 = 10;

/// Queued slow password checks; at most one per connection.
///
/// Unit: checks. Beyond: `SERVER_ERROR too many logins`; in the binary protocol, status 0x86.
pub const LOGINS_WAITING: usize = 512;

/// Minimum plain text that is encrypted at a time, whatever `ssl_wbuf_size` says.
///
/// Unit: bytes. Beyond: a smaller `ssl_wbuf_size` counts as this.
pub const TLS_WRITE_MIN: usize = 1024;

/// Cipher text read from a socket at a time (the TLS library would read 4 KB).
///
/// Unit: bytes. Beyond: the rest is read in the next turn.
pub const TLS_READ: usize = 32 * 1024;

/// Maximum TLS record on the wire: header, 16 KB, and what encryption may add.
///
/// Unit: bytes. Beyond: the connection is closed, and counted in `ssl_proto_errors`.
pub const TLS_RECORD_MAX: usize = 5 + 16 * 1024 + 2048;

/// Keys that one worker counts in a window, for the hot keys.
///
/// Unit: keys. Beyond: a new key takes over the counter with the least count.
pub const HOTKEY_COUNTERS: usize = 1024;

/// Keys for which the counts of all workers are summed up.
///
/// Unit: keys. Beyond: those with the least counts are dropped.
pub const HOTKEY_MERGED_MAX: usize = 8192;

/// Hot keys in one list.
///
/// Unit: keys. Beyond: `CLIENT_ERROR`, with the usage of `stats hotkeys`.
pub const HOTKEYS_SHOWN_MAX: usize = 100;

/// Simultaneous connections of the admin listener, unless `-o admin_conns` is given; viewers count among them.
///
/// Unit: connections. Beyond: status 503 and the end of the connection, counted in `admin_conns_refused`.
pub const ADMIN_CONNS: u32 = 64;

/// Connections to the admin listener that wait to be accepted, one more with Linux. The kernel drops the first packet
/// of others, which their machines repeat after a second: a short queue would make a storm of connections delay probes
/// and scrapes by seconds.
///
/// Unit: connections. Beyond: they wait, those to a unix socket in `connect`.
pub const ADMIN_BACKLOG: i32 = 1024;

/// Descriptors of the admin listener besides its connections: its sockets and those of its runtime, those being moved
/// or refused.
///
/// Unit: descriptors. Beyond: they count among those of `-c`.
pub const ADMIN_DESCRIPTORS: u32 = 32;

/// Maximum of `-o admin_conns`.
///
/// Unit: connections. Beyond: the server does not start.
pub const ADMIN_CONNS_MAX: u32 = 1024;

/// Head of a request to the admin listener.
///
/// Unit: bytes. Beyond: status 431 and the end of the connection.
pub const ADMIN_HEAD: usize = 8 * 1024;

/// Fields in the head of a request to the admin listener.
///
/// Unit: fields. Beyond: status 431 and the end of the connection.
pub const ADMIN_FIELDS: usize = 100;

/// Body of a request that changes a setting; other requests have none.
///
/// Unit: bytes. Beyond: status 413 and the end of the connection.
pub const ADMIN_BODY: usize = 1024;

/// Requests of one connection to the admin listener.
///
/// Unit: requests. Beyond: the connection is closed after the last answer.
pub const ADMIN_REQUESTS: u32 = 100;

/// Seconds for the head of a request to the admin listener, and for its body.
///
/// Unit: seconds. Beyond: status 408 and the end of the connection.
pub const ADMIN_HEAD_SECONDS: u32 = 5;

/// Seconds between an answer of the admin listener and the next request.
///
/// Unit: seconds. Beyond: the connection is closed.
pub const ADMIN_IDLE_SECONDS: u32 = 30;

/// Seconds in which a client of the admin listener may take nothing of what is sent to it.
///
/// Unit: seconds. Beyond: the connection is closed.
pub const ADMIN_WRITE_SECONDS: u32 = 10;

/// Seconds in which a client of the admin listener must take an answer.
///
/// Unit: seconds. Beyond: the connection is closed.
pub const ADMIN_ANSWER_SECONDS: u32 = 60;

/// Bytes of answers of the admin listener that their clients have not taken yet.
///
/// Unit: bytes. Beyond: status 503 for a request whose answer must be made.
pub const ADMIN_ANSWERS: usize = 16 << 20;

/// Send buffer of a TCP connection to the admin listener. The kernel doubles it; left alone, it would grow to some
/// megabytes for a peer that reads nothing.
///
/// Unit: bytes. Beyond: the rest of an answer waits in the server.
pub const ADMIN_SEND_BUFFER: usize = 128 * 1024;

/// Simultaneous viewers: WebSockets and event streams of the admin listener.
///
/// Unit: viewers. Beyond: status 503.
pub const ADMIN_VIEWERS: usize = 16;

/// Frames that wait for one viewer.
///
/// Unit: bytes. Beyond: the oldest are dropped, and the viewer is told how many.
pub const ADMIN_VIEWER_QUEUE: usize = 1 << 20;

/// Message of a viewer.
///
/// Unit: bytes. Beyond: the WebSocket is closed with code 1009.
pub const ADMIN_MESSAGE: usize = 4 * 1024;

/// Seconds between two pings of a WebSocket.
///
/// Unit: seconds. Beyond: nothing.
pub const ADMIN_PING_SECONDS: u32 = 20;

/// Seconds between a ping and its pong.
///
/// Unit: seconds. Beyond: the WebSocket is closed.
pub const ADMIN_PONG_SECONDS: u32 = 10;

/// Longest `-o drain`: seconds that connections have for their requests after a stop is requested.
///
/// Unit: seconds. Beyond: the option is refused.
pub const DRAIN_SECONDS_MAX: u32 = 3600;

/// Seconds without a tick of the main thread, which ticks every second.
///
/// Unit: seconds. Beyond: `/healthz` answers with status 503.
pub const ADMIN_TICK_SECONDS: u32 = 5;

/// Items in the list of `stats largest`.
///
/// Unit: items. Beyond: `CLIENT_ERROR`, with the usage of `stats largest`.
pub const LARGEST_SHOWN_MAX: usize = 100;

/// Prefixes that `stats prefixes` tells apart.
///
/// Unit: prefixes. Beyond: they are counted together.
pub const USAGE_PREFIXES_MAX: usize = 16_384;

/// Prefixes in the list of `stats prefixes`.
///
/// Unit: prefixes. Beyond: `CLIENT_ERROR`, with the usage of `stats prefixes`.
pub const PREFIXES_SHOWN_MAX: usize = 1000;

/// Samples, one a second, that the dashboard shows to a new viewer.
///
/// Unit: samples. Beyond: the oldest is forgotten.
pub const DASHBOARD_SAMPLES: usize = 1800;

/// Maximum frame for a viewer of the dashboard.
///
/// Unit: bytes. Beyond: the history is sent with fewer samples, each the mean of several.
pub const DASHBOARD_FRAME: usize = 512 * 1024;

/// Viewers of the dashboard that may watch events at once; each takes the place of a watcher.
///
/// Unit: viewers. Beyond: the page says that there are too many.
pub const DASHBOARD_WATCHERS: usize = 8;

/// Chunks of event lines, of up to `DASHBOARD_CHUNK` bytes, that wait for one viewer of the dashboard.
///
/// Unit: chunks. Beyond: lines wait in the watcher's buffer, of `-o watcher_logbuf_size` bytes, and are skipped and
/// counted when that is full.
pub const DASHBOARD_CHUNKS: usize = 16;

/// Longest chunk of event lines for a viewer of the dashboard.
///
/// Unit: bytes. Beyond: another chunk.
pub const DASHBOARD_CHUNK: usize = 16 * 1024;

/// Bytes of event lines in one frame for a viewer of the dashboard, which gets ten such frames a second.
///
/// Unit: bytes. Beyond: the lines are counted as skipped.
pub const DASHBOARD_LINES: usize = 16 * 1024;

/// Maximum length of the configuration file.
///
/// Unit: bytes. Beyond: the server does not start.
pub const CONFIG_FILE_MAX: u64 = 64 * 1024;

/// Maximum file of `-o cluster_file`, comments included.
///
/// Unit: bytes. Beyond: the server does not start; a later version of the file is refused.
pub const CLUSTER_FILE_MAX: usize = 64 * 1024;

/// Memory for pages of the durable copy's file, besides `-m`.
///
/// Unit: bytes. Beyond: pages are read again.
pub const STORE_CACHE: u64 = 64 << 20;

/// Nodes of a cluster, as clients get them. Amazon's libmemcached drops a configuration of more than 8196 bytes.
///
/// Unit: bytes. Beyond: as `CLUSTER_FILE_MAX`.
pub const CLUSTER_LIST_MAX: usize = 8 * 1024 - 16;

const _: () = assert!(CLUSTER_LIST_MAX + 2 * KEY_MAX < REPLY_ROOM);
const _: () = assert!(DASHBOARD_WATCHERS < WATCHERS_MAX);
const _: () = assert!(LINE_WAIT_MAX < LINE_MAX && LINE_MAX <= READ_BUF);
const _: () = assert!(TLS_READ >= TLS_RECORD_MAX && TLS_RECORD_MAX < READ_BUF);
const _: () = assert!(TOKEN_MAX as usize + 2 < READ_BUF && SASL_MESSAGE_MAX + MECHANISM_MAX + 24 < READ_BUF);
const _: () = assert!(COPY_MAX < OUTPUT_HIGH && COPY_MAX + 16 * KEY_MAX < REPLY_ROOM);
const _: () = assert!(INPUT_MAX as u64 <= LONG_INPUT_MIN && INPUT_MAX / 1024 <= u16::MAX as usize);
const _: () =
    assert!(READ_BUF.is_multiple_of(1024) && REQUEST_CHARGE.is_multiple_of(1024) && REQUEST_CHARGE <= READ_BUF);
