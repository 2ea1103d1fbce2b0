//! A server in one thread under a seeded scheduler.
//!
//! One store, several "threads": each is a `Shared` over the store, with its own clock, counters and magazines.
//! Actors (clients, chores, the mover, the operator, time, crashes) take steps in an order that the seed decides, and
//! at the points of `oxcached::point` others interleave. The same seed gives the same run.
//!
//! Owns the schedule and every actor that is neither a client nor a background thread; `model` decides what is right.

use super::background::Background;
use super::client::{Client, Kind};
use super::model::Model;
use super::plan::Plan;
use oxcached::clock::{Clock, START};
use oxcached::maint::restart::{self, Memory};
use oxcached::point::{Point, set_hook};
use oxcached::proto::{Cx, Input, Output, Protocol, Session, Shared, Step, size_config};
use oxcached::settings::{Action, Settings, parse};
use oxcached::store::{Config, Move, Progress, Sizes, Store, Walk, act_as};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// Unix time of relative time 0.
pub const UNIX: i64 = 1_000_000_000;

/// Threads that serve clients.
pub const THREADS: usize = 3;
const CLIENTS: usize = 8;
const KEYS: usize = 60;
const DAY: u32 = 24 * 60 * 60;

/// Maximum lag of a thread's time in seconds.
pub const LAG_MAX: u32 = 2 * DAY;

/// Upper bound for relative times: absolute expiry times are 32 bits wide.
const LATEST_MAX: u32 = 1_500_000_000;

/// One thread of the server.
pub struct Thread {
    pub shared: Arc<Shared>,
    number: usize,
}

impl Thread {
    fn new(store: &'static Store, settings: &Settings, number: usize, (now, origin): (u32, i64)) -> Self {
        let clock = Clock::manual(origin);
        clock.advance(i64::from(now) - i64::from(START));
        let shared = Shared::over(store, settings.clone(), clock, Box::new(|_| ()));
        Self { shared: Arc::new(shared), number }
    }

    pub fn now(&self) -> u32 {
        self.shared.clock.now()
    }

    fn set(&self, now: u32) {
        self.shared.clock.advance(i64::from(now.max(self.now())) - i64::from(self.now()));
    }
}

pub struct World {
    pub plan: Plan,
    pub threads: Vec<Thread>,
    pub model: Model,
    store: &'static Store,
    settings: Settings,
    rng: RefCell<fastrand::Rng>,
    /// `None` during a step.
    clients: Vec<RefCell<Option<Client>>>,
    /// The true time.
    pub now: Rc<Cell<u32>>,
    step: Cell<u32>,
    last_pass: Cell<u32>,
    background: Option<Background>,
    walk: RefCell<Option<Walk>>,
    job: RefCell<Option<Move>>,
    /// The thread that works now.
    acting: Cell<Option<usize>>,
    names: Vec<Vec<u8>>,
    files: Option<(tempfile::TempDir, Cell<u32>)>,
    versions: Cell<u64>,
    serial: Cell<u32>,
    /// Nothing may interleave.
    alone: Cell<bool>,
}

fn settings(args: &str) -> Settings {
    let words = std::iter::once("oxcached").chain(args.split_ascii_whitespace());
    match parse(words.map(Into::into)).unwrap() {
        Action::Run(settings) => *settings,
        other => panic!("{other:?}"),
    }
}

fn clients() -> Vec<RefCell<Option<Client>>> {
    let kinds = [Kind::Lines, Kind::Packets, Kind::Lines, Kind::Packets, Kind::Datagrams];
    (0..CLIENTS).map(|n| RefCell::new(Some(Client::new(n % THREADS, kinds[n % kinds.len()])))).collect()
}

