//! Lock hold times of the chores, and the time of one step of index growth, measured in process.
//!
//! Two parts. First, a store grows from empty to GROW_ITEMS items while threads store and read. Then a full store of
//! HOLDS_MEGABYTES runs every chore concurrently for HOLDS_SECONDS. Steps and holds are in processor time of the
//! working thread; a step that took much longer by the clock had to wait for a core. `make growth` runs it.
#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used)]

#[path = "side_by_side/histogram.rs"]
#[allow(dead_code)]
mod histogram;

use fastrand::Rng;
use histogram::Histogram;
use oxcached::clock::Expiry;
use oxcached::maint::GROW_BUCKETS;
use oxcached::store::{Config, GrowthStep, Key, Meta, Mode, Move, Progress, SizeConfig, Store, Write, take_holds};
use oxcached::sys::cpu::{thread_faults, thread_ns};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Slots of one sweep step, as in `maint`.
const SWEEP_SLOTS: u32 = 1000;

/// Measured cost of one kind of work.
struct Cost {
    name: &'static str,
    cpu: Histogram,
    wall: Histogram,
    /// Lock holds of classes and pages.
    holds: Histogram,
    /// Calls above 1 ms: by the clock, by processor time, and of the latter those with a page fault.
    late: [u64; 3],
    long_holds: u64,
}

impl Cost {
    fn new(name: &'static str) -> Self {
        let [cpu, wall, holds] = [(); 3].map(|()| Histogram::new());
        Self { name, cpu, wall, holds, late: [0; 3], long_holds: 0 }
    }

    fn measure<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let (wall, faults, cpu) = (Instant::now(), thread_faults(), thread_ns());
        let result = work();
        let (cpu, wall) = (thread_ns() - cpu, wall.elapsed().as_nanos() as u64);
        // Sampled before the histograms are written, which may fault themselves.
        let faulted = thread_faults() != faults;
        self.cpu.record(cpu);
        self.wall.record(wall);
        let late = [wall > 1_000_000, cpu > 1_000_000, cpu > 1_000_000 && faulted];
        self.late.iter_mut().zip(late).for_each(|(sum, late)| *sum += u64::from(late));
        take_holds(|ns| {
            self.holds.record(ns);
            self.long_holds += u64::from(ns > 50_000);
        });
        result
    }

    fn print(&self) {
        println!(
            "{:<24} {:>9} {:>8.1} {:>8.1} {:>8.1} {:>9.1} {:>6} {:>6} {:>6} {:>10} {:>7.1} {:>7.1} {:>7.1} {:>6}",
            self.name,
            self.cpu.len(),
            self.cpu.percentile_us(0.5).unwrap_or(0.0),
            self.cpu.percentile_us(0.9999).unwrap_or(0.0),
            self.cpu.max_us(),
            self.wall.max_us(),
            self.late[0],
            self.late[1],
            self.late[2],
            self.holds.len(),
            self.holds.percentile_us(0.99).unwrap_or(0.0),
            self.holds.percentile_us(0.9999).unwrap_or(0.0),
            self.holds.max_us(),
            self.long_holds,
        );
    }
}

fn heading(what: &str) {
    println!("\n{what}; times in us");
    println!(
        "{:<24} {:>9} {:>8} {:>8} {:>8} {:>9} {:>6} {:>6} {:>6} {:>10} {:>7} {:>7} {:>7} {:>6}",
        "",
        "calls",
        "cpu p50",
        "p99.99",
        "max",
        "clock max",
        ">1 ms",
        "by cpu",
        "fault",
        "holds",
        "p99",
        "p99.99",
        "max",
        ">50"
    );
}

fn main() {
    let number = |name, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let ticks = Instant::now();
    for _ in 0..10_000 {
        std::hint::black_box(thread_ns());
    }
    println!(
        "one look at the processor time takes {} ns; a hold has one more than the work",
        ticks.elapsed().as_nanos() / 10_000
    );
    growth(number("GROW_ITEMS", 20_000_000));
    evictions(number("HOLDS_MEGABYTES", 512));
    chores(number("HOLDS_MEGABYTES", 512), number("HOLDS_SECONDS", 20));
}

