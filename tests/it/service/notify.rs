//! What the service manager is told, and when.

use super::harness::Manager;
use crate::support::until;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const SERVING: &str = "READY=1\nSTATUS=Serving with 2 workers";

#[test]
fn readiness_comes_when_clients_are_served_and_the_stop_is_announced() {
    let manager = Manager::new();
    let (server, messages) = manager.start(manager.command(&["-t", "2"]));
    assert_eq!(messages, [SERVING]);
    assert_eq!(manager.client().ask("mn"), "MN");
    assert_eq!(server.stop("TERM"), (Some(0), String::new()));
    assert_eq!(manager.next(), "STOPPING=1\nSTATUS=Stopping");
    assert!(!manager.has_message());
}

#[test]
fn a_memory_file_is_restored_before_and_saved_after() {
    let manager = Manager::new();
    let file = manager.text("memory\nfile");
    for _ in 0..2 {
        let (server, messages) = manager.start(manager.command(&["-t", "2", "-e", &file]));
        let restoring = format!("STATUS=Restoring the items of {}", file.replace('\n', "?"));
        assert_eq!(messages, [restoring.as_str(), SERVING]);
        assert_eq!(server.stop("USR1").0, Some(0));
        assert_eq!(manager.next(), "STOPPING=1\nSTATUS=Stopping");
        assert_eq!(manager.next(), format!("STATUS=Saving the items in {}", file.replace('\n', "?")));
    }
}

#[test]
fn a_reload_is_announced_with_its_time_and_its_end() {
    let manager = Manager::new();
    let (server, _) = manager.start(manager.command(&["-t", "2"]));
    let mut last = 0;
    for _ in 0..3 {
        server.signal("HUP");
        let text = manager.next();
        let (start, time) = text.split_once("\nMONOTONIC_USEC=").unwrap();
        assert_eq!(start, "RELOADING=1\nSTATUS=Reloading files");
        let time: u64 = time.parse().unwrap();
        assert!(time > last);
        last = time;
        assert_eq!(manager.next(), SERVING);
    }
    assert_eq!(server.stop("TERM").0, Some(0));
}

#[test]
fn an_abstract_name_is_an_address_and_a_bad_one_is_reported() {
    let manager = Manager::new();
    let name = format!("oxcached-it-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let mut command = manager.command(&["-t", "2"]);
    let mut server = command.env("NOTIFY_SOCKET", format!("@{name}")).spawn().unwrap();
    let mut bytes = [0; 256];
    let n = socket.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..n], SERVING.as_bytes());
    server.kill().unwrap();
    server.wait().unwrap();

    let mut command = manager.command(&["--hash-password=x"]);
    command.env("NOTIFY_SOCKET", "relative");
    assert!(!manager.fails(command).1.contains("NOTIFY_SOCKET"));
    let mut command = manager.command(&["-t", "2"]);
    fs::remove_file(manager.path("ports")).unwrap();
    let mut server = command.env("NOTIFY_SOCKET", "relative").spawn().unwrap();
    until("port file", || manager.path("ports").exists());
    server.kill().unwrap();
    server.wait().unwrap();
    let said = fs::read_to_string(manager.path("log")).unwrap();
    assert_eq!(said, "NOTIFY_SOCKET relative: not a path or an abstract name\n");
}

#[test]
fn a_full_socket_does_not_stop_the_server() {
    let manager = Manager::new();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let mut filled = 0;
    while filler.send_to(b"FILLED=1", manager.path("notify")).is_ok() {
        filled += 1;
    }
    let _ = fs::remove_file(manager.path("ports"));
    let mut server = manager.command(&["-t", "2"]).spawn().unwrap();
    until("port file", || manager.path("ports").exists());
    assert_eq!(manager.client().ask("mn"), "MN");
    for _ in 0..filled {
        assert_eq!(manager.next(), "FILLED=1");
    }
    assert_eq!(manager.next(), SERVING, "sent once there is room");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_daemon_names_its_process_first() {
    let manager = Manager::new();
    let pid_file = manager.text("pid");
    let mut command = manager.command(&["-t", "2", "-d", "-P", &pid_file]);
    command.env("WATCHDOG_USEC", "60000000");
    assert!(command.status().unwrap().success());
    let pid: u32 = manager.next().strip_prefix("MAINPID=").unwrap().parse().unwrap();
    assert_eq!(manager.next(), SERVING);
    assert_eq!(fs::read_to_string(&pid_file).unwrap().trim(), pid.to_string());
    std::process::Command::new("kill").arg(pid.to_string()).status().unwrap();
    assert_eq!(manager.next(), "STOPPING=1\nSTATUS=Stopping");
    until("the end", || !manager.path("pid").exists());
}

#[test]
fn the_watchdog_gets_a_sign_of_life_in_each_half_of_its_limit() {
    let manager = Manager::new();
    let mut command = manager.command(&["-t", "2"]);
    command.env("WATCHDOG_USEC", "100000");
    let (server, _) = manager.start(command);
    for _ in 0..10 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    assert_eq!(server.stop("TERM").0, Some(0));

    // A limit for another process, none, and one that is no number.
    for (name, value) in [("WATCHDOG_PID", "1"), ("WATCHDOG_USEC", "0"), ("WATCHDOG_USEC", "soon")] {
        let mut command = manager.command(&["-t", "2"]);
        command.env("WATCHDOG_USEC", "1000").env(name, value);
        while manager.has_message() {}
        let (server, _) = manager.start(command);
        server.signal("HUP");
        manager.wait_for("RELOADING=1");
        assert_eq!(manager.next(), SERVING);
        assert_eq!(server.stop("TERM").0, Some(0));
        assert_eq!(manager.next(), "STOPPING=1\nSTATUS=Stopping", "{name}={value}");
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_stuck_worker_or_main_thread_leads_to_a_missed_sign_of_life() {
    for (place, words) in
        [("turn", "a worker has been busy for 0.1 seconds: the watchdog gets no sign of life\n"), ("main", "")]
    {
        let manager = Manager::new();
        let mut command = manager.command(&["-t", "2", "-A"]);
        command.env("WATCHDOG_USEC", "200000").env("OXCACHED_TRAP", format!("stall {place}"));
        let (server, _) = manager.start(command);
        assert_eq!(manager.next(), "WATCHDOG=1");
        if place == "turn" {
            manager.client().send("foo\r\n");
            until("the notice", || server.said() == words);
        }
        // The main thread stalls at its first tick, after a second. Then five limits pass without a message.
        manager.socket().set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let last = (0..100).find(|_| manager.socket().recv(&mut [0; 64]).is_err());
        assert!(last.is_some(), "{place}: the signs of life go on");
        assert_eq!(server.said(), words);
    }
}
