//! The main thread's side of the network: accepting, rejecting, pausing.
//!
//! Owns the listening sockets. Reads no bytes of a client; the only bytes it writes are the line of a rejection. Must
//! not know workers beyond the dispatcher. `server` calls it from its event loop.
//!
//! Listeners are edge-triggered like every socket: one that may have more clients is marked `pending` and accepted from
//! again.

use super::listener::{ListenSocket, Listener};
use super::notify::{Message, NewConn, NewUdp};
use super::tls::TlsStream;
use super::transport::Transport;
use super::worker_context::{is_verbose, say};
use super::workers::Dispatcher;
use crate::limits::ACCEPT_BATCH;
use crate::proto::{AddressPlace, ConnInfo, ConnState, Protocol, Shared};
use crate::settings;
use crate::sys::socket::has_client;
use mio::net::UdpSocket;
use mio::{Registry, Token};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Interval at which a pause probes for a free descriptor.
const PAUSE: Duration = Duration::from_millis(10);

/// Consecutive failed accepts after which a listener rests for `PAUSE`: each may have cost a client, and so may the
/// next.
const FAILED_MAX: usize = 16;

/// Minimum interval between two reports of failed accepts.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Interval at which registration of a listener that the poll refused is retried; it is accepted from at the same time.
const RETRY: Duration = Duration::from_millis(100);

/// Next connection number; never reused within the process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Accepts clients and hands them to the workers.
pub struct Acceptor {
    shared: Arc<Shared>,
    listeners: Vec<Open>,
    dispatcher: Dispatcher,
    first_token: usize,
    pause: Option<Pause>,
    /// Time of the next attempt to register refused listeners; `None` = all are registered, or accepting is paused.
    retry_at: Option<Instant>,
    /// Failed accepts are not reported before this time.
    report_at: Option<Instant>,
    seen: Descriptors,
}

struct Open {
    listener: Listener,
    /// The accept queue may not be empty.
    pending: bool,
    /// Set after `FAILED_MAX` failed accepts: no accept before this time, whatever the poll reports.
    rests_until: Option<Instant>,
    /// Registered with the poll.
    is_registered: bool,
}

struct Pause {
    since: Instant,
    next_look: Instant,
}

/// The address already has `maxconns_per_ip` connections.
struct TooMany;

/// Result of one accept.
enum Accepted {
    Client(Transport, Option<SocketAddr>),
    /// The accept queue is empty.
    Empty,
    /// This client is lost; the next accept may succeed, unless the listener itself is broken.
    Failed(io::Error),
    /// Out of descriptors or memory: accepting must pause.
    Full(io::Error),
}

impl Acceptor {
    /// Takes over `listeners`. Datagram sockets go to the workers; the others are registered with tokens from
    /// `first_token` upwards, in order.
    pub fn new(
        shared: Arc<Shared>,
        listeners: Vec<Listener>,
        dispatcher: Dispatcher,
        registry: &Registry,
        first_token: usize,
    ) -> io::Result<Self> {
        let mut acceptor = Self {
            shared,
            listeners: Vec::new(),
            dispatcher,
            first_token,
            pause: None,
            retry_at: None,
            report_at: None,
            seen: Descriptors::default(),
        };
        for mut listener in listeners {
            if let ListenSocket::Udp(socket) = listener.socket {
                acceptor.share_out(socket, listener.local)?;
                continue;
            }
            let index = acceptor.listeners.len();
            listener.socket.register(registry, Token(first_token + index))?;
            acceptor.enter(&listener);
            acceptor.listeners.push(Open { listener, pending: false, rests_until: None, is_registered: true });
        }
        acceptor.shared.stats.globals.accepting_conns.store(true, Relaxed);
        Ok(acceptor)
    }

    /// Enters a listener into `stats`, where it counts as a connection.
    fn enter(&mut self, listener: &Listener) {
        let shared = &self.shared;
        let fd = listener.socket.fd();
        let mut info = ConnInfo::new(None, listener.local, ConnState::Listening, shared.clock.now());
        info.path = listener.path.as_deref().map(Into::into);
        shared.conns.insert(fd, Arc::new(info));
        shared.stats.globals.curr_conns.fetch_add(1, Relaxed);
        shared.stats.globals.total_conns.fetch_add(1, Relaxed);
        if is_verbose(shared, 2) {
            let protocol = match listener.protocol {
                Protocol::Negotiating => "auto-negotiate",
                Protocol::Ascii => "ascii",
                Protocol::Binary => "binary",
            };
            say(&format!("<{fd} server listening ({protocol})"));
        }
        self.count_structure(fd);
    }