fn store(megabytes: u64) -> &'static Store {
    let sizes = SizeConfig::default();
    let (maxbytes, initial_items) = (megabytes << 20, 12 << 10);
    let config = Config { sizes, maxbytes, evict: true, initial_items, may_grow: true, exact: false, precharged: 0 };
    Store::leak(&config).unwrap()
}

fn put(store: &'static Store, key: &[u8], value: &[u8], exptime: u32, now: u32) {
    let expiry = if exptime == 0 { Expiry::Never } else { Expiry::At(exptime) };
    let meta = Meta { klen: key.len(), vlen: value.len(), flags: 0, expiry, iflags: 0, cas: 0 };
    // Memory for a large value may be short.
    let Some(mut reservation) = store.reserve(&Key::new(key).unwrap(), &meta, now) else { return };
    if reservation.write(value).is_ok() {
        let write = Write::new(Mode::Set, store.next_cas());
        let _ = store.commit(reservation, &Key::new(key).unwrap(), write, now);
    }
}

fn growth(items: u64) {
    const THREADS: u64 = 2;
    const NOW: u32 = 1000;
    let store = store(items * 72 / (1 << 20) + 64);
    let (stored, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let key = |n: u64| format!("growth:{n:013}").into_bytes();
    let begun = Instant::now();
    let costs = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let (stored, done, costs) = (&stored, &done, &costs);
        let fillers: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn(move || {
                    let mut cost = Cost::new("storing");
                    for n in (number..items).step_by(THREADS as usize) {
                        let key = key(n);
                        cost.measure(|| put(store, &key, b"ten bytes.", 0, NOW));
                        stored.fetch_max(n.saturating_sub(1000), Relaxed);
                    }
                    costs.lock().unwrap().push(cost);
                })
            })
            .collect();
        scope.spawn(move || {
            let (mut cost, mut rng) = (Cost::new("reading"), Rng::with_seed(1));
            while !done.load(Relaxed) {
                let key = key(rng.u64(..stored.load(Relaxed).max(1)));
                cost.measure(|| store.visit(&Key::new(&key).unwrap(), NOW, |entry| entry.bump(NOW)));
                thread::sleep(Duration::from_micros(20));
            }
            costs.lock().unwrap().push(cost);
        });
        scope.spawn(move || touch(store, done, costs));
        scope.spawn(move || {
            let names = [
                "whether to grow",
                "begin to grow",
                "a step",
                "a step of one bucket",
                "the last step",
                "tending",
                "memory for buckets",
                "a spin of 50 us",
            ];
            let mut kinds = names.map(Cost::new);
            let (mut step, mut tended) = (0_u64, Instant::now());
            while !done.load(Relaxed) {
                let was_growing = store.index_view().0;
                step += 1;
                let buckets = if step.is_multiple_of(64) { 1 } else { GROW_BUCKETS };
                // The kind of the step is known only afterwards.
                let mut cost = Cost::new("");
                let step = cost.measure(|| store.grow_step(buckets));
                let kind = match (was_growing, step) {
                    (false, GrowthStep::Over) => 0,
                    (false, _) if store.index_view().0 => 1,
                    (false, _) => 6,
                    (true, GrowthStep::Over) => 4,
                    (true, GrowthStep::Memory) => 6,
                    (true, GrowthStep::Buckets) if buckets == 1 => 3,
                    (true, GrowthStep::Buckets) => 2,
                };
                kinds[kind].take(&cost);
                if kind == 2 {
                    // Baseline of the machine for work that touches no memory.
                    kinds[7].measure(spin);
                }
                if tended.elapsed() > Duration::from_secs(1) {
                    tended = Instant::now();
                    kinds[5].measure(|| store.tend(NOW));
                }
                if kind == 0 {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            costs.lock().unwrap().extend(kinds);
        });
        fillers.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Relaxed);
    });
    let (growing, bytes, slots) = store.index_view();
    heading("growth");
    costs.lock().unwrap().iter().for_each(Cost::print);
    println!(
        "{} items in {:.0} s, {slots} slots, {} MiB of index, growing: {growing}",
        store.items(),
        begun.elapsed().as_secs_f64(),
        bytes >> 20
    );
}

