//! Whole sessions: several connections on one server, cut anywhere, with time passing.
//!
//! The first byte of an input chooses the options. What follows are bytes for the current connection, and operations:
//! the escape byte and a letter. `0` to `3` choose the connection, `|` ends an arrival, `.` hangs up, `h` stops reading
//! replies and `r` reads again, `w` lets all four connections read, `s` sweeps, `g` grows the index by a step, `m` has
//! the next byte set the memory limit in MiB, `t` lets as many seconds pass as the next byte says, `T` as many hours.
//!
//! Promises: replies are whole; a roomy server answers alike however the bytes are cut; no memory is lost.

use super::conversation::{self, Outcome};
use super::support::{Client, sweep};
use super::{ESCAPE, contains, dice, server};
use oxcached::proto::Shared;
use std::sync::Arc;

/// Options by the input's first byte; those of the second list have memory for very little.
const ROOMY: [&str; 4] = [
    server::ROOMY,
    "-m 64 -t 1 -C -D / -o hashpower=12,slab_sizes=600-4000-20000-100000,slab_chunk_max=256",
    "-m 64 -t 1 -R 2 -F -o hashpower=12,slab_sizes=600-4000-20000-100000,slab_chunk_max=256",
    "-m 64 -t 1 -I 16k -n 500 -f 3 -o hashpower=12,slab_chunk_max=8",
];
const TIGHT: [&str; 4] = [
    "-m 1 -I 64k -t 1 -o hashpower=12,slab_sizes=600-4000-20000,slab_chunk_max=32",
    "-m 1 -I 64k -t 1 -M -o hashpower=12,slab_sizes=600-4000-20000,slab_chunk_max=32",
    "-m 1 -t 1 -I 16k -n 500 -f 2 -o hashpower=12,slab_chunk_max=1",
    "-m 2 -t 1 -I 512k -o hashpower=12,slab_sizes=8000-100000,slab_chunk_max=256,read_buf_mem_limit=1",
];

const CONNECTIONS: usize = 4;

enum Op<'a> {
    Bytes(&'a [u8]),
    Choose(usize),
    Cut,
    HangUp,
    Deaf,
    Listen,
    ListenAll,
    Sweep,
    Grow,
    Limit(u8),
    Seconds(i64),
}

/// Runs one input.
pub fn run(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let choice = usize::from(*choice);
    if choice % 8 >= ROOMY.len() {
        play(TIGHT[choice % TIGHT.len()], rest, None);
        return;
    }
    let options = ROOMY[choice % ROOMY.len()];
    let whole = play(options, rest, None);
    let cut = play(options, rest, Some(dice(input)));
    if conversation::depends_on_cuts(rest) || contains(rest, &[ESCAPE, b'h']) || contains(rest, &[ESCAPE, b'm']) {
        return;
    }
    assert_eq!(whole.len(), cut.len());
    whole.iter().zip(&cut).for_each(|(whole, cut)| cut.assert_same(whole, &"random places"));
}

/// What each connection has read, in the order of their ends.
fn play(options: &str, input: &[u8], mut cuts: Option<fastrand::Rng>) -> Vec<Outcome> {
    let shared = server::start(options);
    let mut stage = Stage::new(&shared, input);
    for op in ops(input) {
        match (op, &mut cuts) {
            (Op::Bytes(mut bytes), Some(dice)) => {
                while !bytes.is_empty() {
                    let (piece, rest) = bytes.split_at(dice.usize(1..=bytes.len()));
                    stage.act(Op::Bytes(piece));
                    bytes = rest;
                }
            }
            (op, _) => stage.act(op),
        }
    }
    stage.end()
}

/// The server and its clients.
struct Stage<'a> {
    shared: Arc<Shared>,
    input: &'a [u8],
    clients: [Option<Client>; CONNECTIONS],
    /// First byte of each connection: the protocol.
    first: [Option<u8>; CONNECTIONS],
    current: usize,
    ended: Vec<Outcome>,
}

impl<'a> Stage<'a> {
    fn new(shared: &Arc<Shared>, input: &'a [u8]) -> Self {
        let (clients, first) = ([const { None }; CONNECTIONS], [None; CONNECTIONS]);
        Self { shared: Arc::clone(shared), input, clients, first, current: 0, ended: Vec::new() }
    }

    fn act(&mut self, op: Op<'_>) {
        let (at, store, now) = (self.current, self.shared.cache.store, self.shared.clock.now());
        match op {
            Op::Bytes(bytes) => {
                self.first[at] = self.first[at].or(bytes.first().copied());
                self.client().feed(bytes);
            }
            Op::Choose(number) => self.current = number,
            Op::Cut => {}
            Op::HangUp => self.hang_up(at),
            Op::Deaf => self.client().deaf = true,
            Op::Listen => self.listen(at),
            Op::ListenAll => (0..CONNECTIONS).for_each(|at| self.listen(at)),
            Op::Sweep => sweep(store, now),
            Op::Grow => drop(store.grow_step(1000)),
            Op::Limit(mebibytes) => drop(store.set_limit(u64::from(mebibytes) << 20)),
            Op::Seconds(seconds) => self.shared.clock.advance(seconds),
        }
    }

    fn client(&mut self) -> &mut Client {
        self.clients[self.current].get_or_insert_with(|| Client::new(&self.shared))
    }

    fn listen(&mut self, at: usize) {
        if let Some(client) = &mut self.clients[at] {
            client.listen();
        }
    }

    /// The client goes; what it has read must be whole, and what it has not is nobody's.
    fn hang_up(&mut self, at: usize) {
        let Some(mut client) = self.clients[at].take() else { return };
        let outcome = Outcome::of(&mut client);
        let binary = self.first[at].take() == Some(0x80);
        // Packets may bring keys with line ends in them.
        if binary || !contains(self.input, b"\x80") {
            outcome.assert_whole(binary, self.input);
        }
        self.ended.push(outcome);
    }

    fn end(mut self) -> Vec<Outcome> {
        self.act(Op::ListenAll);
        (0..CONNECTIONS).for_each(|at| self.hang_up(at));
        assert_eq!(Client::new(&self.shared).ask(b"mn\r\n"), b"MN\r\n", "a new client is served");
        server::stop(&self.shared);
        self.ended
    }
}

fn ops(mut input: &[u8]) -> impl Iterator<Item = Op<'_>> {
    std::iter::from_fn(move || {
        let op = match *input {
            [] => return None,
            [ESCAPE, digit @ b'0'..=b'3', ..] => (2, Op::Choose(usize::from(digit - b'0'))),
            [ESCAPE, b'|', ..] => (2, Op::Cut),
            [ESCAPE, b'.', ..] => (2, Op::HangUp),
            [ESCAPE, b'h', ..] => (2, Op::Deaf),
            [ESCAPE, b'r', ..] => (2, Op::Listen),
            [ESCAPE, b'w', ..] => (2, Op::ListenAll),
            [ESCAPE, b's', ..] => (2, Op::Sweep),
            [ESCAPE, b'g', ..] => (2, Op::Grow),
            [ESCAPE, b'm', limit, ..] => (3, Op::Limit(limit)),
            [ESCAPE, b't', seconds, ..] => (3, Op::Seconds(seconds.into())),
            [ESCAPE, b'T', hours, ..] => (3, Op::Seconds(i64::from(hours) * 3600)),
            [_, ref rest @ ..] => {
                let len = 1 + rest.iter().position(|byte| *byte == ESCAPE).unwrap_or(rest.len());
                (len, Op::Bytes(&input[..len]))
            }
        };
        input = &input[op.0..];
        Some(op.1)
    })
}
