//! Reports that name keys: hot keys, largest items, usage by prefix. memcached has none of them.

use crate::binary::packet::{arith, err, get, req, set, store};
use crate::support::{Client, answer, shared};
use oxcached::hotkeys::{AccessTally, Weight};
use oxcached::net::Answerer;
use oxcached::proto::Shared;
use std::collections::HashMap;
use std::sync::Arc;

scripts! {
hot_keys_are_off_unless_asked_for "" r"
    > stats hotkeys
    STAT hotkeys off
    END
    > hotkeys reset
    CLIENT_ERROR hot keys are off
    > hotkeys on
    OK
    > stats hotkeys
    STAT hotkeys on
    STAT sample 100
    STAT window 10
    END
    > hotkeys on
    OK
    > hotkeys reset
    OK
    > hotkeys off
    OK
    > hotkeys off
    OK
    > stats hotkeys bytes 100
    STAT hotkeys off
    END
    > hotkeys
    CLIENT_ERROR usage: hotkeys on|off|reset
    > hotkeys o
    CLIENT_ERROR usage: hotkeys on|off|reset
    > hotkeys on on
    CLIENT_ERROR usage: hotkeys on|off|reset
    > hotkeys on noreply
    > hotkeys reset
    OK
    > hotkeys reset noreply
    > mn
    MN
"

hot_keys_have_ranks_rates_and_shares "-o hotkeys,hotkeys_sample=1,hotkeys_window=5" r"
    > get a
    END
    +1
    > set a 0 0 100
    > v{100}
    STORED
    > get a a none a a none
    VALUE a 0 100
    v{100}
    VALUE a 0 100
    v{100}
    VALUE a 0 100
    v{100}
    VALUE a 0 100
    v{100}
    END
    > incr n\x01\xff 1
    NOT_FOUND
    > set a 0 0 2000000
    > v{2000000}
    SERVER_ERROR object too large for cache
    +4
    > stats hotkeys
    STAT hotkeys on
    STAT sample 1
    STAT window 5
    END
    +1
    > stats hotkeys
    STAT hotkeys on
    STAT sample 1
    STAT window 5
    STAT window_end 1000000068
    STAT ranked_by reads
    STAT total reads=1.2 writes=0.6 misses=0.6 bytes=100.0
    STAT 1 key=a rate=0.8 share=0.6667 reads=0.8 writes=0.4 misses=0.0 bytes=100.0 error=0.0
    STAT 2 key=none rate=0.4 share=0.3333 reads=0.4 writes=0.0 misses=0.4 bytes=0.0 error=0.0
    END
    > stats hotkeys misses 1
    STAT hotkeys on
    STAT sample 1
    STAT window 5
    STAT window_end 1000000068
    STAT ranked_by misses
    STAT total reads=1.2 writes=0.6 misses=0.6 bytes=100.0
    STAT 1 key=none rate=0.4 share=0.6667 reads=0.4 writes=0.0 misses=0.4 bytes=0.0 error=0.0
    END
    > stats hotkeys writes
    STAT hotkeys on
    STAT sample 1
    STAT window 5
    STAT window_end 1000000068
    STAT ranked_by writes
    STAT total reads=1.2 writes=0.6 misses=0.6 bytes=100.0
    STAT 1 key=a rate=0.4 share=0.6667 reads=0.8 writes=0.4 misses=0.0 bytes=100.0 error=0.0
    STAT 2 key=n%01%FF rate=0.2 share=0.3333 reads=0.0 writes=0.2 misses=0.2 bytes=0.0 error=0.0
    END
    +5
    > stats hotkeys
    STAT hotkeys on
    STAT sample 1
    STAT window 5
    STAT window_end 1000000073
    STAT ranked_by reads
    STAT total reads=0.0 writes=0.0 misses=0.0 bytes=0.0
    END
    > hotkeys reset
    OK
    > stats hotkeys
    STAT hotkeys on
    STAT sample 1
    STAT window 5
    END
"

arguments_are_checked "" r"
    > stats hotkeys readers
    CLIENT_ERROR usage: stats hotkeys [reads|writes|misses|bytes] [1-100]
    > stats hotkeys reads 0
    CLIENT_ERROR usage: stats hotkeys [reads|writes|misses|bytes] [1-100]
    > stats hotkeys 101
    CLIENT_ERROR usage: stats hotkeys [reads|writes|misses|bytes] [1-100]
    > stats hotkeys 5 reads
    CLIENT_ERROR usage: stats hotkeys [reads|writes|misses|bytes] [1-100]
    > stats largest 101
    CLIENT_ERROR usage: stats largest [1-100]
    > stats largest x
    CLIENT_ERROR usage: stats largest [1-100]
    > stats prefixes :: 5
    CLIENT_ERROR usage: stats prefixes [delimiter] [1-1000]
    > stats prefixes : 1001
    CLIENT_ERROR usage: stats prefixes [delimiter] [1-1000]
    > stats prefixes : 5 5
    CLIENT_ERROR usage: stats prefixes [delimiter] [1-1000]
    > stats hotkey
    ERROR
    > stats hotkeysx
    ERROR
    > stats larges
    ERROR
    > stats prefix
    ERROR
"

keys_are_not_shown_where_dumps_are_not_allowed "-X -o hotkeys" r"
    > stats hotkeys
    CLIENT_ERROR stats hotkeys not allowed
    > stats largest
    CLIENT_ERROR stats largest not allowed
    > stats prefixes
    CLIENT_ERROR stats prefixes not allowed
    > hotkeys off
    OK
"

largest_items_come_first "" r"
    > stats largest
    END
    > set small 0 0 1
    > x
    STORED
    > set b\x01g 7 100 5000
    > v{5000}
    STORED
    > set big2 0 0 600000
    > v{600000}
    STORED
    > ms bGFyZ2VyAA== 5001 b
    > v{5001}
    HD
    +30
    > mg big2
    HD
    > stats largest 3
    STAT 1 key=big2 size=600063 value=600000 class=39 age=0 ttl=-1
    STAT 2 key=larger%00 size=5067 value=5001 class=19 age=30 ttl=-1
    STAT 3 key=b%01g size=5066 value=5000 class=19 age=30 ttl=70
    END
"

usage_is_counted_by_prefix "" r"
    > set user:1 0 0 1
    > x
    STORED
    > set user:2 0 0 1
    > x
    STORED
    > set page:1/2 0 0 10
    > xxxxxxxxxx
    STORED
    > set plain 0 0 1
    > x
    STORED
    > stats prefixes
    STAT delimiter %3A
    STAT prefixes 2
    STAT total items=4 bytes=274
    STAT without_prefix items=1 bytes=65
    STAT other_prefixes items=0 bytes=0
    STAT 1 prefix=user items=2 bytes=132
    STAT 2 prefix=page items=1 bytes=77
    END
    > stats prefixes 1
    STAT delimiter %3A
    STAT prefixes 2
    STAT total items=4 bytes=274
    STAT without_prefix items=1 bytes=65
    STAT other_prefixes items=1 bytes=77
    STAT 1 prefix=user items=2 bytes=132
    END
    > stats prefixes / 5
    STAT delimiter %2F
    STAT prefixes 1
    STAT total items=4 bytes=274
    STAT without_prefix items=3 bytes=197
    STAT other_prefixes items=0 bytes=0
    STAT 1 prefix=page%3A1 items=1 bytes=77
    END
    > stats detail on
    OK
    > get user:1 user:3
    VALUE user:1 0 1
    x
    END
    > stats prefixes
    STAT delimiter %3A
    STAT prefixes 2
    STAT total items=4 bytes=274
    STAT without_prefix items=1 bytes=65
    STAT other_prefixes items=0 bytes=0
    STAT 1 prefix=user items=2 bytes=132 hits=1 misses=1
    STAT 2 prefix=page items=1 bytes=77 hits=0 misses=0
    END
    > stats prefixes /
    STAT delimiter %2F
    STAT prefixes 1
    STAT total items=4 bytes=274
    STAT without_prefix items=3 bytes=197
    STAT other_prefixes items=0 bytes=0
    STAT 1 prefix=page%3A1 items=1 bytes=77
    END
"
}

