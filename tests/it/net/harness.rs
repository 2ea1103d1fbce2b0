//! A server made of the network layer alone, and clients for it.

use super::script::Script;
use mio::{Events, Poll, Token, Waker};
use oxcached::clock::Clock;
use oxcached::net::{Acceptor, Handler, ListenSocket, Listener, Workers};
use oxcached::proto::{ConnState, Protocol, Shared};
use oxcached::settings::{Settings, Transport};
use oxcached::stats::Counter;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Settings for one worker.
pub fn settings() -> Settings {
    Settings { num_threads: 1, num_threads_per_udp: 1, maxconns: 100_000, ..Settings::default() }
}

/// A TCP listener on a port that the system chooses.
pub fn tcp() -> Listener {
    let socket = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let local = Some(socket.local_addr().unwrap());
    Listener {
        socket: ListenSocket::Tcp(socket),
        local,
        path: None,
        file: None,
        protocol: Protocol::Negotiating,
        transport: Transport::Plain,
    }
}

/// A listener on a unix socket, and the directory of the socket.
pub fn unix() -> (Listener, TempDir) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("socket");
    let listener = Listener {
        socket: ListenSocket::Unix(mio::net::UnixListener::bind(&path).unwrap()),
        local: None,
        path: path.to_str().map(str::to_owned),
        file: None,
        protocol: Protocol::Negotiating,
        transport: Transport::Plain,
    };
    (listener, dir)
}

pub struct Server {
    pub shared: Arc<Shared>,
    pub addr: SocketAddr,
    workers: Option<Workers>,
    main: Option<JoinHandle<()>>,
    end: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Server {
    /// One worker, one TCP listener, the scripted handler.
    pub fn new() -> Self {
        Self::with(settings(), vec![tcp()])
    }

    pub fn with(settings: Settings, listeners: Vec<Listener>) -> Self {
        Self::start::<Script>(settings, listeners, Clock::real())
    }

    /// The scripted handler on a manual clock.
    pub fn by_hand(settings: Settings, listeners: Vec<Listener>) -> Self {
        Self::start::<Script>(settings, listeners, Clock::manual(0))
    }

    pub fn start<S: Handler>(settings: Settings, listeners: Vec<Listener>, clock: Clock) -> Self {
        Self::over::<S>(Shared::new(settings, clock, Box::new(|_| ())).unwrap(), listeners)
    }

    pub fn over<S: Handler>(shared: Shared, listeners: Vec<Listener>) -> Self {
        let shared = Arc::new(shared);
        let workers = Workers::start_talking::<S>(&shared).unwrap();
        let addr = listeners[0].local.unwrap_or(([0, 0, 0, 0], 0).into());
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let end = Arc::new(AtomicBool::new(false));
        let dispatcher = workers.dispatcher();
        let mut acceptor = Acceptor::new(Arc::clone(&shared), listeners, dispatcher, poll.registry(), 1).unwrap();
        let ended = Arc::clone(&end);
        let main = std::thread::spawn(move || {
            let mut events = Events::with_capacity(16);
            while !ended.load(Relaxed) {
                poll.poll(&mut events, acceptor.timeout()).unwrap();
                for event in &events {
                    acceptor.ready(event.token(), poll.registry());
                }
                acceptor.on_timer(poll.registry());
            }
        });
        Self { shared, addr, workers: Some(workers), main: Some(main), end, waker }
    }

    pub fn client(&self) -> Client {
        Client::new(TcpStream::connect(self.addr).unwrap())
    }

    /// Advances the clock second by second; the only worker sees each second through a request of `client`. On return
    /// all deadlines up to then have been evaluated.
    #[track_caller]
    pub fn pass(&self, seconds: u32, client: &mut Client) {
        for _ in 0..seconds {
            self.shared.clock.advance(1);
            assert_eq!(client.ask("echo tick"), "tick");
        }
        // Deadlines are evaluated after the poll that follows the one that saw the second, and after its replies.
        for _ in 0..2 {
            assert_eq!(client.ask("echo tick"), "tick");
        }
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.shared.stats.totals().get(counter)
    }

    pub fn gauge(&self, gauge: impl Fn(&oxcached::stats::Globals) -> &AtomicU64) -> u64 {
        gauge(&self.shared.stats.globals).load(Relaxed)
    }

    /// Open sockets, listeners included.
    pub fn open(&self) -> u64 {
        self.gauge(|g| &g.curr_conns)
    }

    /// Number of connections in `state`.
    pub fn in_state(&self, state: ConnState) -> usize {
        self.shared.conns.list().iter().filter(|(_, card)| card.state() == state).count()
    }

    pub fn stop(&mut self, graceful: bool) {
        self.end.store(true, Relaxed);
        self.waker.wake().unwrap();
        if let Some(main) = self.main.take() {
            main.join().unwrap();
        }
        match self.workers.take() {
            Some(workers) if graceful => workers.stop_gracefully(),
            Some(workers) => workers.stop(),
            None => {}
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(false);
    }
}

/// A client that reads with a deadline.
pub struct Client<S: Read = TcpStream> {
    pub stream: BufReader<S>,
}

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_ref().write_all(bytes.as_ref()).unwrap();
    }

    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.line()
    }

    /// The reply to `line`, or whatever else arrives; empty at the end.
    pub fn try_ask(&mut self, line: &str) -> String {
        let mut reply = String::new();
        let sent = self.stream.get_ref().write_all(format!("{line}\r\n").as_bytes());
        let _ = sent.and_then(|()| self.stream.read_line(&mut reply));
        reply.trim_end().to_owned()
    }

    /// Closes so that the peer sees a reset.
    pub fn reset(self) {
        socket2::SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl<S: Read> Client<S> {
    /// The next line without its end; empty at the end of the stream.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A close with unread bytes shows as a reset.
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}