    /// Gives a datagram socket to `num_threads_per_udp` workers, each with its own descriptor.
    fn share_out(&mut self, socket: UdpSocket, local: Option<SocketAddr>) -> io::Result<()> {
        let clones = (self.shared.settings.num_threads_per_udp as usize).clamp(1, self.dispatcher.workers());
        let mut sockets = Vec::with_capacity(clones);
        for _ in 1..clones {
            let clone = socket.as_fd().try_clone_to_owned()?;
            sockets.push(UdpSocket::from_std(clone.into()));
        }
        sockets.insert(0, socket);
        for socket in sockets {
            let mut info = ConnInfo::new(None, local, ConnState::Read, self.shared.clock.now());
            info.udp = true;
            self.count_structure(socket.as_raw_fd());
            if !self.dispatcher.dispatch(Message::Udp(NewUdp { socket, info: Arc::new(info) })) {
                return Err(io::Error::other("no worker takes the datagram socket"));
            }
        }
        Ok(())
    }

    /// Accepts one batch from the listener of `token`.
    pub fn ready(&mut self, token: Token, registry: &Registry) {
        let index = token.0.wrapping_sub(self.first_token);
        if self.pause.is_none() && self.listeners.get(index).is_some_and(|open| open.rests_until.is_none()) {
            self.accept_batch(index, registry);
        }
    }