/// A server that samples every access.
fn sampling() -> Arc<Shared> {
    let shared = shared("-o hotkeys,hotkeys_sample=1");
    shared.clock.advance(1);
    shared
}

/// Tallies of all keys, once the window has ended.
fn tallies(shared: &Shared) -> HashMap<Vec<u8>, AccessTally> {
    shared.clock.advance(10);
    let window = shared.cache.hotkeys.window(shared.clock.now()).unwrap();
    let all = Weight::ALL.into_iter().flat_map(|weight| window.top(weight));
    all.map(|hot| (hot.key.to_vec(), hot.tally)).collect()
}

fn tally(reads: u64, writes: u64, misses: u64, bytes: u64) -> AccessTally {
    AccessTally { reads, writes, misses, bytes }
}

/// Each command counts once, whatever it looks up, and however often.
#[test]
fn every_text_command_is_one_access_of_each_of_its_keys() {
    for (request, expected) in [
        ("get hit\r\n", tally(1, 0, 0, 5)),
        ("gets hit none\r\n", tally(1, 0, 0, 5)),
        ("get none hit hit\r\n", tally(2, 0, 0, 10)),
        ("gat 10 hit\r\n", tally(1, 0, 0, 5)),
        ("gats 10 hit\r\n", tally(1, 0, 0, 5)),
        ("touch hit 10\r\n", tally(0, 1, 0, 0)),
        ("set hit 0 0 3\r\nabc\r\n", tally(0, 1, 0, 3)),
        ("add hit 0 0 3\r\nabc\r\n", tally(0, 1, 0, 3)),
        ("replace hit 0 0 3\r\nabc\r\n", tally(0, 1, 0, 3)),
        ("append hit 0 0 3\r\nabc\r\n", tally(0, 1, 0, 3)),
        ("prepend hit 0 0 3 noreply\r\nabc\r\n", tally(0, 1, 0, 3)),
        ("cas hit 0 0 3 99\r\nabc\r\n", tally(0, 1, 0, 3)),
        ("incr hit 1\r\n", tally(0, 1, 0, 0)),
        ("incr hit 99999999\r\n", tally(0, 1, 0, 0)),
        ("decr hit 1\r\n", tally(0, 1, 0, 0)),
        ("delete hit\r\n", tally(0, 1, 0, 0)),
        ("mg hit\r\n", tally(1, 0, 0, 5)),
        ("mg hit v t T9\r\n", tally(1, 0, 0, 5)),
        ("mg aGl0 v b\r\n", tally(1, 0, 0, 5)),
        ("me hit\r\n", tally(1, 0, 0, 5)),
        ("ms hit 2\r\nab\r\n", tally(0, 1, 0, 2)),
        ("ms aGl0 2 b MA\r\nab\r\n", tally(0, 1, 0, 2)),
        ("ma hit\r\n", tally(0, 1, 0, 0)),
        ("ma aGl0 b\r\n", tally(0, 1, 0, 0)),
        ("md hit\r\n", tally(0, 1, 0, 0)),
        ("md hit I T9\r\n", tally(0, 1, 0, 0)),
        ("md hit x\r\n", tally(0, 1, 0, 0)),
        ("set hit 0 0 2000000\r\n", tally(0, 1, 0, 0)),
    ] {
        let shared = sampling();
        let mut client = Client::new(&shared);
        client.ask(b"set hit 0 0 5\r\n12345\r\n");
        client.ask(b"hotkeys reset\r\n");
        shared.clock.advance(1);
        client.ask(request.as_bytes());
        assert_eq!(tallies(&shared)[&b"hit"[..]], expected, "{request}");
    }
}

