//! Watchers: their events, their refusals, and that they delay no client.

use crate::binary::packet::store;
use crate::support::{DEADLINE, until};
use oxcached::limits::WATCHERS_ENDED_MAX;
use oxcached::proto::Shared;
use oxcached::server::{Running, Server};
use oxcached::settings::{Action, parse};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub(super) struct Service {
    pub shared: Arc<Shared>,
    running: Option<Running>,
    pub addr: SocketAddr,
}

impl Service {
    pub fn new(args: &str) -> Self {
        let args = format!("oxcached -p -1 -U 0 -l 127.0.0.1 -t 2 {args}");
        let Action::Run(settings) = parse(args.split_ascii_whitespace().map(Into::into)).unwrap() else {
            panic!("nothing to run")
        };
        let server = Server::start(*settings).unwrap();
        let (shared, addr) = (Arc::clone(server.shared()), server.addresses()[0]);
        Self { shared, running: Some(server.spawn().unwrap()), addr }
    }

    /// Address of the datagram socket, with `-U -1`.
    pub fn udp(&self) -> SocketAddr {
        self.running.as_ref().unwrap().addresses()[1]
    }

    pub fn client(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client(BufReader::new(stream))
    }

    pub fn watcher(&self, command: &str) -> Client<TcpStream> {
        let mut watcher = self.client();
        watcher.send(&format!("{command}\r\n"));
        assert_eq!(watcher.line(), "OK\r\n");
        watcher
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let stopped = self.running.take().map(Running::shutdown);
        if !std::thread::panicking() {
            stopped.unwrap().unwrap();
            assert_eq!(self.shared.watchers.len(), 0);
        }
    }
}

pub(super) struct Client<S>(pub BufReader<S>);