    /// Time until [`Acceptor::on_timer`] must run; `None` = not before the next event.
    pub fn timeout(&self) -> Option<Duration> {
        let next = match &self.pause {
            Some(pause) => Some(pause.next_look),
            None if self.listeners.iter().any(|open| open.pending && open.rests_until.is_none()) => {
                return Some(Duration::ZERO);
            }
            None => self.listeners.iter().filter_map(|open| open.rests_until).chain(self.retry_at).min(),
        };
        next.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Continues deferred work: pauses, registrations, pending accepts. Cheap to call too often.
    pub fn on_timer(&mut self, registry: &Registry) {
        if let Some(pause) = &mut self.pause {
            let now = Instant::now();
            if now < pause.next_look {
                return;
            }
            pause.next_look = now + PAUSE;
            if self.has_free_descriptor() {
                self.resume(registry);
            }
            return;
        }
        if self.retry_at.is_some_and(|at| Instant::now() >= at) {
            self.register_all(registry);
        }
        for index in 0..self.listeners.len() {
            let open = &mut self.listeners[index];
            if open.rests_until.is_some_and(|until| Instant::now() >= until) {
                open.rests_until = None;
            }
            if open.pending && open.rests_until.is_none() && self.pause.is_none() {
                self.accept_batch(index, registry);
            }
        }
    }

    /// Stops listening. Clients that have connected are accepted first, at most a backlog for each listener.
    pub fn close(&mut self, registry: &Registry) {
        let backlog = usize::try_from(self.shared.settings.backlog).unwrap_or(0);
        for index in 0..self.listeners.len() {
            for _ in 0..=backlog / ACCEPT_BATCH {
                if self.pause.is_none() {
                    self.accept_batch(index, registry);
                }
                if !self.listeners[index].pending {
                    break;
                }
            }
        }
        (self.pause, self.retry_at) = (None, None);
        self.shared.stats.globals.accepting_conns.store(false, Relaxed);
        for mut open in std::mem::take(&mut self.listeners) {
            if open.is_registered
                && let Err(error) = open.listener.socket.deregister(registry)
            {
                log::error!("deregistering a listener: {error}");
            }
            self.shared.conns.remove(open.listener.socket.fd());
            self.shared.stats.globals.curr_conns.fetch_sub(1, Relaxed);
        }
    }

    /// Accepts clients until none waits, at most `ACCEPT_BATCH`. After each client it looks at the queue: an accept on
    /// an empty queue creates a socket and a file before it fails, at ten times the cost. A client that arrives after
    /// the look causes another event.
    fn accept_batch(&mut self, index: usize, registry: &Registry) {
        self.listeners[index].pending = true;
        let mut failed = 0;
        for _ in 0..ACCEPT_BATCH {
            match accept(&self.listeners[index].listener.socket) {
                Accepted::Client(transport, peer) => {
                    failed = 0;
                    if !self.admit(index, transport, peer) {
                        return self.stop_accepting(registry);
                    }
                    if !self.has_client(index) {
                        self.listeners[index].pending = false;
                        return;
                    }
                }
                Accepted::Failed(error) => {
                    failed += 1;
                    if failed == FAILED_MAX || !is_client_error(&error) {
                        self.report(&error);
                    }
                    if failed == FAILED_MAX {
                        self.listeners[index].rests_until = Some(Instant::now() + PAUSE);
                        return;
                    }
                }
                Accepted::Empty => {
                    self.listeners[index].pending = false;
                    return;
                }
                // The kernel reserves a descriptor before it looks at the queue, so with no descriptor left an accept
                // on an empty queue fails too.
                Accepted::Full(_) if !self.has_client(index) => {
                    self.listeners[index].pending = false;
                    return;
                }
                Accepted::Full(error) => {
                    say(&format!("accept4(): {}", plain(&error)));
                    return self.stop_accepting(registry);
                }
            }
        }
    }

    /// Reports a failed accept, at most once per `REPORT_INTERVAL`.
    fn report(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.report_at.is_none_or(|at| now >= at) {
            self.report_at = Some(now + REPORT_INTERVAL);
            say(&format!("accept4(): {}", plain(error)));
        }
    }

    fn has_client(&self, index: usize) -> bool {
        has_client(self.listeners[index].listener.socket.fd())
    }

    /// Rejects or dispatches a client; false if no more descriptors may be used. Allocates nothing before that check.
    fn admit(&mut self, index: usize, mut transport: Transport, peer: Option<SocketAddr>) -> bool {
        let (fd, globals) = (transport.fd(), &self.shared.stats.globals);
        let maxconns = i64::from(self.shared.settings.maxconns);
        if self.shared.settings.maxconns_fast {
            if i64::from(fd) >= maxconns - 1 {
                globals.rejected_conns.fetch_add(1, Relaxed);
                turn_away(&mut transport);
                return true;
            }
        } else if i64::from(fd) >= maxconns {
            // Only if the descriptor limit could not be set to maxconns; otherwise the accept fails first.
            return false;
        }
        let Ok(place) = self.place_of(peer) else {
            globals.rejected_conns_per_ip.fetch_add(1, Relaxed);
            turn_away(&mut transport);
            return true;
        };
        self.count_structure(fd);
        let listener = &self.listeners[index].listener;
        let transport = match wrap(transport, listener.transport, &self.shared) {
            Ok(transport) => transport,
            Err(error) => {
                log::warn!("TLS: {error}; the client is turned away");
                return true;
            }
        };
        let mut info = ConnInfo::new(peer, listener.local, ConnState::NewCmd, self.shared.clock.now());
        (info.path, info.place) = (listener.path.as_deref().map(Into::into), place);
        let (info, protocol, id) = (Arc::new(info), listener.protocol, NEXT_ID.fetch_add(1, Relaxed));
        if !self.dispatcher.dispatch(Message::Conn(NewConn { transport, info, protocol, id })) {
            log::warn!("no worker takes connection {id}; it is closed");
        }
        true
    }

    /// Counts a client among the connections of its address; `None` without a limit. Local clients have none.
    fn place_of(&self, peer: Option<SocketAddr>) -> Result<Option<AddressPlace>, TooMany> {
        match (peer, self.shared.settings.maxconns_per_ip) {
            (None, _) | (_, 0) => Ok(None),
            (Some(peer), most) => self.shared.addresses.enter(peer.ip(), most).map(Some).ok_or(TooMany),
        }
    }

    /// `connection_structures` counts descriptors ever used, since memcached keeps one structure per descriptor.
    fn count_structure(&mut self, fd: i32) {
        if self.seen.insert(fd) {
            self.shared.stats.globals.conn_structs.fetch_add(1, Relaxed);
        }
    }

    fn stop_accepting(&mut self, registry: &Registry) {
        let globals = &self.shared.stats.globals;
        globals.accepting_conns.store(false, Relaxed);
        globals.listen_disabled_num.fetch_add(1, Relaxed);
        let now = Instant::now();
        self.pause = Some(Pause { since: now, next_look: now + PAUSE });
        self.retry_at = None;
        for open in &mut self.listeners {
            if open.is_registered {
                match open.listener.socket.deregister(registry) {
                    Ok(()) => open.is_registered = false,
                    // It stays registered: `ready` ignores it during the pause.
                    Err(error) => log::error!("deregistering a listener: {error}"),
                }
            }
            listen(&open.listener.socket, 0);
        }
    }

    fn resume(&mut self, registry: &Registry) {
        let Some(pause) = self.pause.take() else { return };
        let globals = &self.shared.stats.globals;
        globals.time_in_listen_disabled_us.fetch_add(pause.since.elapsed().as_micros() as u64, Relaxed);
        globals.accepting_conns.store(true, Relaxed);
        for open in &mut self.listeners {
            listen(&open.listener.socket, self.shared.settings.backlog);
            // Clients that queued up during the pause cause no event.
            open.pending = true;
        }
        self.register_all(registry);
    }

    /// Registers all unregistered listeners. Those that the poll refuses are accepted from by the timer until it takes
    /// them.
    fn register_all(&mut self, registry: &Registry) {
        let was_reported = self.retry_at.take().is_some();
        for (index, open) in self.listeners.iter_mut().enumerate().filter(|(_, open)| !open.is_registered) {
            open.pending = true;
            match open.listener.socket.register(registry, Token(self.first_token + index)) {
                Ok(()) => open.is_registered = true,
                Err(error) => {
                    if !was_reported {
                        log::error!("registering a listener: {error}; it is tried again");
                    }
                    // Debug builds of mio mark a source as registered even when registering fails.
                    let _ = open.listener.socket.deregister(registry);
                    self.retry_at = Some(Instant::now() + RETRY);
                }
            }
        }
    }

    /// Whether an accept would get a descriptor. Probing the descriptor table, unlike counting closes, misses none and
    /// sees descriptors that other code holds.
    fn has_free_descriptor(&self) -> bool {
        let limit = i64::from(self.shared.settings.maxconns);
        UnixDatagram::unbound().is_ok_and(|probe| i64::from(probe.as_raw_fd()) < limit)
    }
}

/// Sends the reason of a rejection. One attempt: if the socket does not take the line at once, it is closed without it.
fn turn_away(transport: &mut Transport) {
    let _ = transport.write(b"ERROR Too many open connections\r\n");
}

/// Wraps a client's socket in TLS if its listener asks for it. The worker runs the handshake.
fn wrap(transport: Transport, wanted: settings::Transport, shared: &Shared) -> Result<Transport, rustls::Error> {
    match (transport, &shared.tls) {
        (Transport::Tcp(socket), Some(tls)) => match tls.config(wanted) {
            Some(config) => Ok(Transport::Tls(Box::new(TlsStream::new(socket, config, tls)?))),
            None => Ok(Transport::Tcp(socket)),
        },
        // Without `-Z` every listener is plain. If one were not, its clients must not be served in the clear.
        (_, None) if wanted != settings::Transport::Plain => Err(rustls::Error::HandshakeNotComplete),
        (plain, _) => Ok(plain),
    }
}

fn accept(socket: &ListenSocket) -> Accepted {
    let accepted = match socket {
        ListenSocket::Tcp(listener) => listener.accept().map(|(stream, peer)| (Transport::Tcp(stream), Some(peer))),
        ListenSocket::Unix(listener) => listener.accept().map(|(stream, _)| (Transport::Unix(stream), None)),
        ListenSocket::Udp(_) => return Accepted::Empty,
    };
    let error = match accepted {
        Ok((transport, peer)) => return Accepted::Client(transport, peer),
        Err(error) => error,
    };
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Accepted::Empty,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Accepted::Full(error),
        _ => Accepted::Failed(error),
    }
}