#[test]
fn misses_of_keys_that_do_not_exist_are_counted() {
    for (request, expected) in [
        ("get none\r\n", tally(1, 0, 1, 0)),
        ("gat 5 none\r\n", tally(1, 0, 1, 0)),
        ("mg none v N30\r\n", tally(1, 0, 1, 0)),
        ("me none\r\n", tally(1, 0, 1, 0)),
        ("touch none 5\r\n", tally(0, 1, 1, 0)),
        ("delete none\r\n", tally(0, 1, 1, 0)),
        ("md none\r\n", tally(0, 1, 1, 0)),
        ("incr none 1\r\n", tally(0, 1, 1, 0)),
        ("ma none N0 J5\r\n", tally(0, 1, 1, 0)),
        ("replace none 0 0 1\r\nx\r\n", tally(0, 1, 0, 1)),
    ] {
        let shared = sampling();
        Client::new(&shared).ask(request.as_bytes());
        assert_eq!(tallies(&shared)[&b"none"[..]], expected, "{request}");
    }
}

#[test]
fn packets_and_datagrams_are_accesses() {
    let shared = sampling();
    let mut client = Client::new(&shared);
    for packet in [
        set("p", "12345"),
        get("p"),
        req(0x0c).key("p"),
        req(0x1d).u32(9).key("p"),
        arith(0x05, "p", 1, 0, 0),
        req(0x0e).key("p").value("xy"),
        store(0x02, "p", 0, 0, "z"),
        get("none"),
        req(0x04).key("p"),
    ] {
        client.ask(&packet.bytes());
    }
    let mut answerer = Answerer::default();
    answer(&mut answerer, &shared, b"\0\x01\0\0\0\x01\0\0get udp\r\n");
    let tallies = tallies(&shared);
    assert_eq!(tallies[&b"p"[..]], tally(3, 5, 0, 5 + 2 * 5 + 5 + 2 + 1));
    assert_eq!(tallies[&b"none"[..]], tally(1, 0, 1, 0));
    assert_eq!(tallies[&b"udp"[..]], tally(1, 0, 1, 0));
}

