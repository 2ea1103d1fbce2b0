//! Owns the table of ends: the time from SIGTERM and from SIGUSR1 to the end of a server, with connections in every
//! state and with each kind of hostile client. Called by `main`.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use socket2::Socket;

use crate::admin::Admin;
use crate::guard::Guarded;
use crate::hostile::{self, Doors};
use crate::kinds::{Door, KINDS, Kind};
use crate::server::Target;
use crate::{LIVENESS, Outcome, Phase, Run, start_of, target};

const SIGNALS: [&str; 2] = ["TERM", "USR1"];

/// Expected maximum; a slower row is marked. Only a server that does not end at all is a fault.
const EXPECTED: Duration = Duration::from_secs(1);

/// Time that hostile clients work before the signal.
const ATTACK: Duration = Duration::from_secs(2);

/// Clients of each kind, and the maximum time until they reach their state.
const CLIENTS: u64 = 8;
const ARRIVAL: Duration = Duration::from_secs(5);

pub fn measure(memcached: bool) -> Outcome<bool> {
    let target = target(memcached)?;
    println!("{:<22} {:<13} {:>12} {:>12}", "beside 8 clients:", "stats conns", "SIGTERM, ms", "SIGUSR1, ms");
    let mut good = true;
    for kinds in KINDS.iter().map(std::slice::from_ref).chain([&KINDS[..]]) {
        if memcached && kinds.iter().all(|kind| kind.door != Door::Plain) {
            continue;
        }
        let name = if kinds.len() == 1 { kinds[0].name } else { "all of them" };
        let mut cells = Vec::new();
        let mut states = String::new();
        for signal in SIGNALS {
            let (seen, time) = end_beside(&target, kinds, signal)?;
            states = seen;
            good &= time.is_some();
            cells.push(cell(time));
        }
        println!("{name:<22} {states:<13} {:>12} {:>12}", cells[0], cells[1]);
    }
    let mut cells = Vec::new();
    for signal in SIGNALS {
        let time = end_under_attack(&target, memcached, signal)?;
        good &= time.is_some();
        cells.push(cell(time));
    }
    println!("{:<22} {:<13} {:>12} {:>12}", "64 of them at work", "", cells[0], cells[1]);
    println!("{}", if good { "every server ended" } else { "A SERVER DID NOT END" });
    Ok(good)
}

fn cell(time: Option<Duration>) -> String {
    time.map_or("never".to_owned(), |time| {
        let late = if time > EXPECTED { " late" } else { "" };
        format!("{:.0}{late}", time.as_secs_f64() * 1e3)
    })
}

/// Runs hostile clients and datagrams for a while, then sends the signal.
fn end_under_attack(target: &Target, memcached: bool, signal: &str) -> Outcome<Option<Duration>> {
    let mut server = start_of(target, "127.0.0.1", 64, &[])?;
    let mut guarded = if memcached { None } else { Some(Guarded::start(target)?) };
    let doors = hostile::doors(&server, guarded.as_ref().map(|guarded| &guarded.server));
    let udp_port = server.udp_port();
    let run = Run::new(ATTACK, memcached)?;
    run.enter(Phase::Hostile);
    thread::scope(|scope| {
        scope.spawn(|| hostile::attack(&run, &doors, 64, 1));
        scope.spawn(|| hostile::noise(&run, udp_port, 2));
        run.pass(ATTACK);
        let ended = server.end_by(signal, LIVENESS);
        let other = guarded.as_mut().map(|guarded| guarded.server.end_by(signal, LIVENESS));
        run.enter(Phase::End);
        let (ended, other) = (ended?, other.transpose()?);
        Ok(other.map_or(ended, |other| ended.zip(other).map(|(one, other)| one.max(other))))
    })
}

/// Sends the signal to a server with clients of `kinds` in their states. Returns the states and the time to the end.
fn end_beside(target: &Target, kinds: &[Kind], signal: &str) -> Outcome<(String, Option<Duration>)> {
    let needs_guard =
        kinds.iter().any(|kind| matches!(kind.door, Door::Login | Door::Tls)) && target.name == "oxcached";
    let guarded = if needs_guard { Some(Guarded::start(target)?) } else { None };
    let mut server = start_of(target, "127.0.0.1", 64, &[])?;
    let doors = hostile::doors(&server, guarded.as_ref().map(|guarded| &guarded.server));
    let clients = arrive(kinds, &doors)?;
    let mut states = String::new();
    if let [kind] = kinds
        && let Some(shown) = kind.shown
    {
        let mut admin = match (&guarded, kind.door) {
            (Some(guarded), Door::Login | Door::Tls) => guarded.admin()?,
            _ => Admin::new(&server)?,
        };
        let begun = Instant::now();
        let mut count = 0;
        while count < CLIENTS as usize && begun.elapsed() < ARRIVAL {
            let lines = admin.ask_for_lines("stats conns")?;
            count = lines.iter().filter(|line| line.ends_with(&format!(":state {shown}"))).count();
            thread::sleep(Duration::from_millis(5));
        }
        states = if count >= CLIENTS as usize { shown.to_owned() } else { format!("{count} {shown}") };
    }
    let mut time = server.end_by(signal, LIVENESS)?;
    if let Some(mut guarded) = guarded {
        let other = guarded.server.end_by(signal, LIVENESS)?;
        time = time.zip(other).map(|(one, other)| one.max(other));
    }
    drop(clients);
    Ok((states, time))
}

/// Clients that have sent everything their server accepts.
fn arrive(kinds: &[Kind], doors: &Doors) -> Outcome<Vec<Socket>> {
    let mut rng = Rng::with_seed(1);
    let mut clients = Vec::new();
    for kind in kinds {
        let Some(port) = hostile::port(doors, kind) else { continue };
        for number in 0..CLIENTS {
            clients.push((hostile::connect(port, number)?, (kind.words)(&mut rng), Instant::now()));
        }
    }
    // All send concurrently; a client is done when no bytes were accepted for a while, or it was closed.
    while clients.iter().any(|(_, words, moved)| !words.is_empty() && moved.elapsed() < Duration::from_millis(200)) {
        for (socket, words, moved) in clients.iter_mut().filter(|(_, words, _)| !words.is_empty()) {
            match socket.write(words) {
                Ok(n) => {
                    words.drain(..n);
                    *moved = Instant::now();
                }
                Err(problem) if problem.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => words.clear(),
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(clients.into_iter().map(|(socket, ..)| socket).collect())
}
