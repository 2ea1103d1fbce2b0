//! The thread of the admin listener: its runtime, accepting, stopping.
//!
//! Owns the thread and the count of connections. A panic of a handler ends its connection, not the process. `server`
//! starts it before anything that may take long, and stops it last.

use super::bind::AdminSockets;
use super::guard::Guard;
use super::state::{AdminState, StopSignal};
use super::{AdminCounters, AdminToken, Health, Hub, Source, conn, dashboard};
use crate::limits::ADMIN_SEND_BUFFER;
use crate::proto::Shared;
use crate::settings::{AdminAddr, Settings, Transport};
use crate::sys::reserve::ALLOCATOR;
use crate::sys::sandbox::{Role, confine};
use crate::sys::{error_text, panics, process, say};
use crate::tls::Tls;
use futures_util::future::{Either, select};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Time for which answers and goodbyes may be on their way after a stop.
const GRACE: Duration = Duration::from_millis(300);

/// Pause of accepting without a free descriptor.
const PAUSE: Duration = Duration::from_millis(100);

/// Minimum interval between two reports of failed accepts.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Answer to a client beyond the limit; no task is made for it.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";

/// The admin listener at work; dropping this stops it.
pub struct AdminThread {
    state: Arc<AdminState>,
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
}

impl AdminThread {
    /// Starts to serve `sockets`. Until [`AdminThread::attach`] only the health routes have an answer.
    ///
    /// # Errors
    /// The runtime or the thread cannot be created.
    pub fn start(
        sockets: AdminSockets,
        settings: &Settings,
        tls: Option<&Arc<Tls>>,
        token: Option<AdminToken>,
    ) -> io::Result<Self> {
        let transport = match settings.admin.addr {
            Some(AdminAddr::Tcp { transport, .. }) => transport,
            _ => Transport::Plain,
        };
        let counters = Arc::<AdminCounters>::default();
        let state = Arc::new(AdminState {
            admin: settings.admin.clone(),
            health: Arc::new(Health::new()),
            hub: Arc::new(Hub::new(Arc::clone(&counters))),
            counters,
            source: OnceLock::new(),
            descriptors_from: (settings.admin_descriptors() > 0).then_some(settings.maxconns),
            guard: Guard::new(&settings.admin, token, sockets.is_loopback),
            buffers: Arc::default(),
            tls: tls.filter(|_| transport != Transport::Plain).map(|tls| (Arc::clone(tls), transport)),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (addresses, handle) = (sockets.addresses(), runtime.handle().clone());
        let (stop, stopped) = StopSignal::channel();
        let of_thread = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("mc-admin".to_owned()).spawn(move || {
            confine(Role::Admin);
            // A panic is one of a connection's task, which ends; it must not end the process.
            match panics::contain(|| runtime.block_on(listen(of_thread, sockets, stopped))) {
                Ok(Ok(())) => {}
                Ok(Err(e)) => say(format_args!("the admin listener has ended: {}", error_text(&e))),
                Err(_) => say(format_args!("the admin listener has ended after a panic")),
            }
            // Connections that are still open end here.
            runtime.shutdown_background();
        })?;
        Ok(Self { state, addresses, stop, runtime: handle, thread: Some(thread) })
    }

    /// Makes the server's state readable, and begins to sample it.
    pub fn attach(&self, shared: &Arc<Shared>) {
        let (health, counters) = (Arc::clone(&self.state.health), Arc::clone(&self.state.counters));
        let (shared, hub) = (Arc::clone(shared), Arc::clone(&self.state.hub));
        let source = Source { shared, health, counters, hub, exposition: Arc::default() };
        // A second state would be an error of the caller; the first stays.
        if self.state.source.set(source.clone()).is_ok() {
            dashboard::start(source, &self.runtime);
        }
    }

    /// Phase and pulse of the server, which its main thread reports here.
    pub fn health(&self) -> &Arc<Health> {
        &self.state.health
    }

    /// Counters of the listener.
    pub fn counters(&self) -> &Arc<AdminCounters> {
        &self.state.counters
    }

    /// Viewers of live events.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.state.hub
    }

    /// Replaces the token that requests must have.
    pub fn set_token(&self, token: Option<AdminToken>) {
        self.state.guard.set_token(token);
    }

    /// Network addresses of the listener.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Accepts from every socket until stopped, then gives connections a moment.
async fn listen(state: Arc<AdminState>, sockets: AdminSockets, stopped: StopSignal) -> io::Result<()> {
    let mut listeners = Vec::new();
    for socket in sockets.tcp {
        listeners.push(Listening::Tcp(tokio::net::TcpListener::from_std(socket)?));
    }
    // Its file goes when this function ends.
    let mut _file = None;
    if let Some(unix) = sockets.unix {
        listeners.push(Listening::Unix(tokio::net::UnixListener::from_std(unix.listener)?));
        _file = unix.file;
    }
    let places = Arc::new(Semaphore::new(state.admin.conns as usize));
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        let door = Door { state: Arc::clone(&state), places: Arc::clone(&places), stopped: stopped.clone() };
        acceptors.spawn(door.accept(listener));
    }
    while acceptors.join_next().await.is_some() {}
    // All places are free once every connection has ended.
    let _ = tokio::time::timeout(GRACE, places.acquire_many(state.admin.conns)).await;
    Ok(())
}

/// A listening socket.
enum Listening {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Listening {
    async fn accept(&self) -> io::Result<Client> {
        Ok(match self {
            Self::Tcp(listener) => Client::Tcp(listener.accept().await?.0),
            Self::Unix(listener) => Client::Unix(listener.accept().await?.0),
        })
    }
}

/// The socket of an accepted client.
enum Client {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Client {
    /// Says that there is no place; closing follows.
    fn refuse(&self) {
        let _ = match self {
            Self::Tcp(socket) => socket.try_write(FULL),
            Self::Unix(socket) => socket.try_write(FULL),
        };
    }

