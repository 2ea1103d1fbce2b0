//! Owns two measurements of what clients leave behind: very many that connect, get one value and close, and one that
//! requests far more than it reads. Called by `main`.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::histogram::Histogram;
use crate::server::Server;
use crate::vitals::Vitals;
use crate::{Outcome, hostile, number, print, start};

/// Growth of resident memory that is not a leak: the allocator's, and pages touched for the first time.
const GROWTH_MAX: u64 = 16 << 20;

/// The value that is requested repeatedly, and how often: 10 GB.
const VALUE: usize = 1_000_000;
const ASKED: usize = 10_000;

/// Maximum cost of one such client: its unsent replies; socket buffers belong to the kernel.
const GREEDY_MAX: u64 = 32 << 20;

/// Connections that each get one value and close, one after the other; samples what the server holds.
pub fn churn(memcached: bool) -> Outcome<bool> {
    let total = number("TORTURE_CHURN", 1_000_000)?.max(10);
    let server = start(memcached, 64)?;
    let mut admin = Admin::new(&server)?;
    admin.ask("set key 0 0 5\r\nvalue")?;
    let idle = Vitals::of(&server, &mut admin)?;
    // The first connections fault in memory that is touched once.
    (0..total / 10).try_for_each(|count| get_and_close(&server, count))?;
    let (base, mut problems) = Vitals::back(&server, &mut admin, &idle, true)?;
    println!("{:>10}  {base}", total / 10);
    let begun = Instant::now();
    for tenth in 1..10 {
        let (from, to) = (total / 10 * tenth, total / 10 * (tenth + 1));
        (from..to).try_for_each(|count| get_and_close(&server, count))?;
        let (now, left) = Vitals::back(&server, &mut admin, &base, true)?;
        println!("{to:>10}  {now}");
        problems.extend(left);
        if now.rss > base.rss + GROWTH_MAX {
            problems.push(format!("resident bytes grew by {}", now.rss - base.rss));
        }
    }
    println!("{:.0} connections a second", (total / 10 * 9) as f64 / begun.elapsed().as_secs_f64());
    Ok(verdict(&problems))
}

fn verdict(problems: &[String]) -> bool {
    problems.iter().for_each(|problem| eprintln!("FAULT: {problem}"));
    println!("{}", if problems.is_empty() { "flat: no fault" } else { "FAULTS" });
    problems.is_empty()
}

fn get_and_close(server: &Server, number: u64) -> Outcome<()> {
    let socket = hostile::connect(server.port(), number)?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"get key\r\n")?;
    let mut replies = BufReader::with_capacity(64, stream);
    let mut line = String::new();
    while line != "END\r\n" {
        line.clear();
        if replies.read_line(&mut line)? == 0 {
            return Err(format!("connection {number} was closed").into());
        }
    }
    Ok(())
}

/// One client requests 10 GB and reads nothing; measures another one's latencies before, meanwhile and after.
pub fn greedy(memcached: bool) -> Outcome<bool> {
    let seconds = Duration::from_secs(number("TORTURE_SECONDS", 15)?.max(3)) / 3;
    let server = start(memcached, 64)?;
    let mut admin = Admin::new(&server)?;
    admin.ask(&format!("set big 0 0 {VALUE}\r\n{}", "x".repeat(VALUE)))?;
    admin.ask("set key 0 0 5\r\nvalue")?;
    println!("{:<26} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8}", "", "gets", "p50", "p99", "p99.9", "p99.99", "max, us");
    let before = latencies(&mut admin, seconds)?;
    let base = Vitals::of(&server, &mut admin)?;
    print("control", &before);
    let over = AtomicBool::new(false);
    let mut peak = base;
    thread::scope(|scope| -> Outcome<()> {
        let client = scope.spawn(|| ask_and_never_read(&server, &over));
        let done = (|| {
            let end = Instant::now() + seconds;
            let mut beside = Histogram::new();
            while Instant::now() < end {
                beside.merge(&latencies(&mut admin, Duration::from_millis(200))?);
                let now = Vitals::of(&server, &mut admin)?;
                if now.rss >= peak.rss {
                    peak = now;
                }
            }
            print("beside 10 GB not read", &beside);
            Ok(())
        })();
        over.store(true, Relaxed);
        let sent = client.join().map_err(|_| "the greedy client's thread panicked")??;
        println!("\nrequests taken: {sent} bytes of {}", ASKED * 9);
        done
    })?;
    print("after it", &latencies(&mut admin, seconds)?);
    let (after, mut problems) = Vitals::back(&server, &mut admin, &base, true)?;
    println!("before  {base}\nbeside  {peak}\nafter   {after}");
    let growth = peak.rss.saturating_sub(base.rss);
    println!("RSS grew by {} KiB, at most {} KiB expected", growth >> 10, GREEDY_MAX >> 10);
    if growth > GREEDY_MAX {
        problems.push(format!("resident bytes grew by {growth}"));
    }
    Ok(verdict(&problems))
}

fn latencies(admin: &mut Admin, time: Duration) -> Outcome<Histogram> {
    let mut latency = Histogram::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let begun = Instant::now();
        admin.ask_for_lines("get key")?;
        latency.record(begun.elapsed().as_nanos() as u64);
        thread::sleep(Duration::from_micros(200));
    }
    Ok(latency)
}

/// Returns the number of request bytes that the server accepted.
fn ask_and_never_read(server: &Server, over: &AtomicBool) -> Outcome<usize> {
    let mut socket = hostile::connect(server.port(), 0)?;
    let words = b"get big\r\n".repeat(ASKED);
    let mut sent = 0;
    while !over.load(Relaxed) {
        match socket.write(&words[sent..]) {
            Ok(n) => sent += n,
            Err(problem) if problem.kind() == ErrorKind::WouldBlock => {}
            Err(problem) => return Err(problem.into()),
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(sent)
}
