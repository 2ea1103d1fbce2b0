//! Eviction as clients and operators see it: modes, queues, protection, counters.
//!
//! Each test is a short sequence through a `Session`, on a clock that the test moves.

use crate::support::script::{self, in_every_cut};
use crate::support::{self, Client, assert_empty, shared};
use oxcached::store::GrowthStep;
use std::collections::VecDeque;
use std::sync::Arc;

/// Value length in bytes: some hundred values fill the smallest memory.
pub const LEN: usize = 20_000;

pub struct Story {
    client: Client,
    pub shared: Arc<oxcached::proto::Shared>,
}

impl Story {
    pub fn new(args: &str) -> Self {
        let shared = shared(args);
        Self { client: Client::new(&shared), shared }
    }

    pub fn ask(&mut self, request: &str) -> String {
        String::from_utf8(self.client.ask(request.as_bytes())).unwrap()
    }

    #[track_caller]
    pub fn set(&mut self, key: &str, exptime: u32) {
        let value = "v".repeat(LEN);
        assert_eq!(self.ask(&format!("set {key} 0 {exptime} {LEN}\r\n{value}\r\n")), "STORED\r\n");
    }

    pub fn get(&mut self, key: &str) -> bool {
        self.ask(&format!("get {key}\r\n")) != "END\r\n"
    }

    /// Whether a key is present, without using it.
    pub fn has(&mut self, key: &str) -> bool {
        self.ask(&format!("me {key}\r\n")) != "EN\r\n"
    }

    /// A row of `stats items`, summed over the classes.
    pub fn row(&mut self, name: &str) -> u64 {
        let ending = format!(":{name} ");
        let stats = self.ask("stats items\r\n");
        stats.lines().filter_map(|line| line.split_once(&ending)).map(|(_, value)| value.parse::<u64>().unwrap()).sum()
    }

    pub fn later(&mut self, seconds: i64) {
        self.shared.clock.advance(seconds);
    }

    pub fn tend(&self) {
        while self.shared.cache.store.tend(self.shared.clock.now()) {}
    }

    /// Stores keys until an eviction; returns their names.
    pub fn fill(&mut self, prefix: &str) -> Vec<String> {
        let before = self.row("evicted");
        let mut names = Vec::new();
        while self.row("evicted") == before {
            names.push(format!("{prefix}{}", names.len()));
            let name = names.last().unwrap().clone();
            self.set(&name, 0);
        }
        names
    }

    #[track_caller]
    pub fn queues_add_up(&mut self) {
        let parts: u64 =
            ["number_hot", "number_warm", "number_cold", "number_temp"].map(|row| self.row(row)).iter().sum();
        assert_eq!(parts, self.row("number"));
    }

    pub fn finish(mut self) {
        self.ask("flush_all\r\n");
        self.later(2);
        support::sweep(self.shared.cache.store, self.shared.clock.now());
        assert_empty(&self.shared);
    }
}

#[test]
fn flat_mode_evicts_the_least_recently_used_item() {
    let mut story = Story::new("-m 8 -o no_lru_maintainer");
    let mut order: VecDeque<String> = story.fill("a").into();
    order.pop_front();
    let mut rng = fastrand::Rng::with_seed(1);
    let start = story.shared.clock.now();
    let (mut used, mut free) = (std::collections::HashMap::new(), 0);
    for n in 0..1500 {
        story.later(rng.i64(0..3));
        let now = story.shared.clock.now();
        match rng.u8(..4) {
            // A read counts as a use once a minute.
            0 | 1 => {
                let at = rng.usize(..order.len());
                let key = order[at].clone();
                assert!(story.get(&key));
                if now > used.get(&key).copied().unwrap_or(start) + 60 {
                    used.insert(key.clone(), now);
                    order.remove(at);
                    order.push_back(key);
                }
            }
            replaces => {
                let key = if replaces == 2 { order[rng.usize(..order.len())].clone() } else { format!("b{n}") };
                story.set(&key, 0);
                used.insert(key.clone(), now);
                // The new value takes a chunk before the old one's is freed.
                if free == 0 {
                    let gone = order.pop_front().unwrap();
                    assert!(gone == key || !story.has(&gone), "{gone} was used longest ago");
                } else {
                    free -= 1;
                }
                if let Some(at) = order.iter().position(|other| *other == key) {
                    order.remove(at);
                    free += 1;
                }
                order.push_back(key);
            }
        }
        assert!(story.has(&order[0].clone()), "the next one is still there");
    }
    assert_eq!(story.row("number"), order.len() as u64);
    story.finish();
}