impl Client<TcpStream> {
    /// Leaves with a reset, which the server sees at once.
    fn reset(self) {
        socket2::SockRef::from(self.0.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends no more, as `nc -N` at the end of its input.
    fn close_sending_side(&self) {
        self.0.get_ref().shutdown(Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    pub fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.line()
    }

    /// An event's line without its timestamp; checks the timestamp's format.
    #[track_caller]
    pub fn event(&mut self) -> String {
        let line = self.line();
        let Some((stamp, rest)) = line.split_once(" type=") else { panic!("no event: {line:?}") };
        let (ts, gid) = stamp.split_once(" gid=").unwrap();
        let (seconds, micros) = ts.strip_prefix("ts=").unwrap().split_once('.').unwrap();
        assert!(seconds.parse::<u64>().unwrap() > 1_700_000_000 && micros.parse::<u32>().unwrap() < 1_000_000);
        assert!(micros == "0" || !micros.starts_with('0'), "padded: {line}");
        assert!(gid.parse::<u64>().unwrap() > 0 && rest.ends_with('\n') && !rest.contains('\r'), "{line:?}");
        rest.trim_end().to_owned()
    }

    fn ends(&mut self) -> bool {
        matches!(self.0.read(&mut [0; 16]), Ok(0) | Err(_))
    }
}

/// The server's descriptor of the only connection in `state`.
fn fd_in_state(service: &Service, state: &str) -> i32 {
    let mut found = Vec::new();
    until(state, || {
        found = service.shared.conns.list().into_iter().filter(|(_, card)| card.state().name() == state).collect();
        found.len() == 1
    });
    found[0].0
}

#[test]
fn lookups_and_stores_are_reported_as_in_memcached() {
    // Only the lookup may remove the expired item.
    let service = Service::new("-o no_lru_crawler,no_lru_maintainer");
    let mut client = service.client();
    assert_eq!(client.ask("mn\r\n"), "MN\r\n");
    let fd = fd_in_state(&service, "conn_read");
    let mut watcher = service.watcher("watch fetchers mutations");
    assert_eq!(client.ask("set a%b 0 100 3\r\nabc\r\n"), "STORED\r\n");
    assert_eq!(watcher.event(), format!("item_get key=a%25b status=not_found clsid=0 cfd={fd} size=0"));
    assert_eq!(watcher.event(), format!("item_store key=a%25b status=stored cmd=set ttl=100 clsid=1 cfd={fd} size=3"));
    assert_eq!(client.ask("append a%b 0 0 2\r\nde\r\n"), "STORED\r\n");
    assert_eq!(watcher.event(), format!("item_get key=a%25b status=found clsid=1 cfd={fd} size=3"));
    let joined = format!("item_store key=a%25b status=stored cmd=append ttl=100 clsid=1 cfd={fd} size=5");
    assert_eq!(watcher.event(), joined);
    assert_eq!(client.ask("cas a%b 0 0 1 1\r\nx\r\n"), "EXISTS\r\n");
    assert!(watcher.event().contains("status=found") && watcher.event().contains("status=exists cmd=cas"));
    assert_eq!(client.ask("set e 0 -1 1\r\nx\r\n"), "STORED\r\n");
    watcher.event();
    let ttl = 1u32.wrapping_sub(service.shared.clock.now());
    assert_eq!(watcher.event(), format!("item_store key=e status=stored cmd=set ttl={ttl} clsid=1 cfd={fd} size=1"));
    assert_eq!(client.ask("get e\r\n"), "END\r\n");
    assert_eq!(watcher.event(), format!("item_get key=e status=expired clsid=0 cfd={fd} size=0"));
    // Arithmetic and touch report a lookup and no store.
    for (command, reply) in [("incr n 1\r\n", "NOT_FOUND\r\n"), ("touch a%b 9\r\n", "TOUCHED\r\n")] {
        assert_eq!(client.ask(command), reply);
        assert!(watcher.event().starts_with("item_get"));
    }
    assert_eq!(client.ask("ma n N0 J5\r\n"), "HD\r\n");
    assert!(watcher.event().starts_with("item_get") && watcher.event().starts_with("item_get"));
    assert!(watcher.event().starts_with("item_store key=n status=stored cmd=add"));
}

#[test]
fn a_store_without_room_is_reported() {
    let service = Service::new("");
    let mut watcher = service.watcher("watch mutations");
    let mut client = service.client();
    let value = "x".repeat(2_000_000);
    assert_eq!(
        client.ask(&format!("set big 0 0 2000000\r\n{value}\r\n")),
        "SERVER_ERROR object too large for cache\r\n"
    );
    assert_eq!(client.ask(&format!("ms big 2000000\r\n{value}\r\n")), "SERVER_ERROR object too large for cache\r\n");
    for _ in 0..2 {
        let event = watcher.event();
        assert!(event.starts_with("item_store key=big status=too_large cmd=set ttl=0 clsid=0 cfd="), "{event}");
        assert!(event.ends_with(" size=0"), "{event}");
    }
}

/// memcached looked into the item that there was not.
#[test]
fn a_packet_that_stores_nothing_is_reported() {
    let service = Service::new("");
    let mut watcher = service.watcher("watch mutations");
    let mut client = service.client();
    let value = "x".repeat(2_000_000);
    for (packet, status) in [
        (store(0x01, "big", 0, 0, &value), "too_large"),
        (store(0x13, "none", 0, 0, "x"), "not_stored"),
        (store(0x01, "none", 0, 0, "x").cas(7), "not_found"),
    ] {
        client.0.get_mut().write_all(&packet.bytes()).unwrap();
        let event = watcher.event();
        assert!(event.starts_with("item_store key=") && event.contains(&format!(" status={status} ")), "{event}");
        let mut header = [0; 24];
        client.0.read_exact(&mut header).unwrap();
        assert!(header[7] != 0, "{event}");
        let text = u32::from_be_bytes(header[8..12].try_into().unwrap());
        client.0.read_exact(&mut vec![0; text as usize]).unwrap();
    }
}

#[test]
fn deletions_and_evictions_have_their_own_classes() {
    let service = Service::new("-m 2");
    let mut watcher = service.watcher("watch deletions evictions");
    let mut client = service.client();
    for (delete, reply, verb) in [("delete k\r\n", "DELETED\r\n", "delete"), ("md k\r\n", "HD\r\n", "md")] {
        assert_eq!(client.ask("set k 0 0 4\r\nvbar\r\n"), "STORED\r\n");
        assert_eq!(client.ask(delete), reply);
        assert_eq!(watcher.event(), format!("deleted key=k cmd={verb} clsid=1 size=4"));
    }
    let value = "x".repeat(10_000);
    for n in 0..400 {
        assert_eq!(client.ask(&format!("set key{n} 0 500 10000\r\n{value}\r\n")), "STORED\r\n");
    }
    let event = watcher.event();
    assert!(event.starts_with("eviction key=key") && event.contains(" fetch=no ttl="), "{event}");
    assert!(event.contains(" la=") && event.contains(" clsid=") && event.ends_with(" size=10000"), "{event}");
    let ttl: u32 = event.split_once("ttl=").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
    assert!((490..=500).contains(&ttl), "{event}");
}

#[test]
fn connections_are_reported_from_start_to_end() {
    let service = Service::new("");
    let mut watcher = service.watcher("watch c");
    for (command, reason) in [("quit\r\n", "normal"), ("GET / HTTP/1.1\r\n", "error")] {
        let mut client = service.client();
        let port = client.0.get_ref().local_addr().unwrap().port();
        let begun = watcher.event();
        let fd = begun.rsplit_once('=').unwrap().1.to_owned();
        assert_eq!(begun, format!("conn_new rip=127.0.0.1 rport={port} transport=tcp cfd={fd}"));
        client.send(command);
        let ended = format!("conn_close rip=127.0.0.1 rport={port} transport=tcp reason={reason} cfd={fd}");
        assert_eq!(watcher.event(), ended);
    }
    service.watcher("watch connevents").reset();
    assert!(watcher.event().starts_with("conn_new "));
    assert!(watcher.event().contains(" reason=error "));
}

#[test]
fn a_unix_peer_is_local() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let args = format!("oxcached -s {} -t 1", path.display());
    let Action::Run(settings) = parse(args.split_ascii_whitespace().map(Into::into)).unwrap() else { panic!() };
    let server = Server::start(*settings).unwrap();
    let (shared, running) = (Arc::clone(server.shared()), server.spawn().unwrap());
    let connect = || Client(BufReader::new(UnixStream::connect(&path).unwrap()));
    let mut watcher = connect();
    assert_eq!(watcher.ask("watch connevents\n"), "OK\r\n");
    drop(connect());
    assert!(watcher.event().starts_with("conn_new rip=unix rport=0 transport=local cfd="));
    assert!(watcher.event().starts_with("conn_close rip=unix rport=0 transport=local reason=normal cfd="));
    // Of a unix socket's peer the system tells whether it has gone.
    watcher.0.get_ref().shutdown(Shutdown::Write).unwrap();
    drop(connect());
    assert!(watcher.event().starts_with("conn_new "));
    drop(watcher);
    until("its end", || shared.watchers.is_empty());
    running.shutdown().unwrap();
}

#[test]
fn refusals_leave_the_connection_as_it_was() {
    let service = Service::new("");
    let mut client = service.client();
    assert_eq!(client.ask("watch foo\r\n"), "ERROR\r\n");
    assert_eq!(client.ask("watch fetchers foo\r\n"), "ERROR\r\n");
    assert_eq!(client.ask("watch fetchers noreply\r\n"), "ERROR\r\n");
    client.send("mn\r\nwatch\r\nset a 0 0 1 noreply\r\n1\r\nwatch rawcmds\r\n");
    const PIPED: &str = "ERROR cannot pipeline other commands before watch\r\n";
    assert_eq!([client.line(), client.line(), client.line()], ["MN\r\n", PIPED, PIPED]);
    let watchers: Vec<_> = (0..20).map(|_| service.watcher("watch rawcmds f m s conn p proxye proxyu d e")).collect();
    assert_eq!(client.ask("watch\r\n"), "WATCHER_TOO_MANY log watcher limit reached\r\n");
    watchers.into_iter().for_each(Client::reset);
    until("their seats", || service.shared.watchers.is_empty());
    assert_eq!(client.ask("watch\r\n"), "OK\r\n");
    drop(client);

    let service = Service::new("-W");
    assert_eq!(service.client().ask("watch\r\n"), "CLIENT_ERROR watch commands not allowed\r\n");
}

#[test]
fn a_watcher_is_counted_and_its_input_is_ignored() {
    let service = Service::new("-o idle_timeout=5");
    let globals = &service.shared.stats.globals;
    let mut watcher = service.client();
    assert_eq!(watcher.ask("watch fetchers\r\nget behind\r\n"), "OK\r\n");
    watcher.send("set a 0 0 1\r\n1\r\nquit\r\n");
    until("its count", || globals.log_watchers.load(Relaxed) == 1);
    fd_in_state(&service, "conn_watch");
    let mut client = service.client();
    for _ in 0..10 {
        service.shared.clock.advance(1);
        assert_eq!(client.ask("mn\r\n"), "MN\r\n");
    }
    assert_eq!(client.ask("get b\r\n"), "END\r\n");
    assert!(watcher.event().starts_with("item_get key=b status=not_found"));
    until("the counts", || {
        globals.log_watcher_sent.load(Relaxed) == 1 && globals.log_worker_written.load(Relaxed) == 1
    });
    watcher.reset();
    until("its end", || globals.log_watchers.load(Relaxed) == 0);
    // The listener and the client are left, and no more events are recorded.
    until("its connection's end", || globals.curr_conns.load(Relaxed) == 2);
    assert_eq!(client.ask("get b\r\n"), "END\r\n");
    assert_eq!(service.shared.events.drain(|_| ()), 0);
}

#[test]
fn a_watcher_that_has_sent_its_last_byte_keeps_its_events() {
    let service = Service::new("");
    let (globals, mut client) = (&service.shared.stats.globals, service.client());
    // In one packet with the command, and after the greeting.
    let mut early = service.client();
    early.send("watch fetchers\r\n");
    early.close_sending_side();
    assert_eq!(early.line(), "OK\r\n");
    let mut late = service.watcher("watch fetchers");
    late.close_sending_side();
    until("both", || globals.log_watchers.load(Relaxed) == 2);
    for n in 0..50 {
        assert_eq!(client.ask(&format!("get k{n}\r\n")), "END\r\n");
        for watcher in [&mut early, &mut late] {
            assert!(watcher.event().starts_with(&format!("item_get key=k{n} status=not_found")));
        }
    }
    // One that has gone shows at the next event: its system answers with a reset.
    drop(early);
    until("its end", || {
        assert_eq!(client.ask("get k\r\n"), "END\r\n");
        globals.log_watchers.load(Relaxed) == 1
    });
    assert!(late.event().starts_with("item_get key=k status"));
}

#[test]
fn watchers_that_have_sent_their_last_byte_take_a_part_of_the_seats() {
    let service = Service::new("");
    let watchers: Vec<_> = (0..20).map(|_| service.watcher("watch connevents")).collect();
    watchers.iter().for_each(Client::close_sending_side);
    until("the oldest have gone", || service.shared.watchers.len() == WATCHERS_ENDED_MAX);
    let _another = service.watcher("watch fetchers");
}

#[test]
fn a_slow_watcher_skips_lines_and_delays_no_client() {
    let service = Service::new("-o watcher_logbuf_size=8");
    let (mut slow, mut quick) = (service.watcher("watch"), service.watcher("watch"));
    let sent = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = service.client();
            let batch: String = (0..50).map(|n| format!("get {n}{}\r\n", "#".repeat(200))).collect();
            let globals = &service.shared.stats.globals;
            until("skipped lines", || {
                client.send(&batch);
                (0..50).for_each(|_| assert_eq!(client.line(), "END\r\n"));
                globals.log_watcher_skipped.load(Relaxed) > 0
            });
            sent.store(true, Relaxed);
            // The slow watcher learns of skipped lines with the next line.
            while sent.load(Relaxed) {
                assert_eq!(client.ask("get more\r\n"), "END\r\n");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        while !sent.load(Relaxed) {
            quick.line();
        }
        until("the number of lost lines", || slow.line().starts_with("skipped="));
        assert!(slow.event().starts_with("item_get key="));
        sent.store(false, Relaxed);
    });
    drop((slow, quick));
}

#[test]
fn a_full_ring_drops_and_counts() {
    let service = Service::new("-o worker_logbuf_size=1");
    let globals = &service.shared.stats.globals;
    let mut watcher = service.watcher("watch");
    let mut client = service.client();
    until("dropped events", || {
        client.send(&"get k\r\n".repeat(200));
        (0..200).for_each(|_| assert_eq!(client.line(), "END\r\n"));
        globals.log_worker_dropped.load(Relaxed) > 0
    });
    assert!(watcher.event().starts_with("item_get key=k"));
}

#[test]
fn a_server_stops_with_watchers_on_it() {
    let service = Service::new("");
    let mut watchers: Vec<_> = (0..5).map(|_| service.watcher("watch fetchers")).collect();
    drop(service);
    assert!(watchers.iter_mut().all(Client::ends));
}
