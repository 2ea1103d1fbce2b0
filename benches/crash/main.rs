//! Crash test of the durable copy: clients that note what was acknowledged, a server that is killed at random moments,
//! and a comparison after each restart.
//!
//! Owns the course of a run and the verdict. Called by `make crash`; the environment sets its length. Fails if an
//! acknowledged change is lost, if a value comes back that was deleted, flushed or replaced before a change that was
//! acknowledged, if a reply is wrong while the server runs, or if SQLite finds the file damaged.

mod client;
mod history;
mod server;

use client::{Client, KEYS};
use history::Window;
use server::Server;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Result of every fallible step here: it is only printed.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Clients, each with keys of its own.
const CLIENTS: usize = 16;
/// Longest life of a server, in milliseconds.
const LIFE_MAX: u64 = 400;
/// A flush comes before every so many kills.
const FLUSH_EVERY: u64 = 7;

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            println!("crash: {faults} faults");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}

fn setting<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn run() -> Outcome<u64> {
    let rounds: u64 = setting("CRASH_ROUNDS", 100);
    let durability = setting("CRASH_DURABILITY", "sync".to_owned());
    let seed: u64 = setting("CRASH_SEED", fastrand::u64(..));
    let program = setting("OXCACHED_BIN", "target/release/oxcached".to_owned());
    println!("crash: {rounds} kills, durability={durability}, seed {seed}, {program}");
    fastrand::seed(seed);
    let window = Window::of(&durability)?;
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("items.db");
    let mut clients: Vec<Client> = (0..CLIENTS).map(|number| Client::new(number, fastrand::u64(..))).collect();
    let (mut faults, mut operations, mut in_doubt) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    for round in 1..=rounds {
        let begun = Instant::now();
        let server = Server::start(&program, folder.path(), &store, &durability)?;
        slowest = slowest.max(begun.elapsed());
        let mut checks = 0;
        for client in &mut clients {
            let (bad, doubtful) = client.check(server.socket(), window)?;
            faults += bad;
            in_doubt += doubtful;
            checks += KEYS;
        }
        if round % FLUSH_EVERY == 0 {
            client::flush(server.socket())?;
            clients.iter_mut().for_each(Client::was_flushed);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let running: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let (socket, stop) = (server.socket().to_owned(), Arc::clone(&stop));
                thread::spawn(move || {
                    let ran = client.run(&socket, &stop);
                    (client, ran)
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(fastrand::u64(1..=LIFE_MAX)));
        let killed_at = server.kill()?;
        stop.store(true, SeqCst);
        clients = Vec::new();
        for thread in running {
            let (mut client, ran) = thread.join().map_err(|_| "a client has panicked")?;
            let (ran, bad) = ran?;
            operations += ran;
            faults += bad;
            client.was_killed(killed_at);
            clients.push(client);
        }
        faults += damage(&store)?;
        if faults > 0 || round % 50 == 0 {
            println!("crash: round {round}: {operations} acknowledged, {checks} keys compared, {faults} faults");
        }
        if faults > 20 {
            break;
        }
    }
    println!(
        "crash: {rounds} kills, {operations} changes acknowledged, {in_doubt} in doubt, {faults} faults; slowest start {} ms",
        slowest.as_millis()
    );
    Ok(faults)
}

/// What SQLite says of the file, in the state that the kill left.
fn damage(store: &Path) -> Outcome<u64> {
    if !store.exists() {
        return Ok(0); // killed before it was made
    }
    let file = rusqlite::Connection::open(store)?;
    let verdict: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(0);
    }
    println!("crash: integrity_check: {verdict}");
    Ok(1)
}