/// Keys of rank 1, 2, 3 … by Zipf's law with exponent 1.
struct Zipf {
    /// Sums of the weights up to each rank.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(keys: usize) -> Self {
        let weights = (1..=keys).map(|rank| 1.0 / rank as f64);
        Self { sums: weights.scan(0.0, |sum, weight| Some(*sum + weight).inspect(|next| *sum = *next)).collect() }
    }

    fn draw(&self, rng: &mut fastrand::Rng) -> usize {
        let at = rng.f64() * self.sums[self.sums.len() - 1];
        self.sums.partition_point(|sum| *sum < at)
    }
}

/// Sends single gets of keys by Zipf's law on four workers, a sample each `sample` accesses; returns the server and
/// how often each rank was asked for.
fn skewed_load(sample: u32, requests: usize) -> (Arc<Shared>, HashMap<usize, u64>) {
    let shared = shared(&format!("-t 4 -o hotkeys,hotkeys_sample={sample}"));
    shared.clock.advance(1);
    let mut clients: Vec<_> = (0..4).map(|worker| Client::of_worker(&shared, worker)).collect();
    let (zipf, mut rng, mut counts) = (Zipf::new(100_000), fastrand::Rng::with_seed(11), HashMap::new());
    for n in 0..requests {
        let rank = zipf.draw(&mut rng);
        *counts.entry(rank).or_insert(0u64) += 1;
        clients[n % 4].ask(format!("get key:{rank}\r\n").as_bytes());
    }
    shared.clock.advance(10);
    (shared, counts)
}

/// Rank and rate of the keys with the most misses.
fn ranked(shared: &Shared, count: usize) -> Vec<(usize, f64)> {
    let window = shared.cache.hotkeys.window(shared.clock.now()).unwrap();
    let rank = |key: &[u8]| std::str::from_utf8(key).unwrap()["key:".len()..].parse().unwrap();
    window.top(Weight::Misses).take(count).map(|hot| (rank(&hot.key), window.rate(hot.tally.misses))).collect()
}

