//! Memory: address space that is short at run time, and advice that the kernel refuses.

use crate::harness::{Client, Faulty, beside_a_witness, errors, until};
use crate::plan::{Call, Fault};

fn stat(client: &mut Client, name: &str) -> u64 {
    let rows = client.ask("stats\r\n", "END\r\n");
    let row = rows.lines().find_map(|row| row.strip_prefix(&format!("STAT {name} ")));
    row.unwrap_or_else(|| panic!("no {name} in {rows}")).parse().unwrap()
}

/// The value of a key: it identifies the key, and has a specific length.
fn value(key: u32, size: u32) -> String {
    format!("{key:010}").repeat((size / 10 + key % 7) as usize)
}

fn fill(client: &mut Client, keys: u32, size: u32) {
    for key in 0..keys {
        let value = value(key, size);
        let reply = client.ask(&format!("set key{key} 0 0 {}\r\n{value}\r\n", value.len()), "\r\n");
        assert_eq!(reply, "STORED\r\n");
    }
}

/// Asserts that each key is missing or has its value; returns the number of present keys.
fn check(client: &mut Client, keys: u32, size: u32) -> u32 {
    let mut found = 0;
    for key in 0..keys {
        let reply = client.ask(&format!("get key{key}\r\n"), "END\r\n");
        if reply != "END\r\n" {
            let value = value(key, size);
            assert!(
                reply == format!("VALUE key{key} 0 {}\r\n{value}\r\nEND\r\n", value.len()),
                "key {key}: {reply:.80}"
            );
            found += 1;
        }
    }
    found
}

#[test]
fn an_index_that_cannot_grow_keeps_working_and_grows_later() {
    let server = Faulty::start(&["-m", "64"]);
    let mut client = server.client();
    let add = |client: &mut Client, from: u32, to: u32| {
        let items: String = (from..to).map(|key| format!("set key{key} 0 0 1 noreply\r\nx\r\n")).collect();
        assert_eq!(client.ask(&format!("{items}mn\r\n"), "MN\r\n"), "MN\r\n");
    };
    for error in errors::MMAP {
        server.plan.set(Call::Mmap, Fault::error(error));
        until("a growth that fails", || {
            add(&mut client, 0, 150_000);
            server.plan.made(Call::Mmap) > 0
        });
    }
    assert_eq!(stat(&mut client, "curr_items"), 150_000);
    let before = stat(&mut client, "hash_power_level");
    server.plan.clear(Call::Mmap);
    until("growth", || {
        add(&mut client, 0, 400_000);
        stat(&mut client, "hash_power_level") > before
    });
    assert_eq!(stat(&mut client, "curr_items"), 400_000);
    server.end();
}

#[test]
fn pages_that_cannot_be_released_hold_no_old_items() {
    let server = Faulty::start(&["-m", "64", "-o", "slab_automove=2"]);
    let mut client = server.client();
    beside_a_witness(&server, || {
        for (round, error) in errors::MADVISE.into_iter().enumerate() {
            let (small, large) = ([100, 9000][round % 2], [9000, 100][round % 2]);
            fill(&mut client, 3000, small);
            server.plan.set(Call::Madvise, Fault::error(error));
            fill(&mut client, 3000, large);
            assert_eq!(client.ask("cache_memlimit 8\r\n", "\r\n"), "OK\r\n");
            until("a page that is given back", || server.plan.made(Call::Madvise) > 0);
            assert!(check(&mut client, 3000, large) > 0);
            assert_eq!(client.ask("cache_memlimit 64\r\n", "\r\n"), "OK\r\n");
            fill(&mut client, 3000, small);
            assert!(check(&mut client, 3000, small) > 0);
            server.plan.clear(Call::Madvise);
        }
    });
    server.end();
}

/// Requests that take much memory, each on its own connection.
fn greedy_requests() -> Vec<String> {
    let keys: String = (0..30_000).map(|key| format!("k{key} ")).collect();
    let prefixes: String = (0..20_000).map(|key| format!("get prefix{key}:{key}\r\n")).collect();
    let value = "v".repeat(900_000);
    vec![
        format!("get {keys}\r\n"),
        format!("get {}", "k ".repeat(1_500_000)),
        format!("stats detail on\r\n{prefixes}stats detail dump\r\nstats detail off\r\n"),
        format!("set large 0 0 900000\r\n{value}\r\nget large large large\r\nappend large 0 0 900000\r\n{value}\r\n"),
        "stats sizes\r\nstats items\r\nstats conns\r\n".to_owned(),
        "lru_crawler metadump all\r\n".to_owned(),
        "lru_crawler mgdump all\r\n".to_owned(),
        "watch fetchers mutations evictions\r\n".to_owned(),
        "mn\r\n".repeat(100_000),
        format!("ms k S900000 b\r\n{value}\r\nmg k v k s f t\r\n"),
    ]
}

#[test]
fn a_failed_large_allocation_costs_only_its_client() {
    let server = Faulty::start(&["-m", "64", "-o", "worker_logbuf_size=1024,watcher_logbuf_size=1024"]);
    let mut client = server.client();
    fill(&mut client, 2000, 100);
    beside_a_witness(&server, || {
        server.plan.set(Call::Memory, Fault::error(errors::ENOMEM).at_least((256 << 10) + 1));
        for request in greedy_requests() {
            let mut victim = server.client();
            // Any documented reply is allowed; the server must continue.
            victim.send_and_look(&request);
        }
        assert!(server.plan.made(Call::Memory) > 0);
        server.plan.clear(Call::Memory);
    });
    assert!(check(&mut client, 2000, 100) > 0);
    server.end();
}

#[test]
fn small_allocations_may_fail_occasionally() {
    let server = Faulty::start(&["-m", "64"]);
    let mut client = server.client();
    fill(&mut client, 2000, 100);
    beside_a_witness(&server, || {
        for request in greedy_requests() {
            // The reserve replaces one failed allocation, and is refilled within a second or two.
            server.plan.set(Call::Memory, Fault::error(errors::ENOMEM).times(1));
            server.client().send_and_look(&request);
            server.client().ask("mn\r\n", "MN\r\n");
            until("a failed allocation", || {
                server.client().ask("mn\r\n", "MN\r\n");
                server.plan.made(Call::Memory) == 1
            });
            server.plan.clear(Call::Memory);
            server.let_a_second_pass();
        }
    });
    assert!(check(&mut client, 2000, 100) > 0);
    server.end();
}
