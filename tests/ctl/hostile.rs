//! Servers that break the protocol: an error in words, an exit code, bounded memory and time.

use crate::harness::{Run, answering, ctl, peer};
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

/// Each command with its least words.
const COMMANDS: [&str; 12] = [
    "ping",
    "stats",
    "hotkeys",
    "latency",
    "slow",
    "large",
    "watch fetchers",
    "dump -",
    "display",
    "keys",
    "sizes",
    "settings",
];

/// A command line; its timeout is reached only by a failing test.
fn line(command: &str, address: &str) -> String {
    match command {
        "display" | "keys" | "sizes" | "settings" => format!("--timeout 60 {address} {command}"),
        _ => format!("--timeout 60 -s {address} {command}"),
    }
}

fn run(command: &str, address: &str) -> Run {
    Run::of(ctl(&line(command, address)).output().unwrap())
}

/// The same, with a timeout that is to be reached.
fn run_shortly(command: &str, address: &str) -> Run {
    Run::of(ctl(&line(command, address).replace("--timeout 60", "--timeout 0.3")).output().unwrap())
}

#[test]
fn garbage_is_told_as_such() {
    let garbage: [&[u8]; 5] =
        [b"\x1b[2J\x00\xff\r\n", b"HTTP/1.1 400\r\n\r\n", b"VALUE a 0 5\r\n", b"\n\n\n", b"STATx 1\r\n"];
    for bytes in garbage {
        let address = answering(bytes);
        for command in COMMANDS {
            let run = run(command, &address);
            assert!(run.code == Some(1) && run.err.contains("oxctl: "), "{command}: {run:?}");
            assert!(!run.err.contains('\x1b'), "{command}: {run:?}");
        }
    }
}

#[test]
fn a_peer_that_closes_is_told_as_such() {
    for bytes in ["", "STAT a 1\r\n", "STAT a", "key=a exp=-1 la=1\r\n", "OK\r\n", "VERSION"] {
        let address = answering(bytes);
        for command in COMMANDS {
            let run = run(command, &address);
            assert!(
                run.code == Some(1) || (bytes == "OK\r\n" && run.code.is_some_and(|code| code <= 2)),
                "{command} {bytes:?}: {run:?}"
            );
        }
    }
}

#[test]
fn an_endless_line_ends_at_its_bound() {
    let address = peer(|mut stream| while stream.write_all(&[b'a'; 4096]).is_ok() {});
    for command in COMMANDS {
        run(command, &address).fails(1, "sends a line of more than 65536 bytes");
    }
}

#[test]
fn an_endless_report_ends_at_its_bound() {
    let rows = "STAT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1\r\n".repeat(1000);
    let address = peer(move |mut stream| while stream.write_all(rows.as_bytes()).is_ok() {});
    for command in ["stats", "hotkeys", "sizes", "display"] {
        // Room for the report and what it becomes, and little more.
        let limit = format!("ulimit -v 600000; exec \"$0\" {}", line(command, &address));
        let output =
            std::process::Command::new("sh").args(["-c", &limit, env!("CARGO_BIN_EXE_oxctl")]).output().unwrap();
        Run::of(output).fails(1, "bytes");
    }
}

#[test]
fn a_slow_drip_ends_at_the_timeout() {
    let address = peer(|mut stream| {
        while stream.write_all(b"STAT a 1\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for command in ["stats", "latency", "settings"] {
        run_shortly(command, &address).fails(1, "no answer");
    }
}

/// A peer that lists `keys`, and answers every other request with `reply`.
fn listing(keys: &'static str, reply: &'static str) -> String {
    peer(move |mut stream| {
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
                let reply = if line.starts_with("lru_crawler") { keys } else { reply };
                let _ = stream.write_all(reply.as_bytes());
                if !line.starts_with("lru_crawler") {
                    return;
                }
                line.clear();
            }
        });
    })
}

