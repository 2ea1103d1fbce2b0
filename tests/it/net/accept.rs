//! Limits, pauses and kinds of listeners.

use super::harness::{Client, Server, settings, tcp, unix, until};
use oxcached::proto::ConnState;
use oxcached::settings::Settings;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn r2_1_r2_2_a_client_above_the_limit_gets_an_error_and_no_resources() {
    let server = Server::with(Settings { maxconns: 4, ..settings() }, vec![tcp()]);
    let structures = server.gauge(|g| &g.conn_structs);
    for n in 1..=3 {
        let mut client = server.client();
        assert_eq!(client.line(), "ERROR Too many open connections");
        client.expect_end();
        assert_eq!(server.gauge(|g| &g.rejected_conns), n);
    }
    assert_eq!((server.open(), server.gauge(|g| &g.total_conns)), (1, 1));
    assert_eq!(server.gauge(|g| &g.conn_structs), structures);
    assert_eq!(server.shared.conns.list().len(), 1);
}

/// A client with this local source address.
fn client_from(server: &Server, address: &str) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let local: SocketAddr = (address.parse::<IpAddr>().unwrap(), 0).into();
    socket.bind(&local.into()).unwrap();
    socket.connect(&server.addr.into()).unwrap();
    Client::new(socket.into())
}

#[test]
fn connections_are_limited_per_address() {
    let (listener, dir) = unix();
    let settings = Settings { maxconns_per_ip: 2, ..settings() };
    let server = Server::with(settings, vec![tcp(), listener]);
    let mut clients: Vec<_> = (0..2).map(|_| server.client()).collect();
    for n in 1..=3 {
        let mut refused = server.client();
        assert_eq!(refused.line(), "ERROR Too many open connections");
        refused.expect_end();
        assert_eq!(server.gauge(|g| &g.rejected_conns_per_ip), n);
    }
    let mut other = client_from(&server, "127.0.0.2");
    assert_eq!(other.ask("echo a"), "a");
    let mut local: Vec<_> = (0..4).map(|_| UnixStream::connect(dir.path().join("socket")).unwrap()).collect();
    for stream in &mut local {
        stream.write_all(b"echo b\r\n").unwrap();
        let mut reply = [0; 3];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"b\r\n");
    }
    // Every way to end frees the place.
    for bye in ["quit\r\n", "abort\r\n", "panic\r\n", "away\r\n", "", "last words\r\n", "later place\r\n"] {
        let mut client = clients.pop().unwrap();
        client.send(bye);
        match bye {
            "" => client.reset(),
            _ if bye.starts_with("later") => {
                until("suspended", || super::script::later("place").is_some());
                client.expect_end();
            }
            _ => while !client.line().is_empty() {},
        }
        // The place is freed shortly after the peer has seen the end.
        until("a place", || {
            let mut next = server.client();
            let entered = next.try_ask("echo c") == "c";
            if entered {
                clients.push(next);
            }
            entered
        });
        assert_eq!(server.client().line(), "ERROR Too many open connections");
    }
    assert_eq!(server.gauge(|g| &g.rejected_conns), 0);
}

#[test]
fn r6_connections_and_listeners_are_listed() {
    let server = Server::with(settings(), vec![tcp(), tcp()]);
    until("listeners", || server.in_state(ConnState::Listening) == 2);
    let mut client = server.client();
    until("new", || server.in_state(ConnState::NewCmd) == 1);
    assert_eq!(client.ask("echo a"), "a");
    until("reading", || server.in_state(ConnState::Read) == 1);
    let cards = server.shared.conns.list();
    let (_, card) = cards.iter().find(|(_, card)| card.peer.is_some()).unwrap();
    assert_eq!(card.peer.unwrap(), client.stream.get_ref().local_addr().unwrap());
    assert_eq!(card.local.unwrap(), server.addr);
    assert_eq!((server.open(), server.gauge(|g| &g.total_conns)), (3, 3));
    assert!(server.gauge(|g| &g.conn_structs) == 3);
}

