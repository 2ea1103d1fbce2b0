//! Owns the bytes of requests: batches are built once; only the digits of their keys are rewritten before each send.
//! Called by `loader`, `pace`, `dialogue` and `fill`. Drawing a key costs a few nanoseconds, so the loader stays well
//! ahead of the server.

use crate::form::{Body, Reply, Request};
use crate::wire::{KEY_DIGITS, KEY_FIRST, KEY_PREFIX};

/// Prefix of the keys whose values are numbers.
const NUMBER_PREFIX: &str = "oxcached-nr:";
/// Prefix of the keys in base64. Digits are letters of base64 too, so the digits of a key may change.
const BASE64_PREFIX: &str = "b3hjYWNoZWQt";
/// Prefix of the keys that are never stored.
const MISSING_PREFIX: &str = "oxcached-no:";
/// Values of the keys with numbers.
pub const NUMBER: &str = "50000000";

/// One batch: bytes written at once, and replies awaited before the next.
#[derive(Clone)]
pub struct Template {
    pub bytes: Vec<u8>,
    /// Offsets of each key's digits in `bytes`.
    key_at: Vec<usize>,
    pub reply: Reply,
    /// Marks, or bytes, that the replies have.
    pub expected: u64,
    /// Operations to count: one per key.
    pub operations: u64,
    value_size: usize,
}

impl Template {
    pub fn new(reply: Reply, value_size: usize) -> Template {
        Template { bytes: Vec::new(), key_at: Vec::new(), reply, expected: 0, operations: 0, value_size }
    }

    /// Commands without any that follows them, and the `tail` of a batch.
    pub fn batch(request: Request, tail: Option<Request>, reply: Reply, depth: usize, value_size: usize) -> Template {
        let mut template = Template::new(reply, value_size);
        for _ in 0..depth {
            template.push(request);
        }
        if let Some(tail) = tail {
            let operations = template.operations;
            template.push(tail);
            template.operations = operations;
            template.expected = match (tail, reply) {
                // The mark is the tail's: it is the only one.
                (Request::Text(_), _) => 1,
                (Request::Binary { .. }, _) => template.expected - template.reply_size() + HEADER_BYTES as u64,
            };
        }
        template
    }

    fn reply_size(&self) -> u64 {
        match self.reply {
            Reply::Mark(_) => 1,
            Reply::Bytes { overhead, value } => (overhead + if value { self.value_size } else { 0 }) as u64,
        }
    }

    /// Appends a command.
    pub fn push(&mut self, request: Request) {
        match request {
            Request::Text(line) => self.push_text(line),
            Request::Binary { opcode, extras, key, body } => {
                let body = match body {
                    Body::None => 0,
                    Body::Value => self.value_size,
                    Body::Byte => 1,
                };
                let key_size = if key.is_empty() { 0 } else { KEY_PREFIX.len() + KEY_DIGITS };
                let mut header = [0; HEADER_BYTES];
                (header[0], header[1], header[3], header[4]) = (0x80, opcode, key_size as u8, extras.len() as u8);
                header[8..12].copy_from_slice(&((extras.len() + key_size + body) as u32).to_be_bytes());
                self.bytes.extend_from_slice(&header);
                self.bytes.extend_from_slice(extras);
                self.push_text(key);
                self.bytes.resize(self.bytes.len() + body, b'x');
            }
        }
        self.expected += self.reply_size();
    }

    /// Appends a command that is not answered, `count` times.
    pub fn push_lines(&mut self, line: &str, count: usize) {
        (0..count).for_each(|_| self.push_text(line));
    }

    fn push_text(&mut self, line: &str) {
        for &byte in line.as_bytes() {
            match byte {
                b'@' => self.push_key(KEY_PREFIX),
                b'%' => self.push_key(NUMBER_PREFIX),
                b'&' => self.push_key(BASE64_PREFIX),
                b'!' => self.push_key(MISSING_PREFIX),
                b'#' => self.bytes.extend_from_slice(self.value_size.to_string().as_bytes()),
                b'$' => self.bytes.resize(self.bytes.len() + self.value_size, b'x'),
                _ => self.bytes.push(byte),
            }
        }
    }

