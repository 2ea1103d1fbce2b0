//! Owns the packets: valid ones, ones that close the connection, incomplete ones, reports. Called by `generate`.

use fastrand::Rng;

use super::{Theme, fields};
use crate::compare::Compare;
use crate::stream::{Command, Part};

/// A packet before encoding.
#[derive(Default)]
struct Packet {
    opcode: u8,
    extras: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
}

const FLAGS: [u32; 5] = [0, 0, 1, 5, u32::MAX];
/// Never, at once, or far from now.
const EXPTIMES: [u32; 9] = [0, 0, 0, 0, 100_000, 2_592_000, 2_592_001, 2_000_000_000, u32::MAX];
const NUMBERS: [u64; 9] = [0, 1, 1, 5, 10, 99, 4_294_967_296, u64::MAX - 1, u64::MAX];
/// Arguments of `stat` with replies that depend on the commands alone. A bare `detail` does not qualify: memcached
/// reads past it.
const WORDS: [&str; 11] = [
    "reset",
    "resetXYZ",
    "sizes",
    "sizes_enable",
    "detail on",
    "detail off",
    "detail x",
    "conns",
    "cachedump 1 0",
    "item",
    "nonsense",
];

fn one<T: Copy>(random: &mut Rng, choices: &[T]) -> T {
    choices[random.usize(..choices.len())]
}

/// Plain nearly as often as quiet.
fn either(random: &mut Rng, loud: u8, quiet: u8) -> u8 {
    if random.u8(..3) == 0 { quiet } else { loud }
}

