//! `-o drop_privileges` under everything that a server does after its start: no call that it needs is forbidden, and
//! what it replaces or reads again is allowed.

use super::harness::{Place, Program, http, talk};
use crate::support::until;
use crate::tls::harness::Files;
use oxcached::settings::{Action, parse};
use rustls::{ClientConnection, StreamOwned};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

const DROP: &str = "-o drop_privileges";

/// Asserts that every thread has a filter and can gain no privileges.
#[track_caller]
fn assert_confined(server: &Program, least: &[&str]) {
    until("every thread is confined", || server.threads("Seccomp").iter().all(|(_, mode)| mode == "2"));
    let threads = server.threads("NoNewPrivs");
    assert!(threads.iter().all(|(_, set)| set == "1"), "{threads:?}");
    for name in least {
        assert!(threads.iter().any(|(thread, _)| thread == name), "{name} in {threads:?}");
    }
}

#[test]
fn every_thread_is_confined_and_serves() {
    let place = Place::new();
    let free = place.serve("");
    assert!(free.threads("Seccomp").iter().all(|(_, mode)| mode == "0"), "not without the option");
    assert_eq!(free.stop(), "");
    let server = place.serve(&format!("{DROP} -U -1 -vv --admin=DIR/admin"));
    let names = ["oxcached", "mc-worker", "mc-admin", "mc-stderr", "mc-log", "mc-assocmaint", "mc-slabmaint"];
    assert_confined(&server, &names);
    let mut client = server.connect();
    assert_eq!(talk(&mut client, "set a 0 0 1\r\nx\r\nget a\r\n", "END\r\n"), "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    // Buffers that grow, values in chains, replies that wait.
    let value = "x".repeat(1_000_000);
    for n in 0..90 {
        let line = format!("set k{n} 0 0 {}\r\n{value}\r\n", value.len());
        assert_eq!(talk(&mut client, &line, "\r\n"), "STORED\r\n");
    }
    let keys: Vec<String> = (40..80).map(|n| format!("k{n}")).collect();
    assert!(talk(&mut client, &format!("get {}\r\n", keys.join(" ")), "END\r\n").len() > 1_000_000);
    for (command, end) in [
        ("stats\r\n", "END\r\n"),
        ("stats settings\r\n", "END\r\n"),
        ("stats conns\r\n", "END\r\n"),
        ("stats sizes\r\n", "END\r\n"),
        ("stats detail on\r\n", "OK\r\n"),
        ("stats latency\r\n", "END\r\n"),
        ("stats largest\r\n", "END\r\n"),
        ("lru_crawler metadump all\r\n", "END\r\n"),
        ("lru_crawler crawl all\r\n", "OK\r\n"),
        ("slabs automove 2\r\n", "OK\r\n"),
        ("cache_memlimit 128\r\n", "OK\r\n"),
        ("cache_memlimit 32\r\n", "OK\r\n"),
        ("hotkeys on\r\n", "OK\r\n"),
        ("flush_all\r\n", "OK\r\n"),
    ] {
        talk(&mut client, command, end);
    }
    // By the same connection: the end of another would be an event of the watcher.
    assert!(talk(&mut client, "stats settings\r\n", "END\r\n").contains("STAT drop_privileges yes\r\n"));
    let mut watcher = server.connect();
    assert_eq!(talk(&mut watcher, "watch connevents\r\n", "OK\r\n"), "OK\r\n");
    let _other = server.connect();
    assert!(talk(&mut watcher, "", "\n").contains("conn_new"));
    let ports = fs::read_to_string(place.path("ports")).unwrap();
    let udp = ports.lines().find_map(|line| line.strip_prefix("UDP INET: ")).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"\0\x01\0\0\0\x01\0\0version\r\n", format!("127.0.0.1:{udp}")).unwrap();
    let mut datagram = [0; 100];
    let length = socket.recv(&mut datagram).unwrap();
    assert!(datagram[..length].ends_with(b"1.6.45\r\n"));
    for path in ["/", "/metrics", "/stats.json", "/readyz"] {
        assert!(http(&place.path("admin"), path, "").starts_with("HTTP/1.1 200"), "{path}");
    }
    let said = server.stop();
    assert!(said.contains("stats detail") && !said.contains("Seccomp"), "{said}");
    assert!(!place.path("admin").exists(), "the admin listener removes its socket");
}