#[test]
fn a_flat_queue_takes_large_items_too() {
    let mut story = Story::new("-m 16 -o no_lru_maintainer,slab_chunk_max=8");
    let names = story.fill("a");
    assert!(!story.has(&names[0]));
    story.later(100);
    assert!(story.get(&names[1]));
    story.set("next", 0);
    assert!(story.has(&names[1]) && !story.has(&names[2]));
    story.ask(&format!("delete {}\r\n", names[1]));
    story.finish();
}

#[test]
fn unread_large_items_are_evicted_in_order() {
    let mut story = Story::new("-m 16 -o slab_chunk_max=8");
    let mut stored = 0;
    while story.row("evicted") == 0 {
        story.set(&format!("a{stored}"), 0);
        stored += 1;
        story.tend();
    }
    for n in 1..50 {
        story.set(&format!("b{n}"), 0);
    }
    let gone = (0..stored).take_while(|n| !story.has(&format!("a{n}"))).count() as u64;
    assert_eq!(gone, story.row("evicted"), "only the oldest");
    story.finish();
}

#[test]
fn the_mode_changes_while_items_are_there() {
    let mut story = Story::new("-m 8");
    let mut old = story.fill("a");
    old.retain(|key| story.has(key));
    assert_eq!(story.ask("lru mode flat\r\n"), "OK\r\n");
    // Existing items are older than new ones.
    for n in 0..old.len() {
        story.set(&format!("b{n}"), 0);
        assert!(story.has("b0"));
    }
    assert!(old.iter().all(|key| !story.has(key)));
    story.set("c", 0);
    assert!(!story.has("b0"));
    assert_eq!(story.ask("lru mode segmented\r\n"), "OK\r\n");
    // Items read in the new mode join the main part; the others are evicted in order.
    assert!(story.get("b1"));
    story.set("d", 0);
    assert!(story.has("b1") && !story.has("b2"));
    story.queues_add_up();
    // An old item that is used in flat mode joins its queue.
    assert_eq!(story.ask("lru mode flat\r\n"), "OK\r\n");
    story.later(100);
    assert!(story.get("d") && story.get("b1") && story.get("b9"));
    for n in 0..old.len() - 3 {
        story.set(&format!("e{n}"), 0);
    }
    assert!(story.has("d") && story.has("b1") && story.has("b9") && !story.has("b8"));
    story.queues_add_up();
    story.finish();
}

#[test]
fn short_lived_items_are_not_evicted() {
    let mut story = Story::new("-m 8 -o temporary_ttl=61");
    story.later(10);
    for n in 0..5 {
        story.set(&format!("temp{n}"), 61);
    }
    story.set("longer", 62);
    assert_eq!((story.row("number_temp"), story.row("number_hot")), (5, 1));
    story.fill("a");
    story.fill("b");
    assert!((0..5).all(|n| story.get(&format!("temp{n}"))));
    assert_eq!((story.row("hits_to_temp"), story.row("number_temp")), (5, 5));
    // Switches it off for new items, in either direction.
    assert_eq!(story.ask("lru temp_ttl -1\r\n"), "OK\r\n");
    story.set("temp0", 30);
    assert_eq!(story.shared.cache.store.classes(0).iter().map(|class| class.temp).sum::<u64>(), 4);
    assert_eq!(story.ask("lru temp_ttl 300\r\n"), "OK\r\n");
    story.set("other", 300);
    assert_eq!(story.row("number_temp"), 5);
    story.queues_add_up();
    story.later(62);
    assert!(!story.get("temp1"));
    story.finish();
}

#[test]
fn protected_items_alone_leave_no_room() {
    let mut story = Story::new("-m 8 -o temporary_ttl=100");
    let value = "v".repeat(LEN);
    let mut stored = 0;
    while story.ask(&format!("set k{stored} 0 50 {LEN}\r\n{value}\r\n")) == "STORED\r\n" {
        stored += 1;
    }
    assert!((0..stored).all(|n| story.has(&format!("k{n}"))) && story.row("outofmemory") > 0);
    story.later(51);
    story.tend();
    story.set("next", 50);
    story.finish();
}

