//! Request path without sockets: command lines through a `Session`, bytes to replies.
//!
//! `cargo bench --bench parse` times each kind of request: parsing, lookup and reply together. It shows whether a
//! change of the hot path helps; published figures come from `make bench`.
#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use support::{Client, shared};

/// Keys in the cache: enough to exceed the L1 cache, few enough to stay in the last-level cache.
const KEYS: usize = 10_000;

fn key(n: usize) -> String {
    format!("key:{:012}", n * 7919 % KEYS)
}

fn set(n: usize, len: usize) -> Vec<u8> {
    format!("set {} 0 0 {len}\r\n{}\r\n", key(n), "v".repeat(len)).into_bytes()
}

fn filled(len: usize) -> Client {
    let mut client = Client::new(&shared("-m 1024"));
    for n in 0..KEYS {
        client.feed(&set(n, len));
    }
    client.got.clear();
    client
}

/// Times `client` over the requests in rotation, each of `commands` commands.
fn time(c: &mut Criterion, name: &str, mut client: Client, commands: u64, requests: &[Vec<u8>]) {
    let mut group = c.benchmark_group("session");
    group.throughput(Throughput::Elements(commands));
    let mut turn = requests.iter().cycle();
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            client.got.clear();
            client.feed(turn.next().unwrap());
            black_box(&client.got);
        });
    });
    group.finish();
}

fn sessions(c: &mut Criterion) {
    let all = |request: &dyn Fn(usize) -> Vec<u8>| (0..KEYS).map(request).collect::<Vec<_>>();
    let get = |n: usize| format!("get {}\r\n", key(n)).into_bytes();
    let keys = |n: usize, many: usize| (n..n + many).map(|n| format!(" {}", key(n))).collect::<String>();
    let multiget = |many| move |n: usize| format!("get{}\r\n", keys(n, many)).into_bytes();
    let pipeline = |n: usize| (n..n + 20).flat_map(get).collect::<Vec<u8>>();
    let sets = |n: usize| (n..n + 20).flat_map(|n| set(n, 100)).collect::<Vec<u8>>();
    time(c, "get 100 B", filled(100), 1, &all(&get));
    time(c, "get 4096 B", filled(4096), 1, &all(&get));
    time(c, "get 20 KB, pinned", filled(20_000), 1, &all(&get));
    time(c, "get, a miss", filled(100), 1, &all(&|n| format!("get no{n}\r\n").into_bytes()));
    time(c, "20 gets in a pipeline", filled(100), 20, &all(&pipeline));
    time(c, "get of 10 keys", filled(100), 10, &all(&multiget(10)));
    time(c, "get of 100 keys", filled(100), 100, &all(&multiget(100)));
    time(c, "set 100 B", filled(100), 1, &all(&|n| set(n, 100)));
    time(c, "set 4096 B", filled(100), 1, &all(&|n| set(n, 4096)));
    time(c, "20 sets in a pipeline", filled(100), 20, &all(&sets));
    time(c, "no command", filled(1), 1, &[b"nonsense of some length\r\n".to_vec()]);
}

criterion_group!(benches, sessions);
criterion_main!(benches);
