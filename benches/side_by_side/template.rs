//! Owns the requests of the built-in loader: batches built once; only their key digits are rewritten before each
//! send. Called by `loader`. Drawing a key costs a few nanoseconds, so the loader stays well ahead of the server.

use crate::wire::{KEY_DIGITS, KEY_FIRST, KEY_PREFIX};
use crate::workload::{Mix, Plan, Verb};

/// One batch: bytes written at once, and replies awaited before the next.
#[derive(Clone)]
pub struct Template {
    pub bytes: Vec<u8>,
    /// Offsets of each key's digits in `bytes`.
    key_at: Vec<usize>,
    /// Expected replies: one per command.
    pub replies: u64,
    /// Operations to count: one per key.
    pub operations: u64,
}

impl Template {
    /// The batches that a connection repeats in order.
    pub fn all(plan: &Plan) -> Vec<Template> {
        let cycle = match plan.mix {
            Mix::Gets | Mix::Sets => 1,
            Mix::OneSetIn(period) => period,
        };
        (0..cycle).map(|phase| Template::build(plan, phase * plan.depth)).collect()
    }

    fn build(plan: &Plan, first: usize) -> Template {
        let mut template = Template { bytes: Vec::new(), key_at: Vec::new(), replies: 0, operations: 0 };
        for number in first..first + plan.depth {
            let set = match plan.mix {
                Mix::Gets => false,
                Mix::Sets => true,
                Mix::OneSetIn(period) => number % period == period - 1,
            };
            if set { template.push_set(plan.value_size) } else { template.push_get(plan) }
        }
        template
    }

    fn push_key(&mut self) {
        self.bytes.extend_from_slice(KEY_PREFIX.as_bytes());
        self.key_at.push(self.bytes.len());
        self.bytes.extend_from_slice(&[b'0'; KEY_DIGITS]);
        self.operations += 1;
    }

    fn push_get(&mut self, plan: &Plan) {
        self.bytes.extend_from_slice(match plan.verb {
            Verb::Get => b"get",
            Verb::MetaGet => b"mg",
        });
        for _ in 0..plan.keys_per_get {
            self.bytes.push(b' ');
            self.push_key();
        }
        self.bytes.extend_from_slice(match plan.verb {
            Verb::Get => b"\r\n",
            Verb::MetaGet => b" v\r\n",
        });
        self.replies += 1;
    }

    fn push_set(&mut self, value_size: usize) {
        self.bytes.extend_from_slice(b"set ");
        self.push_key();
        self.bytes.extend_from_slice(format!(" 0 0 {value_size}\r\n").as_bytes());
        self.bytes.resize(self.bytes.len() + value_size, b'x');
        self.bytes.extend_from_slice(b"\r\n");
        self.replies += 1;
    }

    /// Draws new keys among the first `keys`.
    pub fn draw(&mut self, random: &mut fastrand::Rng, digits: &Digits, keys: u32) {
        for &at in &self.key_at {
            let number = KEY_FIRST + random.u32(0..keys);
            self.bytes[at..at + 4].copy_from_slice(digits.four(number / 10_000));
            self.bytes[at + 4..at + 8].copy_from_slice(digits.four(number % 10_000));
        }
    }
}

/// The decimal digits of 0 to 9999.
pub struct Digits(Vec<[u8; 4]>);

impl Digits {
    pub fn new() -> Digits {
        let digit = |n: u32| b'0' + (n % 10) as u8;
        Digits((0..10_000).map(|n| [digit(n / 1000), digit(n / 100), digit(n / 10), digit(n)]).collect())
    }

    fn four(&self, number: u32) -> &[u8; 4] {
        &self.0[number as usize]
    }
}