#[test]
fn the_top_ten_of_a_skewed_load_are_found_with_their_rates() {
    let (shared, counts) = skewed_load(1, 200_000);
    let mut truth: Vec<_> = counts.iter().map(|(&rank, &count)| (count, rank)).collect();
    truth.sort_unstable_by(|one, other| other.cmp(one));
    let truth: Vec<usize> = truth[..10].iter().map(|(_, rank)| *rank).collect();
    let found = ranked(&shared, 10);
    assert_eq!(found.len(), 10);
    for (rank, rate) in found {
        assert!(truth.contains(&rank), "{rank} is none of {truth:?}");
        let true_rate = counts[&rank] as f64 / 10.0;
        assert!((rate / true_rate - 1.0).abs() < 0.1, "{rank}: {rate} for {true_rate}");
    }
}

/// Samples are random, so their bounds are those of six standard deviations.
#[test]
fn sampled_rates_are_scaled_back() {
    let (shared, counts) = skewed_load(10, 200_000);
    let found = ranked(&shared, 10);
    assert_eq!((found[0].0, found[1].0), (0, 1));
    for (rank, rate) in found {
        let (true_rate, samples) = (counts[&rank] as f64 / 10.0, counts[&rank] as f64 / 10.0);
        assert!((rate / true_rate - 1.0).abs() < 6.0 / samples.sqrt(), "{rank}: {rate} for {true_rate}");
    }
}

/// A steady countdown of 100 would always meet the same key of a multiget of 100.
#[test]
fn samples_keep_no_step_with_a_repeated_multiget() {
    const REQUESTS: u32 = 10_000;
    let shared = shared("-o hotkeys,hotkeys_sample=100");
    shared.clock.advance(1);
    let mut client = Client::new(&shared);
    let line = format!("get{}\r\n", (0..100).map(|n| format!(" key:{n}")).collect::<String>());
    for _ in 0..REQUESTS {
        client.ask(line.as_bytes());
    }
    shared.clock.advance(10);
    let found = ranked(&shared, 100);
    assert_eq!(found.len(), 100);
    for (key, rate) in found {
        let samples = rate * 10.0 / 100.0;
        assert!((40.0..160.0).contains(&samples), "{samples} samples of key {key}, of 100");
    }
}