#[test]
fn users_and_tokens_are_read_again_after_a_replacement() {
    let place = Place::new();
    for name in ["users", "sasl"] {
        place.write(name, "ann:one\n");
    }
    let token = |word: &str| format!("{word}-token-of-the-admin-listener");
    place.write("token", &format!("{}\n", token("first")));
    let options = "-Y DIR/users -o admin_token_file=DIR/token --admin=DIR/admin";
    let server = place.serve(&format!("{DROP} {options}"));
    assert_confined(&server, &["mc-auth"]);
    let login = |password: &str| server.ask(&format!("set k 0 0 7\r\nann {password}\r\n"), "\r\n");
    let page = |word: &str| {
        let header = format!("Authorization: Bearer {}\r\n", token(word));
        http(&place.path("admin"), "/readyz", &header)
    };
    assert_eq!(login("one"), "STORED\r\n");
    place.replace("users", "ann:two\n");
    place.replace("token", &format!("{}\n", token("second")));
    server.signal("HUP");
    until("the new password counts", || login("two") == "STORED\r\n");
    until("the new token counts", || page("second").starts_with("HTTP/1.1 200"));
    assert_eq!(server.stop(), "");
    let mut sasl = place.command(&format!("{DROP} -S"));
    sasl.env("MEMCACHED_SASL_PWDB", place.path("sasl"));
    let server = place.start(sasl);
    place.replace("sasl", "ann:two\n");
    server.signal("HUP");
    let packet = |password: &str| {
        let body = format!("PLAIN\0ann\0{password}");
        let mut packet = vec![0x80, 0x21, 0, 5, 0, 0, 0, 0, 0, 0, 0, body.len() as u8];
        packet.extend([0; 12]);
        packet.extend(body.bytes());
        let mut client = server.connect();
        client.write_all(&packet).unwrap();
        let mut header = [0; 24];
        client.read_exact(&mut header).unwrap();
        header[7]
    };
    until("the new password counts", || packet("two") == 0);
    assert_eq!(server.stop(), "");
}