/// Whether an error concerns one client only: it has disconnected, or the system forbids it.
fn is_client_error(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EPERM))
}

fn listen(socket: &ListenSocket, backlog: i32) {
    if let Err(error) = SockRef::from(socket).listen(backlog) {
        say(&format!("listen: {}", plain(&error)));
    }
}

/// The system's text for `error`, without the error number that Rust appends.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Set of descriptor numbers.
#[derive(Default)]
struct Descriptors(Vec<u64>);

impl Descriptors {
    /// Adds `fd`; true if it was not in the set. Without memory for it nothing is added.
    fn insert(&mut self, fd: i32) -> bool {
        let fd = fd.unsigned_abs() as usize;
        if fd / 64 >= self.0.len() {
            if self.0.try_reserve(fd / 64 + 1 - self.0.len()).is_err() {
                return false;
            }
            self.0.resize(fd / 64 + 1, 0);
        }
        let (word, bit) = (&mut self.0[fd / 64], 1 << (fd % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::net::{Workers, open};
    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll};
    use std::net::TcpStream;

    /// An acceptor of one listener, with one worker; its poll, and the listener's address.
    fn acceptor() -> (Arc<Shared>, Workers, Poll, Acceptor, SocketAddr) {
        let settings = settings::Settings { port: -1, num_threads: 1, maxconns: 1 << 20, ..Default::default() };
        let shared = Arc::new(Shared::new(settings, Clock::manual(0), Box::new(|_| ())).unwrap());
        let workers = Workers::start(&shared).unwrap();
        let listeners = open(&shared.settings, None, &[]).unwrap_or_default();
        let address = listeners[0].local.unwrap();
        let poll = Poll::new().unwrap();
        let acceptor = Acceptor::new(Arc::clone(&shared), listeners, workers.dispatcher(), poll.registry(), 2).unwrap();
        (shared, workers, poll, acceptor, address)
    }

    #[test]
    fn listeners_at_rest_have_no_timer() {
        let (_shared, workers, mut poll, mut acceptor, address) = acceptor();
        assert_eq!(acceptor.timeout(), None);
        // After a client, and after a pause, a batch ends once no client waits.
        for pauses in [false, true] {
            if pauses {
                acceptor.stop_accepting(poll.registry());
                assert!(acceptor.timeout().is_some());
                acceptor.resume(poll.registry());
                assert_eq!(acceptor.timeout(), Some(Duration::ZERO));
            }
            let _client = TcpStream::connect(address).unwrap();
            let mut events = Events::with_capacity(1);
            while events.is_empty() {
                poll.poll(&mut events, None).unwrap();
            }
            events.iter().for_each(|event| acceptor.ready(event.token(), poll.registry()));
            acceptor.on_timer(poll.registry());
            assert_eq!(acceptor.timeout(), None);
        }
        workers.stop();
    }

    #[test]
    fn clients_beyond_a_batch_are_accepted_without_another_event() {
        let (shared, workers, poll, mut acceptor, address) = acceptor();
        let before = shared.stats.globals.total_conns.load(Relaxed);
        let clients: Vec<_> = (0..2 * ACCEPT_BATCH + 1).map(|_| TcpStream::connect(address).unwrap()).collect();
        acceptor.ready(Token(2), poll.registry());
        for _ in 0..2 {
            assert_eq!(acceptor.timeout(), Some(Duration::ZERO));
            acceptor.on_timer(poll.registry());
        }
        assert_eq!(acceptor.timeout(), None, "no client waits");
        while shared.stats.globals.total_conns.load(Relaxed) < before + clients.len() as u64 {
            std::thread::yield_now();
        }
        workers.stop();
    }

    #[test]
    fn a_listener_that_the_poll_refuses_is_served_and_retried() {
        let (shared, workers, mut poll, mut acceptor, address) = acceptor();
        let before = shared.stats.globals.total_conns.load(Relaxed);
        let accepted = || shared.stats.globals.total_conns.load(Relaxed) - before;
        acceptor.stop_accepting(poll.registry());
        // The poll refuses a descriptor that it already has. The failed attempt deregisters it, so the second one
        // succeeds.
        let fd = acceptor.listeners[0].listener.socket.fd();
        poll.registry().register(&mut SourceFd(&fd), Token(99), Interest::READABLE).unwrap();
        acceptor.resume(poll.registry());
        let _first = TcpStream::connect(address).unwrap();
        assert!(!acceptor.listeners[0].is_registered && acceptor.timeout() == Some(Duration::ZERO));
        acceptor.on_timer(poll.registry());
        assert!(!acceptor.listeners[0].is_registered && acceptor.timeout().is_some());
        while accepted() < 1 {
            std::thread::yield_now();
        }
        while let Some(pause) = acceptor.timeout() {
            std::thread::sleep(pause);
            acceptor.on_timer(poll.registry());
        }
        assert!(acceptor.listeners[0].is_registered);
        let _second = TcpStream::connect(address).unwrap();
        let mut events = Events::with_capacity(1);
        while accepted() < 2 {
            poll.poll(&mut events, Some(RETRY)).unwrap();
            events.iter().for_each(|event| acceptor.ready(event.token(), poll.registry()));
        }
        workers.stop();
    }
}