impl World {
    fn new(plan: &Plan) -> Self {
        let settings = settings(&plan.args);
        let files = plan.in_file.then(|| (tempfile::tempdir().unwrap(), Cell::new(0)));
        let (store, now) = match &files {
            None => {
                let config = Config {
                    sizes: size_config(&settings),
                    maxbytes: settings.maxbytes,
                    evict: settings.evict_to_free,
                    initial_items: plan.initial_items,
                    may_grow: true,
                    exact: false,
                    precharged: 0,
                };
                (Store::leak(&config).unwrap(), START)
            }
            Some((dir, _)) => open(dir.path().join("0"), &settings, (UNIX + i64::from(START), UNIX)),
        };
        store.skip_ids(plan.skipped);
        store.skip_flushes(plan.flushes);
        let threads: Vec<_> = (0..THREADS).map(|number| Thread::new(store, &settings, number, (now, UNIX))).collect();
        let mut rng = fastrand::Rng::with_seed(plan.seed ^ 0x5eed);
        let names = (0..KEYS)
            .map(|n| {
                let mut name = format!("key{n}").into_bytes();
                if n % 5 == 0 {
                    name.resize(rng.usize(name.len()..=250), b'k');
                }
                name
            })
            .collect();
        Self {
            plan: plan.clone(),
            background: plan.paced.map(|look| Background::new(store, &threads[0].shared, look)),
            threads,
            model: Model::new(UNIX, plan.vanishing, plan.short, plan.trace),
            store,
            settings,
            rng: RefCell::new(rng),
            clients: clients(),
            now: Rc::new(Cell::new(now)),
            step: Cell::new(0),
            last_pass: Cell::new(now),
            walk: RefCell::new(None),
            job: RefCell::new(None),
            acting: Cell::new(None),
            names,
            files,
            versions: Cell::new(0),
            serial: Cell::new(0),
            alone: Cell::new(false),
        }
    }