#[test]
fn unix_sockets_serve_too() {
    let (listener, dir) = unix();
    let name = listener.path.clone();
    let server = Server::with(settings(), vec![listener]);
    let mut stream = UnixStream::connect(dir.path().join("socket")).unwrap();
    stream.write_all("big 1000000\r\necho a\r\n".as_bytes()).unwrap();
    let mut client = Client { stream: BufReader::new(stream) };
    assert_eq!(client.line().len(), 1_000_000);
    assert_eq!(client.line(), "a");
    let cards = server.shared.conns.list();
    assert_eq!(cards.len(), 2);
    assert!(cards.iter().all(|(_, card)| card.peer.is_none() && card.path.as_deref() == name.as_deref()));
}

/// The server of [`r2_3_emfile_pauses_and_resumes`], which runs it under a small descriptor limit: prints its port,
/// then answers each line with `accepting disabled_num disabled_us`.
#[test]
#[ignore = "started by r2_3_emfile_pauses_and_resumes"]
fn emfile_server() {
    if std::env::var_os("OXCACHED_EMFILE").is_none() {
        return;
    }
    let server = Server::with(Settings { maxconns_fast: false, verbose: 2, ..settings() }, vec![tcp()]);
    println!("\nport {}", server.addr.port());
    for line in std::io::stdin().lines() {
        line.unwrap();
        let globals = &server.shared.stats.globals;
        println!(
            "{} {} {}",
            u8::from(globals.accepting_conns.load(Relaxed)),
            globals.listen_disabled_num.load(Relaxed),
            globals.time_in_listen_disabled_us.load(Relaxed)
        );
    }
}

#[test]
fn r2_3_emfile_pauses_and_resumes() {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 32; exec \"$0\" net::accept::emfile_server --exact --ignored --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env("OXCACHED_EMFILE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = BufReader::new(from).lines().map(Result::unwrap);
    let port: u16 = lines.find_map(|line| line.strip_prefix("port ").map(|port| port.parse().unwrap())).unwrap();
    let mut stats = || -> Vec<u64> {
        writeln!(to).unwrap();
        lines.next().unwrap().split(' ').map(|number| number.parse().unwrap()).collect()
    };
    let connect = || Client::new(TcpStream::connect(("127.0.0.1", port)).unwrap());

    let mut clients = Vec::new();
    while clients.len() < 100 {
        let mut client = connect();
        client.send("echo a\r\n");
        client.stream.get_ref().set_nonblocking(true).unwrap();
        let mut paused = false;
        until("an answer or a pause", || {
            paused = stats()[0] == 0;
            paused || client.stream.fill_buf().is_ok()
        });
        client.stream.get_ref().set_nonblocking(false).unwrap();
        clients.push(client);
        if paused {
            break;
        }
    }
    assert!((10..32).contains(&clients.len()), "{} clients fitted", clients.len());
    // The client without a descriptor waits unserved; the others are served.
    let mut waiting = clients.pop().unwrap();
    let mut first = clients.swap_remove(0);
    assert_eq!(first.line(), "a");
    assert_eq!(first.ask("echo b"), "b");
    assert_eq!(stats()[..2], [0, 1]);
    // A descriptor becomes free: the waiting client gets it, and accepting resumes without further waiting clients.
    drop(first);
    assert_eq!(waiting.line(), "a");
    until("accepting", || stats()[0] == 1);
    assert_eq!(stats()[1], 1);
    assert!(stats()[2] > 0);
    // Full again at the next client, then a free descriptor again.
    let mut next = connect();
    next.send("echo c\r\n");
    until("a second pause", || stats()[..2] == [0, 2]);
    drop(waiting);
    assert_eq!(next.line(), "c");
    drop(to);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.matches("accept4(): Too many open files\n").count(), 2, "{errors}");
    // Lines as memcached's at -vv; the first client's descriptor is any free one, the same in both lines.
    assert_eq!(errors.matches(" server listening (auto-negotiate)\n").count(), 1, "{errors}");
    let new = errors.lines().find_map(|line| line.strip_suffix(" new auto-negotiating client connection"));
    assert!(errors.contains(&format!("{} connection closed.\n", new.unwrap())), "{errors}");
}
