//! Parameters of a run.
//!
//! Owns the options, counters and rates that a seed stands for; `world` runs the steps.

/// Parameters of a run, chosen by the seed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub steps: u32,
    pub args: String,
    /// Memory is short; items may be evicted, for lack of it or by a requested page move.
    pub short: bool,
    pub vanishing: bool,
    pub in_file: bool,
    /// CAS ids drawn before the first step, and number of earlier flushes.
    pub skipped: u64,
    pub flushes: u64,
    /// The chores and the mover pace themselves, with this many microseconds per read of the clock; `None`: this
    /// scheduler runs their steps.
    pub paced: Option<u64>,
    /// One of this many steps advances time.
    pub time: usize,
    /// One of this many chances for a flush is taken.
    pub flushing: usize,
    /// Initial capacity of the index; a small one makes it grow.
    pub initial_items: u64,
    /// Operations are printed.
    pub trace: bool,
}

impl Plan {
    pub fn of(seed: u64, steps: u32) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let in_file = rng.u8(..3) == 0;
        let short = rng.u8(..3) == 0;
        let memory = if short { *rng.choice(&[4, 7, 10]).unwrap() } else { 64 };
        let more = match rng.u8(..8) {
            0 => " -o hashpower=12,no_lru_crawler",
            1 => " -o slab_chunk_max=16 -f 1.5",
            2 => " -o slab_chunk_max=1",
            3 if short => " -M",
            4 => " -o no_lru_maintainer",
            5 => " -o temporary_ttl=60",
            _ => "",
        };
        let skipped = match rng.u8(..6) {
            0 => (1 << 40) - (1 << 32) - rng.u64(..300),
            1 => (1 << 40) - rng.u64(..300),
            2 => (1 << 39) - rng.u64(..300),
            3 => (1 << 32) - rng.u64(..300),
            _ => 0,
        };
        let vanishing = more != " -M" && (short || rng.u8(..4) == 0);
        // Mostly few before the end: some runs flush rarely.
        let bits = rng.u8(..6);
        let before = rng.u64(..1 << bits);
        let flushes = match rng.u8(..8) {
            0 | 1 => (1 << 39) - before,
            2 | 3 => (1 << 38) - before,
            4 => (1 << 32) - before,
            5 => (1 << 31) - before,
            _ => 0,
        };
        let flushing = *rng.choice(&[1, 20, 500]).unwrap();
        let paced = *rng.choice(&[None, Some(10), Some(300), Some(3000)]).unwrap();
        let initial_items = *rng.choice(&[1, 8, 100_000]).unwrap();
        let (args, time) = (format!("-m {memory} -t 1{more}"), *rng.choice(&[5, 20, 100]).unwrap());
        Self {
            seed,
            steps,
            args,
            short,
            vanishing,
            in_file,
            skipped,
            flushes,
            flushing,
            paced,
            time,
            initial_items,
            trace: false,
        }
    }
}