    /// The same socket under a descriptor of at least `least`.
    fn moved(self, least: u32) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => {
                let socket = process::move_descriptor(socket.into_std()?.into(), least);
                Self::Tcp(tokio::net::TcpStream::from_std(socket.into())?)
            }
            Self::Unix(socket) => {
                let socket = process::move_descriptor(socket.into_std()?.into(), least);
                Self::Unix(tokio::net::UnixStream::from_std(socket.into())?)
            }
        })
    }
}

/// What an acceptor needs.
struct Door {
    state: Arc<AdminState>,
    places: Arc<Semaphore>,
    stopped: StopSignal,
}

impl Door {
    /// Accepts until stopped.
    async fn accept(self, listener: Listening) {
        let mut reported: Option<Instant> = None;
        loop {
            let (stop, accepted) = (pin!(self.stopped.clone().wait()), pin!(self.next(&listener)));
            let error = match select(stop, accepted).await {
                Either::Left(_) => return,
                Either::Right((Ok(()), _)) => continue,
                Either::Right((Err(error), _)) => error,
            };
            if is_client_error(&error) {
                continue;
            }
            // Without a descriptor or memory the same client would fail again at once.
            AdminCounters::add(&self.state.counters.accept_pauses);
            if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
                reported = Some(Instant::now());
                say(format_args!("admin listener: accept: {}", error_text(&error)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Accepts one client and starts its task.
    async fn next(&self, listener: &Listening) -> io::Result<()> {
        let client = listener.accept().await?;
        let Some(place) = self.place() else {
            client.refuse();
            return Ok(());
        };
        let client = match self.state.descriptors_from {
            None => client,
            Some(least) => client.moved(least)?,
        };
        match client {
            Client::Tcp(socket) => {
                let _ = socket.set_nodelay(true);
                // Ends the connection of a peer that is gone without a word while bytes are on their way.
                let _ = SockRef::from(&socket).set_tcp_user_timeout(Some(2 * self.state.admin.times.write));
                let _ = SockRef::from(&socket).set_send_buffer_size(ADMIN_SEND_BUFFER);
                match &self.state.tls {
                    None => self.start(socket, place),
                    Some((tls, transport)) => {
                        if let Some(config) = tls.config(*transport) {
                            self.start_tls(socket, TlsAcceptor::from(config), place);
                        }
                    }
                }
            }
            Client::Unix(socket) => self.start(socket, place),
        }
        Ok(())
    }

    /// A place among the connections, if one is free.
    fn place(&self) -> Option<ConnPlace> {
        let counters = &self.state.counters;
        AdminCounters::add(&counters.accepted);
        // Without memory in reserve, clients of the cache come first.
        let permit = Arc::clone(&self.places).try_acquire_owned().ok().filter(|_| !ALLOCATOR.is_short());
        let Some(permit) = permit else {
            AdminCounters::add(&counters.conns_refused);
            return None;
        };
        counters.conns.fetch_add(1, Relaxed);
        Some(ConnPlace { counters: Arc::clone(counters), _permit: permit })
    }

    fn start(&self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, place: ConnPlace) {
        let work = conn::serve(Arc::clone(&self.state), socket, self.stopped.clone());
        tokio::spawn(async move {
            work.await;
            drop(place);
        });
    }

    fn start_tls(&self, socket: tokio::net::TcpStream, tls: TlsAcceptor, place: ConnPlace) {
        let (state, stopped) = (Arc::clone(&self.state), self.stopped.clone());
        tokio::spawn(async move {
            let shaken = tokio::time::timeout(state.admin.times.head, tls.accept(socket));
            match select(pin!(shaken), pin!(stopped.clone().wait())).await {
                Either::Left((Ok(Ok(socket)), _)) => conn::serve(state, socket, stopped).await,
                Either::Left((Ok(Err(_)), _)) => AdminCounters::add(&state.counters.tls_errors),
                Either::Left((Err(_), _)) => AdminCounters::add(&state.counters.read_timeouts),
                Either::Right(_) => {}
            }
            drop(place);
        });
    }
}

/// A connection's place among those that are allowed; free once this is dropped.
struct ConnPlace {
    counters: Arc<AdminCounters>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for ConnPlace {
    fn drop(&mut self) {
        self.counters.conns.fetch_sub(1, Relaxed);
    }
}

/// Whether an accept failed for the client's sake alone.
fn is_client_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