    /// Prints an event other than a command, if tracing is on.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        if self.plan.trace {
            println!("  {}: [{what}]", self.now.get());
        }
    }

    pub fn below(&self, n: usize) -> usize {
        self.rng.borrow_mut().usize(..n.max(1))
    }

    /// True once in `n` times.
    pub fn chance(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn choice<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub fn latest(&self) -> u32 {
        self.now.get()
    }

    /// Whether time may not advance further.
    pub fn is_at_end(&self) -> bool {
        self.now.get() > LATEST_MAX
    }

    pub fn place(&self) -> String {
        format!("seed {} step {}", self.plan.seed, self.step.get())
    }

    pub fn store(&self) -> &'static Store {
        self.store
    }

    /// A number unique among requests.
    pub fn serial(&self) -> u32 {
        self.serial.set(self.serial.get().wrapping_add(1));
        self.serial.get()
    }

    /// Activity fingerprint of all threads: see `Shared::news`.
    pub fn news(&self) -> u64 {
        self.threads
            .iter()
            .fold(0u64, |all, thread| (all.rotate_left(9) ^ thread.shared.news()).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn key(&self) -> Vec<u8> {
        // A few keys are popular.
        let among = if self.chance(2) { 4 } else { KEYS };
        self.names[self.below(among)].clone()
    }

    /// A unique value, of a size at which layouts change.
    pub fn value(&self, key: &[u8]) -> Vec<u8> {
        let len = match self.below(100) {
            0..30 => return self.below(2_000_000).to_string().into_bytes(),
            30..60 => self.below(60),
            60..75 => *self.choice(&[222, 223, 224, 4095, 4096, 4097]),
            75..90 => self.below(2000),
            90..98 => self.below(20_000),
            _ => self.below(300_000),
        };
        self.value_of(key, len)
    }

    /// A unique value of `len` bytes.
    pub fn value_of(&self, key: &[u8], len: usize) -> Vec<u8> {
        self.versions.set(self.versions.get() + 1);
        let mut value = format!("{}:{}:", self.versions.get(), key.len()).into_bytes();
        let mut fill = self.versions.get().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        while value.len() < len {
            fill = fill.rotate_left(7).wrapping_mul(5).wrapping_add(1);
            value.push(b'a' + (fill >> 40) as u8 % 26);
        }
        value.truncate(len);
        value
    }

    /// Runs `work` as `thread`.
    pub fn act<R>(&self, thread: usize, work: impl FnOnce() -> R) -> R {
        let before = self.acting.replace(Some(thread));
        act_as(Some(40 + thread), self.below(3) > 0);
        let result = work();
        self.acting.set(before);
        act_as(before.map(|thread| 40 + thread), false);
        result
    }

    fn client_step(&self, inner: bool) {
        let Some(cell) = (0..4).map(|_| &self.clients[self.below(CLIENTS)]).find(|cell| {
            cell.try_borrow().is_ok_and(|client| client.as_ref().is_some_and(|client| !inner || client.is_idle()))
        }) else {
            return;
        };
        let Some(mut client) = cell.take() else { return };
        self.act(client.thread, || client.step(self, inner));
        cell.replace(Some(client));
    }

    fn reached(&self, point: Point) -> bool {
        match point {
            Point::Between => {
                self.interlude();
                false
            }
            Point::Memory => self.chance(3),
        }
    }

    /// Interleaves other actors, at a point of an operation.
    fn interlude(&self) {
        if self.alone.get() || !self.chance(6) {
            return;
        }
        for _ in 0..1 + self.below(3) {
            match self.below(20) {
                0..12 => self.client_step(true),
                12..15 => self.chores(),
                15 if self.may_flush() => self.flush(),
                15 => {}
                16..18 => self.tick(1),
                _ => self.reset_stats(),
            }
        }
    }

    pub fn tick(&self, seconds: u32) {
        if self.is_at_end() {
            return;
        }
        let now = self.now.get() + seconds;
        self.now.set(now);
        for thread in &self.threads {
            // A working thread keeps the time that it has read; others lag.
            let lag = self.below(3) as u32;
            if Some(thread.number) != self.acting.get() && (self.below(5) > 0 || now - thread.now() > DAY) {
                thread.set(now.saturating_sub(lag));
            }
        }
        self.model.reach(now);
        self.store.note_time(now, self.model.origin() + i64::from(now));
        self.background.iter().for_each(|background| background.tick(self, seconds));
    }

    /// The wall clock is set, unless a client is in the middle of a command.
    fn set_wall(&self) {
        let is_idle = |cell: &RefCell<Option<Client>>| cell.borrow().as_ref().is_none_or(Client::is_idle);
        if !self.clients.iter().all(is_idle) {
            return;
        }
        let most = *self.choice(&[100, 20 * 3600, 300 * DAY as usize]);
        let seconds = self.below(2 * most) as i64 - most as i64;
        let origin = self.model.origin() + seconds;
        // Unix time stays within 32 bits.
        if (origin - UNIX).abs() > i64::from(400 * DAY) {
            return;
        }
        self.note(format_args!("the wall clock is set by {seconds} s"));
        self.model.set_origin(origin);
        self.threads.iter().for_each(|thread| thread.shared.set_wall(seconds));
        self.store.note_time(self.now.get(), origin + i64::from(self.now.get()));
    }

    fn pass_time(&self) {
        if let Some(background) = &self.background {
            return match self.below(20) {
                0 => background.pass(self, self.below(40 * DAY as usize) as u32, DAY),
                1 => background.pass(self, self.below(20 * 3600) as u32, DAY),
                // The process was stopped.
                2 => self.tick(self.below(5 * DAY as usize) as u32),
                3..5 => self.tick(self.below(100) as u32),
                _ => self.tick(self.below(2) as u32),
            };
        }
        let seconds = match self.below(20) {
            0 => self.below(20 * 3600) as u32,
            1..4 => self.below(100) as u32,
            _ => self.below(2) as u32,
        };
        // Times of 24 bits depend on a pass a day.
        if self.now.get() + seconds >= self.last_pass.get() + DAY {
            self.whole_pass();
        }
        self.tick(seconds);
    }

    fn chore_time(&self) -> u32 {
        let now = self.now.get() - self.below(3) as u32;
        self.model.reach(now);
        self.store.settle(now);
        now
    }

    fn whole_pass(&self) {
        let now = self.now.get();
        self.model.reach(now);
        self.store.settle(now);
        self.store.sweep(&mut self.store.begin_walk(u64::MAX << 1), u32::MAX, now, |_, _| true);
        self.last_pass.set(now);
    }

    fn chores(&self) {
        if let Some(background) = &self.background {
            return background.step(self);
        }
        let now = self.chore_time();
        let chore = self.below(8);
        self.note(format_args!("chore {chore} at {now}"));
        match chore {
            0 | 1 => {
                let Ok(mut walk) = self.walk.try_borrow_mut() else { return };
                let current = walk.get_or_insert_with(|| self.store.begin_walk(u64::MAX << 1));
                if self.store.sweep(current, 1 + self.below(200) as u32, now, |_, _| true) {
                    *walk = None;
                }
            }
            2 => _ = self.store.tend(now),
            3 | 4 => _ = self.store.grow_step(1 + self.below(8) as u64),
            5 => self.store.charge_overhead(),
            6 => _ = self.store.touch_ahead(),
            _ if self.plan.vanishing || self.plan.short => self.move_pages(now),
            _ => {}
        }
    }

    fn move_pages(&self, now: u32) {
        let Ok(mut job) = self.job.try_borrow_mut() else { return };
        let store = self.store;
        for _ in 0..1 + self.below(30) {
            let Some(current) = &mut *job else {
                let largest = store.sizes().largest();
                let from: Vec<usize> = (0..=largest).filter(|&class| store.page_count(class) > 0).collect();
                if from.is_empty() {
                    return;
                }
                let (src, dst) = (*self.choice(&from), self.below(largest + 1));
                *job = store.begin_move(src, dst);
                return;
            };
            match store.step_move(current, now) {
                Progress::Done => *job = None,
                Progress::More => {}
                _ if self.chance(4) => {
                    if let Some(job) = job.take() {
                        store.cancel_move(job);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// Sends a text request through thread `thread`.
    fn ask(&self, thread: usize, request: &str) -> String {
        let shared = &self.threads[thread].shared;
        let (mut input, mut out) = (Input::default(), Output::default());
        let mut session = Session::new(Protocol::Negotiating);
        input.append(request.as_bytes());
        let mut replies = Vec::new();
        loop {
            let mut budget = 20;
            let mut cx = Cx::new(shared, &shared.stats.workers[0], 9);
            let step = session.run(&mut cx, &mut input, &mut out, &mut budget);
            while !out.is_empty() {
                let plain = out.plain().expect("no large values are asked for").to_vec();
                replies.extend_from_slice(&plain);
                out.advance(plain.len());
            }
            if step == Step::Read {
                return String::from_utf8_lossy(&replies).into_owned();
            }
        }
    }

    pub fn may_flush(&self) -> bool {
        self.chance(self.plan.flushing)
    }

    fn flush(&self) {
        let thread = self.below(THREADS);
        self.act(thread, || {
            let now = self.threads[thread].now();
            self.model.reach(now);
            // A delayed flush must lie in the future of every clock.
            let delay = if self.chance(3) { 0 } else { self.now.get() - now + 2 + self.below(20) as u32 };
            self.note(format_args!("flush in {delay} s, by a thread at {now}"));
            // Clients flush by commands, which let other actors run first.
            self.model.flush(if delay == 0 { now - 1 } else { now + delay - 1 }, now);
            self.store.flush(if delay == 0 { now - 1 } else { now + delay - 1 }, now);
        });
    }

    fn reset_stats(&self) {
        // On the thread that shows them: each has its own tables.
        self.threads[0].shared.reset_stats();
    }

    /// A random operator command.
    fn operate(&self) {
        self.act(0, || {
            self.model.reach(self.threads[0].now());
            let what = self.below(10);
            self.note(format_args!("operator {what}"));
            match what {
                0 => _ = self.ask(0, "stats reset\r\n"),
                1 if self.plan.short && self.files.is_none() => {
                    _ = self.ask(0, &format!("cache_memlimit {}\r\n", 2 + self.below(6)));
                }
                2 => _ = self.ask(0, &format!("lru temp_ttl {}\r\n", self.below(100) as i64 - 1)),
                3 => _ = self.ask(0, if self.chance(2) { "lru mode flat\r\n" } else { "lru mode segmented\r\n" }),
                4 => self.store.skip_ids(1u64 << self.below(40)),
                5 => _ = self.ask(0, &format!("slabs automove {}\r\n", self.below(3))),
                6 if self.plan.vanishing || self.plan.short => {
                    _ = self.ask(0, &format!("slabs reassign -1 {}\r\n", 1 + self.below(30)))
                }
                7 => _ = self.ask(0, &format!("lru_crawler crawl {}\r\n", 1 + self.below(30))),
                _ => {
                    let which = *self.choice(&["", " items", " slabs", " settings", " sizes"]);
                    let shown = self.ask(0, &format!("stats{which}\r\n"));
                    for line in shown.lines() {
                        let value = line.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
                        assert!(value.is_none_or(|value| value < 1 << 62), "{line}");
                    }
                }
            }
        });
    }

    /// Runs `work` without interleaving.
    pub fn alone(&self, work: impl FnOnce()) {
        self.alone.set(true);
        work();
        self.alone.set(false);
    }

    /// Sweeps dead items; then counts must be within the model's bounds.
    fn check_counts(&self) {
        self.alone(|| match &self.background {
            Some(background) => background.check_quiet(self),
            None => {
                self.whole_pass();
                self.check_items(0);
            }
        });
    }

    /// The number of items must be within the model's bounds. Items that expired in the last `grace` seconds may
    /// remain.
    pub fn check_items(&self, grace: u32) {
        if self.plan.vanishing {
            return;
        }
        let (least, most) = self.model.count(grace);
        // Incomplete uploads count as well.
        let arriving =
            self.clients.iter().filter(|cell| cell.borrow().as_ref().is_some_and(|c| c.is_uploading())).count();
        let held: usize = self.clients.iter().map(|cell| cell.borrow().as_ref().map_or(0, Client::held)).sum();
        let items = self.store.items() as usize;
        assert!(
            (least..=most + arriving + held).contains(&items),
            "{items} items where {least} to {most} are held, {arriving} arrive and {held} are read"
        );
    }

    fn one_step(&self) {
        if self.chance(self.plan.time) {
            return self.pass_time();
        }
        match self.below(100) {
            0..75 => self.client_step(false),
            75..92 => self.act(THREADS - 1, || self.chores()),
            92..96 => self.operate(),
            96..98 if self.background.is_none() || self.chance(4) => self.check_counts(),
            98 if self.chance(4) && self.may_flush() => self.flush(),
            99 if self.chance(4) => self.set_wall(),
            _ => {}
        }
    }

    /// Ends all work and checks that nothing is left.
    fn finish(&self) {
        for cell in &self.clients {
            cell.take();
        }
        if let Some(job) = self.job.take() {
            self.store.cancel_move(job);
        }
        self.check_counts();
        self.background.iter().for_each(Background::stop);
        let now = self.now.get();
        self.model.reach(now);
        self.whole_pass();
        self.check_items(0);
        self.store.flush(now - 1, now);
        self.whole_pass();
        for (class, view) in self.store.classes(now).iter().enumerate() {
            assert_eq!(view.used_chunks, 0, "chunks are left in class {class}: {view:?}");
            assert_eq!((view.items, view.requested), (0, 0), "counts of class {class}: {view:?}");
        }
        assert_eq!((self.store.items(), self.store.bytes()), (0, 0));
    }

    /// Ends the process; another one continues with a copy of its memory file.
    fn crash(self) -> Self {
        let Self { files: Some((dir, number)), clients: old, job, background, model, .. } = self else {
            unreachable!("without a file")
        };
        model.crash();
        // Killed: no destructor runs.
        for cell in old {
            std::mem::forget(cell.into_inner());
        }
        std::mem::forget(job.into_inner());
        std::mem::forget(background);
        let mut rng = self.rng.borrow_mut();
        let off = match rng.u8(..6) {
            0 => -i64::from(rng.u32(1..1_000_000)),
            1 => i64::from(rng.u32(..400 * DAY)),
            2 => i64::from(rng.u32(..DAY)),
            _ => i64::from(rng.u32(..3)),
        };
        drop(rng);
        let unix = model.origin() + i64::from(self.now.get()) + off;
        // Relative time never goes back.
        let origin = model.origin() + off.min(0);
        let (from, to) = (number.get(), number.get() + 1);
        std::fs::copy(dir.path().join(from.to_string()), dir.path().join(to.to_string())).unwrap();
        let (store, now) = open(dir.path().join(to.to_string()), &self.settings, (unix, origin));
        std::fs::remove_file(dir.path().join(from.to_string())).unwrap();
        number.set(to);
        let expected = self.now.get() + off.max(0) as u32;
        assert_eq!(now, expected, "the clock is {off} s from where it was");
        model.set_origin(origin);
        model.reach(now);
        let threads: Vec<_> =
            (0..THREADS).map(|number| Thread::new(store, &self.settings, number, (now, origin))).collect();
        Self {
            background: self.plan.paced.map(|look| Background::new(store, &threads[0].shared, look)),
            threads,
            store,
            model,
            clients: clients(),
            now: Rc::new(Cell::new(now)),
            last_pass: Cell::new(now),
            walk: RefCell::new(None),
            job: RefCell::new(None),
            files: Some((dir, number)),
            plan: self.plan,
            settings: self.settings,
            rng: self.rng,
            step: self.step,
            acting: self.acting,
            names: self.names,
            versions: self.versions,
            serial: self.serial,
            alone: self.alone,
        }
    }
}

/// Opens a memory file as a server does at start, with unix time and that of relative time 0; returns its store, and the
/// relative time.
fn open(path: PathBuf, settings: &Settings, (unix, origin): (i64, i64)) -> (&'static Store, u32) {
    let sizes = Sizes::new(size_config(settings));
    let Memory { memory_file: image, resume } = restart::open(&path, settings, &sizes, unix).unwrap();
    let now = resume.map_or(START, |resume| resume.now);
    let clock = Clock::manual(origin);
    clock.advance(i64::from(now) - i64::from(START));
    image.begin(origin);
    let shared = Shared::in_file(settings.clone(), clock, image, Box::new(|_| ())).unwrap();
    let store = shared.cache.store;
    if resume.is_some() {
        store.adopt(now);
    }
    store.note_time(now, origin + i64::from(now));
    (store, now)
}

/// Runs `plan`, omitting the steps for which `skips` is true; a fault is a panic.
pub fn run(plan: &Plan, skips: impl Fn(u32) -> bool, at: &Cell<u32>) {
    let mut world = Rc::new(World::new(plan));
    let mut crashes = 0;
    for step in 0..plan.steps {
        at.set(step);
        if skips(step) {
            continue;
        }
        world.step.set(step);
        *world.rng.borrow_mut() =
            fastrand::Rng::with_seed(plan.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(step));
        let hooked = Rc::clone(&world);
        assert!(
            set_hook(Some(Box::new(move |point| hooked.reached(point)))),
            "debug assertions are off: nothing would be interleaved"
        );
        if world.files.is_some() && crashes < 8 && world.chance(300) {
            set_hook(None);
            crashes += 1;
            let Ok(alone) = Rc::try_unwrap(world) else { unreachable!("nothing runs") };
            world = Rc::new(alone.crash());
            continue;
        }
        world.one_step();
    }
    set_hook(None);
    at.set(plan.steps);
    world.finish();
}