#[test]
fn certificates_are_read_again_through_links() {
    let (files, place) = (Files::new(), Place::new());
    // As certificate tools keep them: a link to the file in force, in another directory.
    for name in ["chain", "key"] {
        fs::rename(files.path(&format!("{name}.pem")), files.path(&format!("{name}1.pem"))).unwrap();
        std::os::unix::fs::symlink(files.path(&format!("{name}1.pem")), place.path(&format!("{name}.pem"))).unwrap();
    }
    let server = place.serve(&format!("{DROP} -Z -o ssl_chain_cert=DIR/chain.pem,ssl_key=DIR/key.pem"));
    assert_confined(&server, &["mc-files"]);
    let config = Arc::new(files.client_config(rustls::ALL_VERSIONS, None));
    let connect = || {
        let tls = ClientConnection::new(Arc::clone(&config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(tls, TcpStream::connect(("127.0.0.1", server.port)).unwrap());
        talk(&mut stream, "mn\r\n", "MN\r\n");
        stream
    };
    let shown = || connect().conn.peer_certificates().unwrap()[0].clone().into_owned();
    let renew = |number: u32| {
        let renewed = files.authority.sign("renewed");
        for (name, text) in [("chain", &renewed.cert), ("key", &renewed.key)] {
            let file = format!("{name}{number}.pem");
            files.write(&file, text);
            std::os::unix::fs::symlink(files.path(&file), place.path("draft")).unwrap();
            fs::rename(place.path("draft"), place.path(&format!("{name}.pem"))).unwrap();
        }
    };
    let first = shown();
    renew(2);
    assert_eq!(talk(&mut connect(), "refresh_certs\r\n", "\r\n"), "OK\r\n");
    let second = shown();
    assert_ne!(second, first);
    renew(3);
    server.signal("HUP");
    until("the third certificate is shown", || shown() != second);
    assert_eq!(server.stop(), "");
}

#[test]
fn nodes_of_a_cluster_are_read_again_after_a_replacement() {
    let place = Place::new();
    place.write("nodes", "one|10.0.0.1|11211\n");
    let server = place.serve(&format!("{DROP} -o cluster_file=DIR/nodes"));
    let nodes = || server.ask("config get cluster\r\n", "END\r\n");
    assert!(nodes().contains("one|10.0.0.1|11211"));
    place.replace("nodes", "two|10.0.0.2|11211\n");
    until("the new node is told", || nodes().contains("two|10.0.0.2|11211"));
    assert_eq!(server.stop(), "");
}

#[test]
fn files_elsewhere_are_out_of_reach() {
    let (place, other) = (Place::new(), Place::new());
    place.write("users", "ann:one\n");
    other.write("users", "ann:two\n");
    let mut server = place.serve(&format!("{DROP} -v -Y DIR/users"));
    std::os::unix::fs::symlink(other.path("users"), place.path("draft")).unwrap();
    fs::rename(place.path("draft"), place.path("users")).unwrap();
    server.signal("HUP");
    let mut said = BufReader::new(server.child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let denied = "Could not reload on SIGHUP: Could not open authfile";
    match said.find(|line| line.starts_with(denied) || line.contains("the kernel has no landlock")).unwrap() {
        line if line.starts_with(denied) => assert!(line.contains("Permission denied"), "{line}"),
        line => return println!("skipped: {line}"),
    }
    let login = |password: &str| server.ask(&format!("set k 0 0 7\r\nann {password}\r\n"), "\r\n");
    assert_eq!((login("one"), login("two").starts_with("CLIENT_ERROR")), ("STORED\r\n".to_owned(), true));
}

#[test]
fn a_memory_file_is_saved_and_found_again() {
    let place = Place::new();
    let options = format!("{DROP} -e DIR/memory -P DIR/pid");
    let server = place.serve(&options);
    assert_eq!(server.ask("set a 0 0 1\r\nx\r\n", "\r\n"), "STORED\r\n");
    server.signal("USR1");
    let (status, said) = server.ended();
    assert!(status.success() && !said.contains("Seccomp") && place.path("memory.meta").exists(), "{status}: {said}");
    let server = place.serve(&options);
    assert_eq!(server.ask("get a\r\n", "END\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
    server.stop();
}

#[test]
fn a_daemon_removes_its_pid_file() {
    let place = Place::new();
    let mut command = place.command(&format!("{DROP} -d -P pid"));
    assert!(command.status().unwrap().success());
    until("the pid file", || place.path("pid").exists());
    let pid = fs::read_to_string(place.path("pid")).unwrap();
    let filtered = || {
        let text = fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
        text.contains("Seccomp:\t2")
    };
    until("its main thread is confined", filtered);
    let kill = ["-c", &format!("kill {pid}")];
    assert!(std::process::Command::new("sh").args(kill).status().unwrap().success());
    until("the pid file goes", || !place.path("pid").exists());
}

#[test]
fn a_unix_socket_and_locked_memory() {
    let place = Place::new();
    let mut command = place.command(&format!("{DROP} -k -s DIR/socket"));
    let mut program = Program { child: command.spawn().unwrap(), port: 0 };
    until("the socket", || place.path("socket").exists());
    let mut client = loop {
        match UnixStream::connect(place.path("socket")) {
            Ok(client) => break client,
            Err(error) => assert!(program.child.try_wait().unwrap().is_none(), "{error}"),
        }
    };
    let value = "x".repeat(500_000);
    for n in 0..200 {
        let line = format!("set k{n} 0 0 {}\r\n{value}\r\n", value.len());
        assert_eq!(talk(&mut client, &line, "\r\n"), "STORED\r\n");
    }
    assert!(!program.stop().contains("Seccomp"));
}

#[test]
#[cfg(debug_assertions)]
fn a_panic_is_reported_with_its_backtrace() {
    for (place_of_panic, contained) in [("turn", true), ("main", false)] {
        let place = Place::new();
        let mut command = place.command(DROP);
        command.env("OXCACHED_TRAP", place_of_panic).env("RUST_BACKTRACE", "1");
        let server = place.start(command);
        let mut client = server.connect();
        let _ = client.write_all(b"foo\r\n").and_then(|()| client.read(&mut [0; 100]));
        let said = if contained {
            assert_eq!(server.ask("mn\r\n", "MN\r\n"), "MN\r\n");
            server.stop()
        } else {
            let (status, said) = server.ended();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{said}");
            said
        };
        assert!(said.contains(&format!("the trap `{place_of_panic}`")) && said.contains("judge"), "{said}");
        assert!(!said.contains("Seccomp"), "{said}");
    }
}

/// Reading the symbols takes a part of a second, in which a client that waited for the daemon would be refused.
#[test]
#[cfg(debug_assertions)]
fn a_daemon_reads_its_symbols_before_the_first_process_ends() {
    let place = Place::new();
    let mut command = place.command(&format!("{DROP} -d -P pid"));
    command.env("OXCACHED_TRAP", "symbols").env("RUST_BACKTRACE", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "{said}");
    assert!(said.contains("the trap `symbols`"), "{said}");
    assert!(!place.path("pid").exists());
}

#[test]
fn a_stop_and_continue_of_the_process_is_survived() {
    let place = Place::new();
    let server = place.serve(DROP);
    assert_confined(&server, &[]);
    for _ in 0..3 {
        server.signal("STOP");
        let stopped = || server.threads("State").iter().all(|(_, state)| state.starts_with('T'));
        until("it has stopped", stopped);
        server.signal("CONT");
        assert_eq!(server.ask("mn\r\n", "MN\r\n"), "MN\r\n");
    }
    assert_eq!(server.stop(), "");
}

#[test]
fn the_options_are_memcacheds() {
    let drop_privileges = |args: &str| {
        let words = std::iter::once("oxcached").chain(args.split_ascii_whitespace());
        match parse(words.map(Into::into)).unwrap() {
            Action::Run(settings) => settings.sandbox.drop_privileges,
            other => panic!("{other:?}"),
        }
    };
    assert!(!drop_privileges("") && drop_privileges(DROP));
    assert!(!drop_privileges("-o drop_privileges,no_drop_privileges"));
    let place = Place::new();
    let server = place.serve("");
    assert!(!server.ask("stats settings\r\n", "END\r\n").contains("drop_privileges"));
}