fn spin() {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(50) {
        std::hint::spin_loop();
    }
}

/// Threads store new small keys into full memory, and read `reads` others for each.
fn evictions(megabytes: u64) {
    const NOW: u32 = 1000;
    const SETS: u64 = 100_000;
    heading("evictions");
    let store = store(megabytes);
    let next = &AtomicU64::new(0);
    let key = |n: u64| format!("evict:{n:014}").into_bytes();
    let set = |n: u64| put(store, &key(n), b"ten bytes.", 0, NOW);
    while !store.is_full() {
        (0..1000).for_each(|_| set(next.fetch_add(1, Relaxed)));
        while store.grow_step(GROW_BUCKETS) != GrowthStep::Over {}
    }
    let kept = store.items();
    for (name, hot_pct, reads) in [
        ("ring adapts, 1 read", None, 1),
        ("ring adapts, 8 reads", None, 8),
        ("ring of 1 %, 1 read", Some(1), 1),
        ("ring of 1 %, 8 reads", Some(1), 8),
        ("ring of 80 %, 1 read", Some(80), 1),
        ("ring of 80 %, 8 reads", Some(80), 8),
    ] {
        store.set_hot_pct(hot_pct);
        let costs = Mutex::new(Cost::new(name));
        thread::scope(|scope| {
            for number in 0..2 {
                let costs = &costs;
                scope.spawn(move || {
                    let (mut cost, mut rng) = (Cost::new(name), Rng::with_seed(number));
                    for _ in 0..SETS {
                        let n = next.fetch_add(1, Relaxed);
                        for _ in 0..reads {
                            let key = key(n.saturating_sub(rng.u64(..kept)));
                            let _ = store.visit(&Key::new(&key).unwrap(), NOW, |entry| entry.bump(NOW));
                        }
                        cost.measure(|| set(n));
                    }
                    costs.lock().unwrap().take(&cost);
                });
            }
        });
        costs.lock().unwrap().print();
    }
}

impl Cost {
    /// Merges the measurements of `other`.
    fn take(&mut self, other: &Self) {
        self.cpu.merge(&other.cpu);
        self.wall.merge(&other.wall);
        self.holds.merge(&other.holds);
        self.late.iter_mut().zip(other.late).for_each(|(sum, more)| *sum += more);
        self.long_holds += other.long_holds;
    }
}

fn chores(megabytes: u64, seconds: u64) {
    let store = store(megabytes);
    let now = &AtomicU32::new(1000);
    let (done, costs) = (&AtomicBool::new(false), &Mutex::new(Vec::new()));
    let begun = Instant::now();
    thread::scope(|scope| {
        for number in 0..2 {
            scope.spawn(move || load(store, Rng::with_seed(number), now, done, costs));
        }
        scope.spawn(move || touch(store, done, costs));
        scope.spawn(move || {
            // Waits until the store is full.
            while !store.is_full() && !done.load(Relaxed) {
                store.grow_step(GROW_BUCKETS);
            }
            sweep_and_tend(store, now, done, costs);
        });
        scope.spawn(move || {
            while !store.is_full() && !done.load(Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
            move_pages(store, now, done, costs);
        });
        while begun.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_millis(100));
            now.fetch_add(1, Relaxed); // ten times real time
        }
        done.store(true, Relaxed);
    });
    heading("all chores");
    costs.lock().unwrap().iter().for_each(Cost::print);
    let evicted: u64 = store.classes(now.load(Relaxed)).iter().map(|class| class.counts.evicted).sum();
    println!("{} items, {evicted} evicted, {} index slots", store.items(), store.index_view().2);
}