#[test]
fn expired_items_make_room_when_eviction_is_disabled() {
    for args in ["-m 8 -M", "-m 8 -M -o no_lru_maintainer,no_lru_crawler", "-m 8 -o temporary_ttl=100"] {
        let mut story = Story::new(args);
        let value = "v".repeat(LEN);
        let exptime = |n| if n % 2 == 0 { 50 } else { 90 };
        let mut stored = 0_u32;
        while story.ask(&format!("set k{stored} 0 {} {LEN}\r\n{value}\r\n", exptime(stored))) == "STORED\r\n" {
            stored += 1;
        }
        assert!(stored > 100);
        story.later(51);
        let fits = stored.div_ceil(2);
        // New items are neither evicted nor evict others.
        (0..fits).for_each(|n| story.set(&format!("next{n}"), 90));
        assert!((0..stored).filter(|n| n % 2 == 1).all(|n| story.has(&format!("k{n}"))), "{args}");
        assert!((0..fits).all(|n| story.has(&format!("next{n}"))), "{args}");
        assert_eq!((story.row("evicted"), story.row("reclaimed")), (0, fits.into()));
        let reply = story.ask(&format!("set more 0 90 {LEN}\r\n{value}\r\n"));
        assert!(reply.starts_with("SERVER_ERROR out of memory"), "{reply}");
        story.finish();
    }
}

#[test]
fn ages_are_those_of_the_next_victims() {
    let mut story = Story::new("-m 8");
    for n in 0..100 {
        story.set(&format!("a{n}"), 0);
        if n % 10 == 0 {
            story.later(1);
        }
    }
    assert_eq!((story.row("age_hot"), story.row("age_warm"), story.row("age")), (10, 0, 0));
    story.tend();
    // 65 have left the ring; the first of them was stored at the start.
    assert_eq!((story.row("number_cold"), story.row("age"), story.row("age_hot")), (65, 10, 3));
    story.finish();
}

#[test]
fn evictions_are_direct_reclaims() {
    let mut story = Story::new("-m 8");
    story.fill("a");
    assert!(story.row("evicted") > 0);
    assert_eq!(story.row("direct_reclaims"), story.row("evicted"));
    story.finish();
}

#[test]
fn an_item_stored_again_soon_after_eviction_is_kept() {
    let mut story = Story::new("-m 8 -o hot_lru_pct=20");
    let names = story.fill("a");
    let gone = names.iter().find(|key| !story.has(key)).unwrap().clone();
    story.set(&gone, 0);
    story.set("fresh", 0);
    for n in 0..names.len() {
        story.set(&format!("b{n}"), 0);
    }
    assert!(story.has(&gone), "its ghost was met");
    assert!(!story.has("fresh"), "it had no ghost");
    assert!(story.shared.cache.store.classes(0).iter().map(|class| class.ghost_hits).sum::<u64>() > 0);
    story.finish();
}

#[test]
fn the_index_makes_room_for_ghosts_when_items_are_evicted() {
    for (args, grows) in [("", true), ("-o no_lru_maintainer", false), ("-o no_hashexpand", false)] {
        let mut story = Story::new(&format!("-m 8 -o hashpower=12 {args}"));
        let store = story.shared.cache.store;
        let slots = || {
            while store.grow_step(1000) != GrowthStep::Over {}
            store.index_view().2
        };
        let at_first = slots();
        let value = "v".repeat(1700);
        let mut stored = 0;
        while story.row("evicted") == 0 {
            assert_eq!(slots(), at_first, "all have room");
            for _ in 0..100 {
                stored += 1;
                assert_eq!(story.ask(&format!("set k{stored} 0 0 1700\r\n{value}\r\n")), "STORED\r\n");
            }
        }
        let load = |slots: u64| store.items() as f64 / slots as f64;
        assert!((0.6..0.8).contains(&load(at_first)), "{}", load(at_first));
        assert_eq!(slots() > at_first, grows, "{args}");
        assert!(!grows || (0.4..0.6).contains(&load(slots())), "{}", load(slots()));
        assert_eq!(slots(), slots());
        story.finish();
    }
}

