//! Owns the measurement of growth from outside: a server fills from empty while a client gets one key every
//! millisecond. `benches/holds.rs` measures the cost of a growth step in process. Called by `main`.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::{Outcome, number, print, start, wire};

/// Keys stored by each filling client between two reads of the clock.
const PORTION: u32 = 10_000;
const FILLERS: usize = 2;

/// Value length in bytes.
const VALUE: usize = 10;

/// Pause of the probing client.
const PROBE: Duration = Duration::from_millis(1);

pub fn measure(memcached: bool) -> Outcome<bool> {
    let items = u32::try_from(number("GROW_ITEMS", 20_000_000)?)?.clamp(1, 89_000_000);
    // 20 bytes of key and 10 of value take 56; the rest is slack, since no item may be evicted.
    let memory = u64::from(items) * 72 / (1 << 20) + 64;
    println!("{items} items into -m {memory}, from an index for 2^13 buckets");
    let server = start(memcached, memory)?;
    // Number of keys up to which each filling client has completed its portions.
    let (filled, done) = ([const { AtomicU32::new(0) }; FILLERS], AtomicBool::new(false));
    let begun = Instant::now();
    let (alone, probed, gets) = thread::scope(|scope| -> Outcome<_> {
        let mut alone = Histogram::new();
        let mut stream = server.connect()?;
        let still = Instant::now();
        while still.elapsed() < Duration::from_secs(5) {
            probe(&mut stream, 0, &mut alone)?;
        }
        let done_ref = &done;
        let probing = scope.spawn(move || -> Outcome<Histogram> {
            let mut latency = Histogram::new();
            while !done_ref.load(SeqCst) {
                probe(&mut stream, 0, &mut latency)?;
            }
            Ok(latency)
        });
        let getting = scope.spawn(|| -> Outcome<u64> {
            let mut stream = server.connect()?;
            let mut gets = 0;
            while !done.load(SeqCst) {
                let by_all = filled.iter().map(|filled| filled.load(SeqCst)).min().unwrap_or(0);
                gets += get_some(&mut stream, by_all)?;
            }
            Ok(gets)
        });
        let fillers: Vec<_> = (0..FILLERS)
            .map(|filler| {
                let (server, filled) = (&server, &filled);
                scope.spawn(move || -> Outcome<()> {
                    let mut stream = server.connect()?;
                    let mut from = filler as u32 * PORTION;
                    while from < items {
                        wire::fill(&mut stream, from, items.min(from + PORTION), VALUE)?;
                        from += PORTION * FILLERS as u32;
                        filled[filler].store(from.min(items), SeqCst);
                    }
                    Ok(())
                })
            })
            .collect();
        let ended = fillers.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?);
        let ended = ended.collect::<Outcome<Vec<()>>>();
        thread::sleep(Duration::from_millis(500)); // the last growth may be in progress
        done.store(true, SeqCst);
        ended?;
        let join = "a thread panicked";
        Ok((alone, probing.join().map_err(|_| join)??, getting.join().map_err(|_| join)??))
    })?;
    let stats = wire::stats(&mut server.connect()?)?;
    println!("filled in {:.0} s, {gets} gets beside it", begun.elapsed().as_secs_f64());
    println!("{:<26} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8}", "", "requests", "p50", "p99", "p99.9", "p99.99", "max, us");
    print("probe, idle server", &alone);
    print("probe, filling", &probed);
    for name in ["curr_items", "evictions", "hash_power_level", "hash_bytes"] {
        print!("{name} {}  ", stats.get(name).map_or("-", String::as_str));
    }
    println!("RSS {} MiB", server.rss_bytes()? >> 20);
    Ok(wire::number(&stats, "curr_items")? == u64::from(items))
}

fn probe(stream: &mut std::net::TcpStream, key: u32, latency: &mut Histogram) -> Outcome<()> {
    let request = format!("get {}\r\n", wire::key(key));
    let begun = Instant::now();
    stream.write_all(request.as_bytes())?;
    let mut reply = Vec::new();
    let mut part = [0; 256];
    while !reply.ends_with(b"END\r\n") {
        match stream.read(&mut part)? {
            0 => return Err("the server closed the connection".into()),
            n => reply.extend_from_slice(&part[..n]),
        }
    }
    latency.record(begun.elapsed().as_nanos() as u64);
    thread::sleep(PROBE);
    Ok(())
}

/// A batch of gets of keys below `filled`, all of which must hit.
fn get_some(stream: &mut std::net::TcpStream, filled: u32) -> Outcome<u64> {
    const BATCH: u64 = 16;
    if filled == 0 {
        thread::sleep(PROBE);
        return Ok(0);
    }
    let keys: Vec<String> = (0..BATCH).map(|_| wire::key(fastrand::u32(..filled))).collect();
    stream.write_all(format!("get {}\r\n", keys.join(" ")).as_bytes())?;
    let (mut reply, mut part) = (Vec::new(), [0; 4096]);
    while !reply.ends_with(b"END\r\n") {
        match stream.read(&mut part)? {
            0 => return Err("the server closed the connection".into()),
            n => reply.extend_from_slice(&part[..n]),
        }
    }
    let hits = reply.windows(6).filter(|window| window == b"VALUE ").count() as u64;
    if hits != BATCH {
        return Err(format!("{} of {BATCH} keys are missing", BATCH - hits).into());
    }
    Ok(BATCH)
}