    fn push_key(&mut self, prefix: &str) {
        self.bytes.extend_from_slice(prefix.as_bytes());
        self.key_at.push(self.bytes.len());
        self.bytes.extend_from_slice(&[b'0'; KEY_DIGITS]);
        self.operations += 1;
    }

    /// Writes the next keys of `keys`.
    pub fn draw(&mut self, keys: &mut Keys) {
        for &at in &self.key_at {
            let number = KEY_FIRST + keys.next();
            self.bytes[at..at + 4].copy_from_slice(keys.digits.four(number / 10_000));
            self.bytes[at + 4..at + 8].copy_from_slice(keys.digits.four(number % 10_000));
        }
    }
}

const HEADER_BYTES: usize = 24;

/// The keys of a load, in order.
pub struct Keys {
    digits: Digits,
    order: Order,
}

enum Order {
    Uniform {
        random: fastrand::Rng,
        keys: u32,
    },
    /// Drawn beforehand, and used in turns.
    Drawn {
        numbers: Vec<u32>,
        at: usize,
    },
}

/// Draws of a skewed distribution before it repeats; 4 MB, read in order.
const DRAWS: usize = 1 << 20;
const SEED: u64 = 20_260_101;

impl Keys {
    /// Each of `keys` as likely as any other.
    pub fn uniform(keys: u32) -> Keys {
        Keys { digits: Digits::new(), order: Order::Uniform { random: fastrand::Rng::with_seed(SEED), keys } }
    }

    /// Zipf's law: key `n` is drawn with a chance that is proportional to `(n + 1)` to the power of `-exponent`.
    pub fn zipf(keys: u32, exponent: f64) -> Keys {
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut sums = Vec::with_capacity(keys as usize);
        let mut sum = 0.0;
        for rank in 1..=keys {
            sum += f64::from(rank).powf(-exponent);
            sums.push(sum);
        }
        // The popular keys lie anywhere in the order in which they were stored.
        let mut places = (0..keys).collect::<Vec<_>>();
        random.shuffle(&mut places);
        let draw = |_| {
            let rank = sums.partition_point(|&to| to < random.f64() * sum);
            places[rank.min(places.len() - 1)]
        };
        Keys::drawn((0..DRAWS).map(draw).collect())
    }

    /// Every one of `keys` once, in an order without a pattern; then again.
    pub fn shuffled(keys: std::ops::Range<u32>) -> Keys {
        let mut numbers = keys.collect::<Vec<_>>();
        fastrand::Rng::with_seed(SEED).shuffle(&mut numbers);
        Keys::drawn(numbers)
    }

    /// Each of `keys` in its order.
    pub fn counted(keys: std::ops::Range<u32>) -> Keys {
        Keys::drawn(keys.collect())
    }

    fn drawn(numbers: Vec<u32>) -> Keys {
        Keys { digits: Digits::new(), order: Order::Drawn { numbers, at: 0 } }
    }

    #[inline]
    fn next(&mut self) -> u32 {
        match &mut self.order {
            Order::Uniform { random, keys } => random.u32(0..*keys),
            Order::Drawn { numbers, at } => {
                let number = numbers[*at];
                *at = if *at + 1 == numbers.len() { 0 } else { *at + 1 };
                number
            }
        }
    }
}

/// The decimal digits of 0 to 9999.
struct Digits(Vec<[u8; 4]>);

impl Digits {
    fn new() -> Digits {
        let digit = |n: u32| b'0' + (n % 10) as u8;
        Digits((0..10_000).map(|n| [digit(n / 1000), digit(n / 100), digit(n / 10), digit(n)]).collect())
    }

    fn four(&self, number: u32) -> &[u8; 4] {
        &self.0[number as usize]
    }
}