#[test]
fn hot_keys_take_memory_only_while_they_are_on() {
    let shared = shared("-t 2");
    let mut client = Client::new(&shared);
    let bytes = || shared.cache.hotkeys.bytes();
    let rows = |client: &mut Client| {
        let settings = String::from_utf8(client.ask(b"stats settings\r\n")).unwrap();
        settings.lines().filter(|line| line.contains("hotkeys")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rows(&mut client), [""; 0]);
    assert_eq!(bytes(), 0);
    client.ask(b"hotkeys on\r\n");
    assert!((1 << 20..3 << 20).contains(&bytes()), "{}", bytes());
    assert_eq!(rows(&mut client), ["STAT hotkeys yes", "STAT hotkeys_sample 100", "STAT hotkeys_window 10"]);
    client.ask(b"hotkeys off\r\nget a\r\n");
    assert_eq!((bytes(), rows(&mut client).len()), (0, 0));
}

/// The rows of a report in packets, by name.
fn stat(client: &mut Client, words: &str) -> Vec<(String, String)> {
    let mut bytes = &client.ask(&req(0x10).key(words).bytes())[..];
    let mut rows = Vec::new();
    while let Some(head) = bytes.first_chunk::<24>() {
        let (key, body) = (usize::from(head[3]), u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize);
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
        rows.push((text(&bytes[24..24 + key]), text(&bytes[24 + key..24 + body])));
        bytes = &bytes[24 + body..];
    }
    assert_eq!(rows.pop(), Some((String::new(), String::new())), "an empty packet ends the rows");
    rows
}

#[test]
fn packets_ask_for_the_same_rows() {
    let shared = sampling();
    let mut text = Client::new(&shared);
    text.ask(b"set user:1 0 0 4\r\nabcd\r\nget user:1 none\r\nget user:1\r\n");
    shared.clock.advance(10);
    let mut packets = Client::new(&shared);
    for words in ["hotkeys", "hotkeys bytes 1", "largest 5", "prefixes", "prefixes : 1"] {
        let lines = String::from_utf8(text.ask(format!("stats {words}\r\n").as_bytes())).unwrap();
        let rows = stat(&mut packets, words);
        let as_text: String = rows.iter().map(|(name, value)| format!("STAT {name} {value}\r\n")).collect();
        assert_eq!(format!("{as_text}END\r\n"), lines);
        assert!(lines.contains("STAT 1 ") && lines.contains("=user"), "{lines}");
    }
    for (words, status) in [("hotkeys x", 0x04), ("largest 0", 0x04), ("hotkey", 0x01), (" ", 0x01)] {
        assert_eq!(packets.ask(&req(0x10).key(words).bytes()), err(0x10, status).bytes(), "{words}");
    }
    let mut refused = Client::new(&crate::support::shared("-X"));
    assert_eq!(refused.ask(&req(0x10).key("largest").bytes()), err(0x10, 0x01).bytes());
}

/// Values of a row's fields.
fn fields(line: &str) -> HashMap<&str, &str> {
    line.split(' ').filter_map(|field| field.split_once('=')).collect()
}

#[test]
fn the_largest_of_many_items_are_found_in_small_steps() {
    let shared = shared("-m 64");
    let (mut client, mut rng) = (Client::new(&shared), fastrand::Rng::with_seed(3));
    let mut sizes = Vec::new();
    for n in 0..20_000 {
        let value = if n % 500 == 0 { rng.usize(10_000..200_000) } else { rng.usize(1..2_000) };
        client.ask(format!("set key{n} 0 0 {value}\r\n{}\r\n", "v".repeat(value)).as_bytes());
        sizes.push((value, format!("key{n}")));
    }
    client.ask(b"delete none\r\n");
    sizes.sort_unstable();
    let lines = String::from_utf8(client.ask(b"stats largest 30\r\n")).unwrap();
    let found: Vec<_> = lines.lines().map(fields).filter(|row| !row.is_empty()).collect();
    let found: Vec<_> = found.iter().map(|row| (row["value"].parse().unwrap(), row["key"].to_owned())).collect();
    let expected: Vec<(usize, String)> = sizes.into_iter().rev().take(30).collect();
    assert_eq!(found, expected);
}

#[test]
fn prefixes_beyond_the_table_are_counted_together() {
    const PREFIXES: u64 = 20_000;
    let shared = shared("-m 64");
    let mut client = Client::new(&shared);
    for n in 0..PREFIXES {
        client.ask(format!("set {n}:key 0 0 1 noreply\r\nx\r\n").as_bytes());
    }
    client.ask(b"set plain 0 0 1 noreply\r\nx\r\n");
    let lines = String::from_utf8(client.ask(b"stats prefixes 1000\r\n")).unwrap();
    let row = |name: &str| {
        let line = lines.lines().find(|line| line.starts_with(&format!("STAT {name} "))).unwrap();
        let fields = fields(line);
        (fields["items"].parse::<u64>().unwrap(), fields["bytes"].parse::<u64>().unwrap())
    };
    let ranked = lines.lines().filter(|line| line.contains("prefix=")).count() as u64;
    assert!(lines.contains("STAT prefixes 16384\r\n") && ranked == 1000, "{ranked}");
    assert_eq!(row("total"), (shared.cache.store.items(), shared.cache.store.bytes()));
    assert_eq!((row("without_prefix").0, row("other_prefixes").0), (1, PREFIXES - ranked));
    assert_eq!(shared.stats.globals.reports.used(), 0, "its memory is given back");
}

#[test]
fn the_budget_of_reports_holds_for_these_too() {
    let shared = shared("-o hotkeys");
    let mut share = shared.stats.globals.reports.share();
    assert!(share.grow_to(64 << 20));
    for request in ["stats hotkeys\r\n", "stats prefixes\r\n"] {
        let mut client = Client::new(&shared);
        assert_eq!(client.ask(request.as_bytes()), b"");
        assert!(client.closed, "{request}");
    }
    drop(share);
    assert!(!Client::new(&shared).ask(b"stats hotkeys\r\nstats prefixes\r\n").is_empty());
}