#[test]
fn an_item_without_expiry_can_be_touched_when_memory_is_full() {
    for args in ["-m 2 -M", "-m 2"] {
        let mut story = Story::new(args);
        let mut stored = 0;
        while story.row("evicted") == 0 && story.ask(&format!("set k{stored} 0 0 10\r\n0123456789\r\n")) == "STORED\r\n"
        {
            stored += 1;
        }
        let last = format!("k{}", stored - 1);
        for (command, time) in [("touch", 100), ("gat", 2_000_000)] {
            let line =
                if command == "gat" { format!("gat {time} {last}\r\n") } else { format!("touch {last} {time}\r\n") };
            let reply = story.ask(&line);
            assert!(
                reply == "TOUCHED\r\n" || reply == format!("VALUE {last} 0 10\r\n0123456789\r\nEND\r\n"),
                "{reply}"
            );
            assert_eq!(
                story.ask(&format!("mg {last} t v\r\n")),
                format!("VA 10 t{time}\r\n0123456789\r\n"),
                "{args} {line}"
            );
        }
        story.ask(&format!("touch {last} 0\r\n"));
        assert_eq!(story.ask(&format!("mg {last} t\r\n")), "HD t-1\r\n");
        story.finish();
    }
}

#[test]
fn a_touched_item_is_not_evicted_for_its_own_expiry_time() {
    let mut story = Story::new("-m 2");
    let mut stored = 0;
    while story.row("evicted") == 0 {
        assert_eq!(story.ask(&format!("set k{stored} 0 0 10\r\n0123456789\r\n")), "STORED\r\n");
        stored += 1;
    }
    for (touched, command) in ["touch", "gat", "mg"].into_iter().enumerate() {
        // Unread items are evicted in order.
        let next = format!("k{}", story.row("evicted") + touched as u64);
        let reply = match command {
            "touch" => story.ask(&format!("touch {next} 100\r\n")),
            "gat" => story.ask(&format!("gat 100 {next}\r\n")),
            _ => story.ask(&format!("mg {next} T100 h v\r\n")),
        };
        let value = format!("VALUE {next} 0 10\r\n0123456789\r\nEND\r\n");
        assert!(["TOUCHED\r\n", &value, "VA 10 h0\r\n0123456789\r\n"].contains(&&*reply), "{command}: {reply}");
        assert_eq!(story.ask(&format!("mg {next} t\r\n")), "HD t100\r\n");
    }
    story.finish();
}

#[test]
fn an_expiry_time_without_room_is_stored_as_closely_as_possible() {
    const DAY: u64 = 24 * 60 * 60;
    for line in ["touch k {}", "gat {} k", "mg k T{}"] {
        let mut story = Story::new("-m 2 -M");
        assert_eq!(story.ask("set k 0 100 10\r\n0123456789\r\n"), "STORED\r\n");
        let value = "v".repeat(100);
        // Each class may have a page, so the larger ones must be full too.
        for len in 6..40 {
            for n in 0.. {
                if story.ask(&format!("set {len}-{n} 0 0 {len}\r\n{}\r\n", &value[..len])) != "STORED\r\n" {
                    break;
                }
            }
        }
        // Expiry times above 30 days are absolute.
        let time = story.shared.clock.unix(story.shared.clock.now()) as u64 + 100 * DAY;
        let reply = story.ask(&format!("{}\r\n", line.replace("{}", &time.to_string())));
        assert!(reply.starts_with("TOUCHED") || reply.starts_with("VALUE") || reply.starts_with("HD"), "{reply}");
        assert_eq!(story.ask("mg k t\r\n"), format!("HD t{}\r\n", 90 * DAY), "{line}");
        story.later(80 * DAY as i64);
        assert!(story.has("k"));
        // A nearer date becomes the seconds that it has left, which a wall clock that is set does not change.
        let time = story.shared.clock.unix(story.shared.clock.now()) as u64 + 50 * DAY;
        story.ask(&format!("{}\r\n", line.replace("{}", &time.to_string())));
        story.shared.set_wall(10 * DAY as i64);
        assert_eq!(story.ask("mg k t\r\n"), format!("HD t{}\r\n", 50 * DAY), "{line}");
        story.finish();
    }
}

#[test]
fn the_share_of_new_items_can_be_fixed() {
    for (args, tune, percent) in [("-o hot_lru_pct=30", "", 30), ("", "lru tune 55 20 0.1 2.0\r\n", 55)] {
        let mut story = Story::new(&format!("-m 8 {args}"));
        if !tune.is_empty() {
            assert_eq!(story.ask(tune), "OK\r\n");
        }
        story.fill("a");
        story.tend();
        // Items that tending took out of the ring are evicted first.
        for n in 0..1000 {
            story.set(&format!("c{n}"), 0);
        }
        let (hot, all) = (story.row("number_hot"), story.row("number"));
        assert!(hot.abs_diff(all * percent / 100) <= 2, "{hot} of {all}");
        story.finish();
    }
}