fn u32s(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

impl Packet {
    fn new(opcode: u8, extras: Vec<u8>, key: Vec<u8>, value: Vec<u8>) -> Packet {
        Packet { opcode, extras, key, value }
    }

    /// All bytes before the CAS id.
    fn head(&self, opaque: u32) -> Vec<u8> {
        let body = (self.extras.len() + self.key.len() + self.value.len()) as u32;
        let key = (self.key.len() as u16).to_be_bytes();
        let lengths = [&[0x80, self.opcode], key.as_slice(), &[self.extras.len() as u8, 0, 0, 0]].concat();
        [lengths.as_slice(), &body.to_be_bytes(), &opaque.to_be_bytes()].concat()
    }

    fn body(&self) -> Vec<u8> {
        [self.extras.as_slice(), &self.key, &self.value].concat()
    }

    fn plain(&self, random: &mut Rng, cas: u64) -> Vec<u8> {
        [self.head(random.u32(..)).as_slice(), &cas.to_be_bytes(), &self.body()].concat()
    }

    /// A command with no CAS id, a wrong one or the last one seen.
    fn command(&self, random: &mut Rng) -> Command {
        match random.u8(..12) {
            0 => Command::bytes(self.plain(random, 1)),
            1..4 => Command::bytes(self.head(random.u32(..)))
                .then(Part::CasNumber(self.key.clone()))
                .then_bytes(self.body()),
            _ => Command::bytes(self.plain(random, 0)),
        }
    }
}

/// A valid packet.
pub fn short(random: &mut Rng, theme: Theme) -> Command {
    let packet = match (random.u8(..100), theme) {
        (0..25, _) => store(random),
        (25..35, _) => {
            let (loud, quiet) = one(random, &[(0x0e, 0x19), (0x0f, 0x1a)]);
            Packet::new(either(random, loud, quiet), vec![], fields::key(random), fields::value(random))
        }
        (35..60, Theme::Reads) => read(random),
        (35..60, Theme::Arithmetic) => arith(random),
        (60..70, _) => Packet::new(either(random, 0x04, 0x14), vec![], fields::key(random), vec![]),
        (70..73, _) => {
            let when = one(random, &[0, 0, 100_000, 2_592_001, 1_000_000_000]);
            let extras = if random.bool() { u32s(&[when]) } else { vec![] };
            Packet::new(either(random, 0x08, 0x18), extras, vec![], vec![])
        }
        (73..80, _) => Packet::new(0x10, vec![], one(random, &WORDS).into(), vec![]),
        (80..84, _) => {
            // With a body, memcached reads past these.
            let opcode = one(random, &[0x1b, 0x1f, 0x20, 0x25, 0x30, 0x7f, 0xff]);
            Packet::new(opcode, vec![], vec![], vec![])
        }
        (84..86, _) => Packet::new(one(random, &[0x21, 0x22]), vec![], b"PLAIN".into(), fields::value(random)),
        _ => Packet::new(one(random, &[0x0a, 0x0b]), vec![], vec![], vec![]),
    };
    packet.command(random)
}

fn store(random: &mut Rng) -> Packet {
    let (loud, quiet) = one(random, &[(0x01, 0x11), (0x01, 0x11), (0x02, 0x12), (0x03, 0x13)]);
    let extras = u32s(&[one(random, &FLAGS), one(random, &EXPTIMES)]);
    Packet::new(either(random, loud, quiet), extras, fields::key(random), fields::value(random))
}

fn read(random: &mut Rng) -> Packet {
    let opcode = one(random, &[0x00, 0x09, 0x0c, 0x0c, 0x0d, 0x1c, 0x1d, 0x1e, 0x23, 0x24]);
    let extras = if opcode >= 0x1c { u32s(&[one(random, &EXPTIMES)]) } else { vec![] };
    Packet::new(opcode, extras, fields::key(random), vec![])
}

fn arith(random: &mut Rng) -> Packet {
    let (loud, quiet) = one(random, &[(0x05, 0x15), (0x06, 0x16)]);
    let numbers = [one(random, &NUMBERS), one(random, &NUMBERS)].map(u64::to_be_bytes).concat();
    let extras = [numbers, u32s(&[one(random, &[0, u32::MAX, 100_000, 2_592_001])])].concat();
    Packet::new(either(random, loud, quiet), extras, fields::key(random), vec![])
}

/// Shows a CAS id, so that a later packet can use it.
pub fn show(random: &mut Rng) -> Command {
    Command::bytes(Packet::new(0x0c, vec![], fields::key(random), vec![]).plain(random, 0))
}

/// Stores a value about the sizes where storage changes, and reads it. Uses its own keys, without arithmetic.
pub fn large(random: &mut Rng) -> Command {
    let key = b"big".repeat(one(random, &[1, 2, 83]));
    let item_max = 1_048_576 - 48 - 8 - (key.len() + 1) - 2;
    let size = match random.u8(..4) {
        0 => 524_288 - random.usize(..200),
        1 => random.usize(2_000..20_000),
        _ => item_max + 3 - random.usize(..9),
    };
    let value = vec![b'a' + random.u8(..26); size];
    let flags = one(random, &FLAGS);
    let packet = match random.u8(..4) {
        0 => Packet::new(one(random, &[0x0e, 0x0f, 0x19]), vec![], key.clone(), value),
        _ => Packet::new(one(random, &[0x01, 0x02, 0x03, 0x11]), u32s(&[flags, 0]), key.clone(), value),
    };
    let mut bytes = packet.plain(random, 0);
    bytes.extend(Packet::new(0x0c, vec![], key, vec![]).plain(random, 0));
    Command::bytes(bytes)
}

/// Packets that end the connection. Sent alone: replies of earlier packets in the same read may be lost.
pub fn closing(random: &mut Rng) -> Command {
    let key = fields::key(random);
    let long = vec![b'k'; 251];
    let packet = match random.u8(..16) {
        0 => Packet::new(0x00, vec![], long, vec![]),
        1 => Packet::new(0x40, vec![], long, vec![]),
        2 => Packet::new(0x00, vec![], vec![], vec![]),
        3 => Packet::new(0x09, vec![0; 4], key, vec![]),
        4 => Packet::new(0x0c, vec![], key, b"x".into()),
        5 => Packet::new(0x1d, vec![], key, vec![]),
        6 => Packet::new(0x01, vec![0; 4], key, b"x".into()),
        7 => Packet::new(0x11, vec![0; 8], vec![], b"x".into()),
        8 => Packet::new(0x0e, vec![0; 4], key, b"x".into()),
        9 => Packet::new(0x05, vec![0; 16], key, vec![]),
        10 => Packet::new(0x08, vec![0; 8], vec![], vec![]),
        11 => Packet::new(one(random, &[0x07, 0x17, 0x0a, 0x0b]), vec![], key, vec![]),
        12 => Packet::new(0x10, vec![0; 4], vec![], vec![]),
        13 => Packet::new(one(random, &[0x07, 0x17]), vec![], vec![], vec![]),
        14 => return Command::bytes(b"get a\r\nget a\r\nget a\r\nget a\r\n"),
        _ => {
            // Extras and key beyond the body.
            let mut bytes = Packet::new(one(random, &[0x00, 0x01, 0x40]), vec![0; 8], key, vec![]).plain(random, 0);
            bytes[8..12].copy_from_slice(&random.u32(..8).to_be_bytes());
            return Command::bytes(bytes);
        }
    };
    Command::bytes(packet.plain(random, 0))
}

/// Input that stops in the middle, before the client closes.
pub fn unfinished(random: &mut Rng) -> Command {
    let whole = store(random).plain(random, 0);
    let cut = random.usize(..whole.len().min(100));
    show(random).then(Part::Barrier).then_bytes(&whole[..cut])
}

/// A report, and the comparison of its replies.
pub fn report(random: &mut Rng) -> (Command, Compare) {
    let (word, compare) = one(random, &[("", Compare::StatPackets), ("settings", Compare::SettingPackets)]);
    (Command::bytes(Packet::new(0x10, vec![], word.into(), vec![]).plain(random, 0)), compare)
}
