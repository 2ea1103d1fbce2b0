//! Owns the generation of random cases: kinds of exchange, their shares, connections and splits. Called by `main`
//! with a seeded generator: the same seed gives the same case.

mod admin;
mod binary;
mod datagram;
mod fields;
mod lookup;
mod meta;
mod odd;
mod storage;

use fastrand::Rng;

use crate::compare::Compare;
use crate::stream::{ALL_CONNECTIONS, CONNECTIONS, Case, Command, End, Exchange, Part, Transport};

const EXCHANGES_MAX: usize = 150;

/// Flags of every case. With its LRU maintainer running, memcached sometimes holds a reference to an item that was
/// read twice, and incr and decr then store a new item, as long as the number is, in place of a padded one.
const ALWAYS: &[&str] = &["-o", "no_lru_maintainer"];

/// Further flags; most cases run with none.
const FLAGS: &[&[&str]] =
    &[&["-C"], &["-F"], &["-X"], &["-D", "/"], &["-I", "2m"], &["-R", "1"], &["-M"], &["-B", "ascii"]];

/// Contents of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text and meta commands.
    Text,
    /// Packets.
    Binary,
    /// Both, on separate connections.
    Mixed,
    /// Both over TLS.
    Tls,
    /// Datagrams of both.
    Udp,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Text, Kind::Binary, Kind::Mixed, Kind::Tls, Kind::Udp];

    /// Kind by its name in `DIFF_ONLY`.
    pub fn named(name: &str) -> Kind {
        let found = Self::ALL.into_iter().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("no such kind of case: {name}; there are {:?}", Self::ALL))
    }

    pub fn transport(self) -> Transport {
        match self {
            Kind::Text | Kind::Binary | Kind::Mixed => Transport::Unix,
            Kind::Tls => Transport::Tls,
            Kind::Udp => Transport::Udp,
        }
    }
}

/// One case.
pub fn case(random: &mut Rng, kind: Kind) -> Case {
    let (only_packets, only_text) = (kind == Kind::Binary, kind == Kind::Text);
    let mut flags = ALWAYS.to_vec();
    if random.u8(..4) == 0 {
        let more = pick(random, FLAGS);
        let fits = more[0] != "-B" || !(only_packets || kind == Kind::Udp);
        flags.extend_from_slice(if fits { more } else { &[] });
    }
    let datagrams_of_packets = random.bool();
    let packets = !flags.contains(&"-B") && !only_text && (only_packets || random.u8(..3) > 0);
    let make = |random: &mut Rng| match packets && (only_packets || random.bool()) {
        _ if kind == Kind::Udp => vec![datagram::exchange(random, datagrams_of_packets)],
        true => packets_of(random),
        false => exchanges(random),
    };
    let mut exchanges = (0..random.usize(1..EXCHANGES_MAX)).flat_map(|_| make(random)).collect::<Vec<_>>();
    if kind == Kind::Udp {
        exchanges.push(datagram::farewell(random));
    }
    Case { transport: kind.transport(), flags, exchanges }
}

/// Usually one exchange; two if the second uses results of the first.
fn exchanges(random: &mut Rng) -> Vec<Exchange> {
    let connection = random.usize(..CONNECTIONS);
    let alone = |command: Command| vec![Exchange::new(connection, vec![command])];
    match random.u8(..100) {
        // Shows a cas id, so that a later command can use it.
        0..12 => {
            let key = fields::key(random);
            let gets = Command::bytes([b"gets ", key.as_slice(), b"\r\n"].concat());
            let cas = storage::cas(random, &key);
            vec![Exchange::new(connection, vec![gets]), Exchange::new(random.usize(..CONNECTIONS), vec![cas])]
        }
        // The same with meta commands.
        32..40 => {
            let key = fields::key(random);
            let gets = Command::bytes([b"gets ", key.as_slice(), b"\r\n"].concat());
            let second = if random.bool() { meta::cas(random, &key) } else { meta::compare(random, &key) };
            let second =
                Exchange { compare: Compare::Meta, ..Exchange::new(random.usize(..CONNECTIONS), vec![second]) };
            vec![Exchange::new(connection, vec![gets]), second]
        }
        12..15 => alone(storage::large(random)),
        15..19 => alone(odd::long_line(random)),
        19..22 => alone(odd::closing(random)),
        30..32 => alone(lookup::long_key(random)),
        22..24 => vec![Exchange { end: End::HalfClose, ..Exchange::new(connection, vec![odd::unfinished(random)]) }],
        24..30 => {
            let (line, compare) = admin::report(random);
            vec![Exchange { compare, ..Exchange::new(connection, vec![Command::bytes(line)]) }]
        }
        _ => vec![pipeline(random, connection, short)],
    }
}