#[test]
fn queues_count_what_moves_between_them() {
    let mut story = Story::new("-m 8 -o temporary_ttl=5");
    for n in 0..100 {
        story.set(&format!("a{n}"), 0);
    }
    assert_eq!((story.row("number_hot"), story.row("moves_to_cold")), (100, 0));
    assert!(story.get("a5"));
    assert_eq!(story.row("hits_to_hot"), 1);
    // Tending leaves a third: items that were read are WARM, the others COLD while there is room.
    story.tend();
    assert_eq!((story.row("number_hot"), story.row("number_warm"), story.row("number_cold")), (35, 1, 64));
    assert_eq!((story.row("moves_to_warm"), story.row("moves_to_cold")), (1, 64));
    assert!(story.get("a6") && story.get("a5") && story.get("a5"));
    assert_eq!((story.row("hits_to_cold"), story.row("hits_to_warm")), (1, 2));
    assert_eq!((story.row("number_warm"), story.row("moves_to_warm")), (2, 2));
    story.queues_add_up();
    story.ask("stats reset\r\n");
    assert_eq!((story.row("number_warm"), story.row("moves_to_warm")), (2, 0));
    let mut rng = fastrand::Rng::with_seed(3);
    for n in 0..6000 {
        let key = format!("a{}", (rng.f64().powi(2) * 1500.0) as u32);
        match rng.u8(..8) {
            0..=3 => drop(story.get(&key)),
            4 if n % 8 == 0 => drop(story.ask(&format!("delete {key}\r\n"))),
            _ => story.set(&key, [0, 3, 100][n % 3]),
        }
        if n % 300 == 0 {
            story.later(1);
            story.tend();
            story.queues_add_up();
        }
    }
    assert!(story.row("moves_within_lru") > 0 && story.row("moves_to_warm") > 0 && story.row("evicted") > 0);
    story.finish();
}

#[test]
fn tending_reclaims_expired_victims() {
    let mut story = Story::new("-m 8");
    for n in 0..10 {
        story.set(&format!("a{n}"), 5);
    }
    story.tend();
    story.later(6);
    story.tend();
    let store = story.shared.cache.store;
    assert_eq!(store.items(), 0);
    let counts = store.classes(0).iter().map(|class| (class.counts.reclaimed, class.counts.expired_unfetched)).max();
    assert_eq!(counts, Some((10, 10)));
    assert!(store.juggles() >= 2);
    story.ask("stats reset\r\n");
    assert_eq!(store.juggles(), 0);
    story.finish();
}

#[test]
fn lru_commands_answer_as_memcached() {
    in_every_cut(
        || Client::new(&shared("-m 8")),
        |talk| {
            talk.script(
                r"
                > lru
                ERROR
                > lru mode
                ERROR
                > lru mode flat
                OK
                > lru mode fl
                OK
                > lru mode segmented
                OK
                > lru mode flatter
                ERROR
                > lru m flat
                OK
                > lru temp_ttl
                ERROR
                > lru temp_ttl x
                ERROR
                > lru temp_ttl 2147483648
                ERROR
                > lru temp_ttl 30
                OK
                > lru temp_ttl -1
                OK
                > lru tune 10 25 0.1
                ERROR
                > lru tune 10 25 0.1 2.0
                OK
                > lru tune 50 31 0.1 2.0
                ERROR hot and warm pcts must not exceed 80
                > lru tune 10 25 0 2.0
                ERROR hot/warm age factors must be greater than 0
                > lru other 1
                ERROR
                ",
            );
            let settings = String::from_utf8(talk.ask("stats settings\r\n")).unwrap();
            for row in ["lru_segmented no", "hot_lru_pct 10", "temp_lru no", "temporary_ttl 30"] {
                assert!(settings.contains(&format!("STAT {row}\r\n")), "{row}");
            }
        },
    );
    script::run(
        "-m 8 -o no_lru_maintainer",
        r"
        > lru mode segmented
        ERROR
        > lru mode flat
        ERROR
        > lru temp_ttl 30
        ERROR
        ",
    );
}