#[test]
fn values_that_do_not_fit_the_request_end_a_dump() {
    let dump = |keys, reply| run("dump -", &listing(keys, reply));
    let one = "key=a exp=-1 la=1\r\nEND\r\n";
    assert_eq!(dump(one, "VA 1 f7\r\nx\r\n").out, b"add a 7 0 1\r\nx\r\n");
    assert_eq!(dump(one, "EN\r\n").err, "oxctl: dumped 0 items; 1 more were gone before they were fetched\n");
    for reply in [
        "VA 1 f7\r\nxy\r\n",
        "VA 1\r\nx\r\n",
        "VA 1 7\r\nx\r\n",
        "VA x f7\r\nx\r\n",
        "VA -1 f7\r\nx\r\n",
        "VA 1 f4294967296\r\nx\r\n",
        "VA 99999999999999999999 f7\r\nx\r\n",
        "VALUE a 7 1\r\nx\r\nEND\r\n",
        "STAT\r\n",
    ] {
        let run = dump(one, reply);
        assert!(run.code == Some(1) && run.err.ends_with("the dump is incomplete\n"), "{reply:?}: {run:?}");
    }
    // The largest length there is, and a peer that closes.
    dump(one, "VA 18446744073709551615 f7\r\nxxx").fails(1, "closed the connection; the dump is incomplete");
    dump(one, "SERVER_ERROR out of memory\r\n").fails(2, "SERVER_ERROR out of memory; the dump is incomplete");
    dump("key= exp=-1\r\nEND\r\n", "END\r\n").fails(1, "");
    dump("key=a\r\nEND\r\n", "END\r\n").fails(1, "does not answer as memcached");
    run_shortly("dump -", &listing("BUSY currently processing crawler request\r\n", "")).fails(2, "BUSY");
}

#[test]
fn load_stops_where_values_could_be_taken_for_commands() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("dump");
    std::fs::write(&path, "add a 0 0 11\r\nflush_all\r\n\r\nadd b 0 0 1\r\nx\r\n").unwrap();
    let load = |reply: &str| {
        let address = answering(reply);
        Run::of(ctl(&format!("-s {address} load {}", path.display())).output().unwrap())
    };
    load("ERROR\r\n").fails(2, "refuses to store: ERROR");
    load("CLIENT_ERROR unauthenticated\r\n").fails(2, "unauthenticated");
    load("STORED\r\n").fails(1, "");
    load("HTTP/1.1 400\r\n").fails(1, "does not answer as memcached");
}

#[test]
fn mixtures_of_good_and_bad_lines_end_in_an_exit_code() {
    const PARTS: [&str; 24] = [
        "STAT pid 7",
        "STAT items:1:number 5",
        "STAT 1:total_pages 1",
        "STAT 1:chunk_size 96",
        "STAT 1:total_pages",
        "STAT 18446744073709551615:total_pages 18446744073709551615",
        "STAT get:count 1",
        "STAT get x",
        "STAT get:below_us:1 2",
        "STAT 7 us=1 key=a",
        "STAT 8 =",
        "STAT  ",
        "PREFIX a get 1",
        "ITEM a [1 b; 0 s]",
        "OK",
        "END",
        "RESET",
        "VERSION 1",
        "key=a exp=-1 la=1",
        "key=%zz exp=9 ",
        "VA 1 f0",
        "x",
        "\x1b[31m\x00\u{9b}",
        "",
    ];
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for command in COMMANDS.iter().chain(&["top --json --count 1 --interval 0.001"]) {
        for _ in 0..12 {
            let lines: Vec<&str> = (0..rng.usize(1..30)).map(|_| PARTS[rng.usize(..PARTS.len())]).collect();
            let reply = lines.join(if rng.bool() { "\r\n" } else { "\n" });
            let address = peer(move |mut stream| _ = stream.write_all(reply.as_bytes()));
            let run = run(command, &address);
            assert!(matches!(run.code, Some(0..=2)), "{command}: {lines:?}: {run:?}");
            assert!(!run.err.contains('\x1b'), "{command}: {lines:?}: {run:?}");
            assert!(*command == "keys" || !run.out.contains(&0x1b), "{command}: {lines:?}: {run:?}");
        }
    }
}