/// The same with packets, on their own connections.
fn packets_of(random: &mut Rng) -> Vec<Exchange> {
    let connection = random.usize(CONNECTIONS..ALL_CONNECTIONS);
    let alone = |command: Command| vec![Exchange::new(connection, vec![command])];
    match random.u8(..100) {
        0..15 => alone(binary::show(random)),
        15..19 => alone(binary::large(random)),
        19..24 => alone(binary::closing(random)),
        24..26 => vec![Exchange { end: End::HalfClose, ..Exchange::new(connection, vec![binary::unfinished(random)]) }],
        26..30 => {
            let (command, compare) = binary::report(random);
            vec![Exchange { compare, ..Exchange::new(connection, vec![command]) }]
        }
        _ => vec![pipeline(random, connection, binary::short)],
    }
}

/// Several short commands in a row, split anywhere.
fn pipeline(random: &mut Rng, connection: usize, short: fn(&mut Rng, Theme) -> Command) -> Exchange {
    let count = if random.u8(..20) == 0 { random.usize(15..70) } else { random.usize(1..7) };
    let theme = if random.bool() { Theme::Reads } else { Theme::Arithmetic };
    let mut commands = (0..count).map(|_| short(random, theme)).collect::<Vec<_>>();
    if random.u8(..3) == 0 {
        for _ in 0..random.usize(1..5) {
            let chosen = random.usize(..commands.len());
            cut(random, &mut commands[chosen]);
        }
    }
    Exchange { compare: Compare::Meta, ..Exchange::new(connection, commands) }
}

/// Reads and arithmetic do not share a pipeline: while the reply to a read waits in the same batch, memcached's incr
/// and decr store a new item in place of a padded one.
#[derive(Clone, Copy)]
enum Theme {
    Reads,
    Arithmetic,
}

/// A command with lines short enough to be split without triggering the line rules.
fn short(random: &mut Rng, theme: Theme) -> Command {
    match (random.u8(..100), theme) {
        (0..20, _) => storage::store(random),
        (20..30, _) => meta::store(random),
        (30..45, Theme::Reads) => odd::varied(random, lookup::read),
        (30..45, Theme::Arithmetic) => odd::varied(random, lookup::arithmetic),
        (45..65, _) => odd::varied(random, |random| meta::line(random, theme)),
        (65..75, _) => odd::varied(random, lookup::change),
        (75..82, _) => odd::varied(random, admin::line),
        (82..91, Theme::Reads) => Command::bytes(odd::line(random)),
        (91..93, _) => meta::broken(random),
        _ => storage::broken(random),
    }
}

/// Splits one of a command's byte strings into two writes.
fn cut(random: &mut Rng, command: &mut Command) {
    let index = random.usize(..command.parts.len());
    let Part::Bytes(bytes) = &mut command.parts[index] else { return };
    let rest = bytes.split_off(random.usize(..=bytes.len()));
    let end = if random.bool() { Part::Barrier } else { Part::Split };
    command.parts.insert(index + 1, end);
    command.parts.insert(index + 2, Part::Bytes(rest));
}

fn pick<'a, T: ?Sized>(random: &mut Rng, choices: &[&'a T]) -> &'a T {
    choices[random.usize(..choices.len())]
}

#[test]
fn equal_seeds_make_equal_cases() {
    for (seed, kind) in (0..50).zip(Kind::ALL.into_iter().cycle()) {
        let [first, second] = [(); 2].map(|()| case(&mut Rng::with_seed(seed), kind).describe());
        assert_eq!(first, second);
    }
}