fn load(store: &'static Store, mut rng: Rng, now: &AtomicU32, done: &AtomicBool, costs: &Mutex<Vec<Cost>>) {
    let (mut sets, mut gets) = (Cost::new("storing"), Cost::new("reading"));
    let value = vec![b'v'; 900_000];
    while !done.load(Relaxed) {
        let space = if rng.bool() { 50_000 } else { 8_000_000 };
        let key = format!("holds:{}", rng.u32(..space)).into_bytes();
        let now = now.load(Relaxed);
        if rng.u8(..4) == 0 {
            let _ = gets.measure(|| store.visit(&Key::new(&key).unwrap(), now, |entry| entry.bump(now)));
            continue;
        }
        let len = match rng.u32(..10_000) {
            0..9000 => rng.usize(1..200),
            9000..9900 => rng.usize(200..4000),
            9900..9998 => rng.usize(4000..60_000),
            _ => rng.usize(300_000..900_000),
        };
        let exptime = if rng.u8(..4) == 0 { now + rng.u32(1..30) } else { 0 };
        sets.measure(|| put(store, &key, &value[..len], exptime, now));
    }
    costs.lock().unwrap().extend([sets, gets]);
}

/// Touches pages ahead of use.
fn touch(store: &'static Store, done: &AtomicBool, costs: &Mutex<Vec<Cost>>) {
    let mut cost = Cost::new("touching pages");
    store.touch_from_here();
    while !done.load(Relaxed) {
        if !cost.measure(|| store.touch_ahead()) {
            thread::park_timeout(Duration::from_millis(50));
        }
    }
    costs.lock().unwrap().push(cost);
}

fn sweep_and_tend(store: &'static Store, now: &AtomicU32, done: &AtomicBool, costs: &Mutex<Vec<Cost>>) {
    let names = ["tending", "a step of the sweep", "stats", "growth", "flat or not", "20 us of nothing"];
    let mut kinds = names.map(Cost::new);
    let mut walk = store.begin_walk(u64::MAX << 1);
    let mut rng = Rng::with_seed(3);
    while !done.load(Relaxed) {
        let now = now.load(Relaxed);
        kinds[0].measure(|| store.tend(now));
        for _ in 0..10 {
            let over = kinds[1].measure(|| store.sweep(&mut walk, SWEEP_SLOTS, now, |_, _| true));
            if over {
                walk = store.begin_walk(u64::MAX << 1);
            }
            kinds[3].measure(|| store.grow_step(GROW_BUCKETS));
        }
        drop(kinds[2].measure(|| store.classes(now)));
        // Baseline of the machine for a thread without locks: interrupts count as its time.
        let begun = Instant::now();
        kinds[5].measure(|| while begun.elapsed() < Duration::from_micros(20) {});
        if rng.u16(..1000) == 0 {
            kinds[4].measure(|| store.set_flat(rng.bool()));
        }
        thread::sleep(Duration::from_micros(200));
    }
    costs.lock().unwrap().extend(kinds);
}

fn move_pages(store: &'static Store, now: &AtomicU32, done: &AtomicBool, costs: &Mutex<Vec<Cost>>) {
    let [mut begin, mut step, mut cancel] =
        ["begin to move a page", "a slice of a move", "give a move up"].map(Cost::new);
    let (mut rng, mut job, mut moved): (_, Option<Move>, _) = (Rng::with_seed(4), None, 0);
    while !done.load(Relaxed) {
        let largest = store.sizes().largest();
        let Some(current) = &mut job else {
            let src = rng.usize(0..=largest);
            job = begin.measure(|| store.begin_move(src, rng.usize(0..=largest)));
            continue;
        };
        match step.measure(|| store.step_move(current, now.load(Relaxed))) {
            Progress::Done => (job, moved) = (None, moved + 1),
            Progress::More if rng.u16(..5000) != 0 => {}
            Progress::Waits if rng.u8(..50) != 0 => thread::sleep(Duration::from_micros(50)),
            _ => job.take().into_iter().for_each(|job| cancel.measure(|| store.cancel_move(job))),
        }
    }
    job.into_iter().for_each(|job| store.cancel_move(job));
    costs.lock().unwrap().extend([begin, step, cancel]);
    println!("{moved} pages moved");
}
