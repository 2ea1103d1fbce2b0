//! Owns the generated request streams: the next key, the size of its value and its lifetime.
//!
//! A mix is a pure function of its seed, so both servers see the same requests. Called by `main`.

use fastrand::Rng;

/// Length of a key of the mixes.
pub const KEY_BYTES: usize = 20;

/// Seed of every mix.
const SEED: u64 = 0x0bad_cafe;

/// Operation on a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Op {
    /// Get; stored after a miss.
    #[default]
    Get,
    /// Set without a get.
    Set,
    /// Deleted.
    Delete,
}

/// One request. The source refills it each time, so that the key's memory is reused.
#[derive(Default)]
pub struct Request {
    pub op: Op,
    pub key: String,
    /// Value length in bytes.
    pub value: usize,
    /// Seconds to live, 0 = never expires.
    pub ttl: u32,
}

impl Request {
    fn ask(&mut self, space: char, number: u64, value: usize, ttl: u32) {
        use std::fmt::Write as _;
        self.key.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.key, "hr:{space}:{number:0width$}", width = KEY_BYTES - 5);
        (self.op, self.value, self.ttl) = (Op::Get, value, ttl);
    }
}

/// A stream of requests: fills in the next one; false after the last.
pub type Source = Box<dyn FnMut(&mut Request) -> bool>;

/// One stream and the size of its cache.
pub struct Mix {
    pub name: &'static str,
    pub about: &'static str,
    /// `-m`.
    pub megabytes: u64,
    /// Target for oxcached's misses, as a share of memcached's.
    pub target: f64,
    /// Requests per second if time affects the result; otherwise unlimited.
    pub pace: Option<u32>,
    make: fn(Rng) -> Source,
}

impl Mix {
    pub fn source(&self) -> Source {
        (self.make)(Rng::with_seed(SEED))
    }
}

/// `-m` of the mixes.
const MEGABYTES: u64 = 8;
/// Number of keys for which a cache of `MEGABYTES` holds a tenth of keys and values of 100 bytes.
const TENTH: u64 = MEGABYTES * 1024 * 1024 * 10 / (KEY_BYTES as u64 + 100);

pub static MIXES: [Mix; 9] = [
    mix("zipf09-1", 0.85, "Zipf 0.9, values of 100 bytes, -m is 1 % of keys and values", |rng| {
        zipf(rng, 0.9, 10 * TENTH)
    }),
    mix("zipf09-10", 0.85, "the same, -m is 10 %", |rng| zipf(rng, 0.9, TENTH)),
    mix("zipf10-1", 0.85, "Zipf 1.0, -m is 1 %", |rng| zipf(rng, 1.0, 10 * TENTH)),
    mix("zipf10-10", 0.85, "Zipf 1.0, -m is 10 %", |rng| zipf(rng, 1.0, TENTH)),
    mix("scan", 1.0, "zipf10-10, every fifth request belongs to a scan over 10 million other keys", scan),
    mix("churn", 1.0, "every 20 requests a new key, the most popular one until the next comes", churn),
    mix("shift", 1.0, "Zipf 0.9, a tenth; every 500,000 requests half of the keys change their popularity", shift),
    mix("sizes", 0.80, "four sizes of 40 to 4000 bytes, of which another is popular every 500,000 requests", sizes),
    Mix { pace: Some(250_000), ..mix("ttl", 1.0, "Zipf 0.9, a tenth; three of four keys live 2 to 15 seconds", ttl) },
];

const fn mix(name: &'static str, target: f64, about: &'static str, make: fn(Rng) -> Source) -> Mix {
    Mix { name, about, megabytes: MEGABYTES, target, pace: None, make }
}

fn zipf(mut rng: Rng, exponent: f64, keys: u64) -> Source {
    let zipf = Zipf::new(keys, exponent);
    Box::new(move |request| {
        request.ask('z', zipf.rank(&mut rng), 100, 0);
        true
    })
}

fn scan(mut rng: Rng) -> Source {
    const EACH: u64 = 50_000;
    let zipf = Zipf::new(TENTH, 1.0);
    let mut at = 0;
    Box::new(move |request| {
        at += 1;
        match at % (5 * EACH) < EACH {
            true => request.ask('s', at / (5 * EACH) * EACH % 10_000_000 + at % (5 * EACH), 100, 0),
            false => request.ask('z', zipf.rank(&mut rng), 100, 0),
        }
        true
    })
}

fn churn(mut rng: Rng) -> Source {
    let zipf = Zipf::new(TENTH, 0.9);
    let mut at = 20 * TENTH;
    Box::new(move |request| {
        at += 1;
        request.ask('c', at / 20 - zipf.rank(&mut rng) + 1, 100, 0);
        true
    })
}

fn shift(mut rng: Rng) -> Source {
    let zipf = Zipf::new(TENTH, 0.9);
    let mut at = 0;
    Box::new(move |request| {
        at += 1;
        let (rank, era) = (zipf.rank(&mut rng), at / 500_000);
        // Even ranks keep their key.
        let key = if rank % 2 == 0 { rank } else { ((rank + era * 100_003) % TENTH) | 1 };
        request.ask('z', key, 100, 0);
        true
    })
}

fn sizes(mut rng: Rng) -> Source {
    const SIZES: [usize; 4] = [40, 250, 1000, 4000];
    // Each size alone has five times the bytes of the cache.
    let zipfs = SIZES.map(|size| Zipf::new(5 * (MEGABYTES << 20) / (size + KEY_BYTES) as u64, 0.9));
    let mut at = 0_usize;
    Box::new(move |request| {
        at += 1;
        let popular = at / 500_000 % SIZES.len();
        let size = if rng.u8(..10) < 7 { popular } else { rng.usize(..SIZES.len()) };
        let space = char::from(b'0' + size as u8);
        request.ask(space, zipfs[size].rank(&mut rng), SIZES[size], 0);
        true
    })
}

fn ttl(mut rng: Rng) -> Source {
    const TTLS: [u32; 4] = [0, 2, 5, 15];
    let zipf = Zipf::new(TENTH, 0.9);
    Box::new(move |request| {
        let key = zipf.rank(&mut rng);
        request.ask('t', key, 100, TTLS[key as usize % TTLS.len()]);
        true
    })
}

/// Zipf distribution: ranks 1..=n with probability proportional to `rank^-exponent`, by rejection-inversion (Hörmann
/// and Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", 1996).
struct Zipf {
    n: f64,
    exponent: f64,
    /// Integral of the density, at the left edge of the head and at the right edge of the tail.
    from: f64,
    to: f64,
    /// A rank this close above the drawn point is accepted without the second test.
    close: f64,
}

impl Zipf {
    fn new(n: u64, exponent: f64) -> Self {
        let mut zipf = Self { n: n as f64, exponent, from: 0.0, to: 0.0, close: 0.0 };
        zipf.from = zipf.integral(1.5) - 1.0;
        zipf.to = zipf.integral(zipf.n + 0.5);
        zipf.close = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    fn rank(&self, rng: &mut Rng) -> u64 {
        loop {
            let drawn = self.to + rng.f64() * (self.from - self.to);
            let x = self.inverse(drawn);
            let rank = x.round().clamp(1.0, self.n);
            if rank - x <= self.close || drawn >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    fn integral(&self, x: f64) -> f64 {
        let left = 1.0 - self.exponent;
        if left == 0.0 { x.ln() } else { (x.powf(left) - 1.0) / left }
    }

    fn inverse(&self, y: f64) -> f64 {
        let left = 1.0 - self.exponent;
        if left == 0.0 { y.exp() } else { (1.0 + y * left).powf(1.0 / left) }
    }
}
