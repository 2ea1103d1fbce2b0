//! Owns the keys: the permitted values of each, and the format of a value.
//!
//! Every key has one writer. Each change that it requests gets the next sequence number, and the value names the
//! changes it contains; so a reader detects a value that is torn, foreign, too old or from the future. Called by
//! `load`, and by `chores` when it flushes.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Number of keys.
pub const KEYS: u32 = 600_000;

/// Half of all requests go to these.
pub const POPULAR: u32 = KEYS / 64;

/// Kind of a key: fixed shares of each ten thousand keys of one writer, spread over popular and other keys.
pub fn kind(key: u32, writers: u32) -> Kind {
    match key / writers * 7919 % 10_000 {
        0..1000 => Kind::Number,
        1000..8900 => Kind::Small,
        8900..9800 => Kind::Medium,
        9800..9970 => Kind::Pinned,
        9970..9995 => Kind::Large,
        _ => Kind::Huge,
    }
}

/// Format and size of a key's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The sequence number in decimal, so that `incr` makes the changes.
    Number,
    Small,
    Medium,
    /// Above 4 KB: readers pin the item.
    Pinned,
    Large,
    /// Above the largest chunk: a chain.
    Huge,
}

impl Kind {
    /// Range of a value's filler in bytes.
    pub fn filler(self) -> std::ops::Range<usize> {
        match self {
            Self::Number => 0..1,
            Self::Small => 0..300,
            Self::Medium => 300..4000,
            Self::Pinned => 4000..20_000,
            Self::Large => 20_000..120_000,
            Self::Huge => 500_000..900_000,
        }
    }

    /// Whether the load appends and prepends to values.
    pub fn grows(self) -> bool {
        matches!(self, Self::Small | Self::Medium)
    }
}

/// Sequence numbers of one key.
#[derive(Default)]
struct Key {
    /// Last change requested by the writer.
    sent: AtomicU64,
    /// Last change acknowledged by the server.
    acked: AtomicU64,
    /// Values from before this change were flushed.
    floor: AtomicU64,
}

/// State of all keys. Orderings are sequentially consistent: a reader's load of `acked` precedes its request.
pub struct Ledger {
    keys: Vec<Key>,
}

/// Oldest value that a reader may see.
#[derive(Clone, Copy, Default, Debug)]
pub struct Bounds {
    acked: u64,
    pub floor: u64,
}

impl Ledger {
    pub fn new() -> Self {
        Self { keys: (0..KEYS).map(|_| Key::default()).collect() }
    }

    /// The next sequence number of a key, which its writer is about to send.
    pub fn next(&self, key: u32) -> u64 {
        self.keys[key as usize].sent.fetch_add(1, SeqCst) + 1
    }

    pub fn acknowledge(&self, key: u32, seq: u64) {
        self.keys[key as usize].acked.store(seq, SeqCst);
    }

    /// Bounds of a read; must be taken before the request is sent.
    pub fn bounds(&self, key: u32) -> Bounds {
        let key = &self.keys[key as usize];
        Bounds { acked: key.acked.load(SeqCst), floor: key.floor.load(SeqCst) }
    }

    /// The changes acknowledged now, for [`Ledger::flushed`].
    pub fn snapshot(&self) -> Vec<u64> {
        self.keys.iter().map(|key| key.acked.load(SeqCst)).collect()
    }

    /// Records that everything acknowledged at `snapshot` has been flushed.
    pub fn flushed(&self, snapshot: &[u64]) {
        for (key, acked) in self.keys.iter().zip(snapshot) {
            key.floor.fetch_max(acked + 1, SeqCst);
        }
    }

    /// Checks a value against the `bounds` taken before its request.
    pub fn judge(
        &self,
        key: u32,
        kind: Kind,
        bounds: Bounds,
        value: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<(), String> {
        let (first, last) = match kind {
            Kind::Number => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                let number = text.trim_end_matches(' ').parse::<u64>().map_err(|_| format!("no number: {text:?}"))?;
                (number, number)
            }
            _ => records(key, value, scratch)?,
        };
        let sent = self.keys[key as usize].sent.load(SeqCst);
        if last < bounds.acked {
            return Err(format!("change {last}, though {} had been acknowledged", bounds.acked));
        }
        if first < bounds.floor {
            return Err(format!("change {first}, though all before {} were flushed", bounds.floor));
        }
        if last > sent {
            return Err(format!("change {last}, though {sent} is the last one sent"));
        }
        Ok(())
    }
}

/// Appends the name of a key.
pub fn name(key: u32, to: &mut Vec<u8>) {
    to.extend_from_slice(format!("torture:{key}").as_bytes());
}

/// Appends the record of one change: `key seq length;` and a filler of that length derived from them.
pub fn record(key: u32, seq: u64, filler: usize, to: &mut Vec<u8>) {
    to.extend_from_slice(format!("{key} {seq} {filler};").as_bytes());
    let end = to.len() + filler;
    let mut state = (u64::from(key) << 32 ^ seq).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    to.reserve(filler + 8);
    while to.len() < end {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).rotate_left(29);
        to.extend_from_slice(&state.to_le_bytes());
    }
    to.truncate(end);
}

/// First and last change in a value; no change between them may be missing.
fn records(key: u32, value: &[u8], scratch: &mut Vec<u8>) -> Result<(u64, u64), String> {
    let (mut first, mut last, mut count) = (u64::MAX, 0, 0);
    let mut rest = value;
    while !rest.is_empty() {
        let torn = || {
            let head = String::from_utf8_lossy(&rest[..rest.len().min(40)]);
            format!("torn or foreign at byte {} of {}: {head:?}", value.len() - rest.len(), value.len())
        };
        let head = rest.iter().take(40).position(|&byte| byte == b';').ok_or_else(torn)?;
        let head = std::str::from_utf8(&rest[..head]).map_err(|_| torn())?;
        let mut numbers = head.split(' ').map(str::parse::<u64>);
        let (Some(Ok(owner)), Some(Ok(seq)), Some(Ok(filler))) = (numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(torn());
        };
        if owner != u64::from(key) || filler as usize > rest.len() {
            return Err(torn());
        }
        scratch.clear();
        record(key, seq, filler as usize, scratch);
        rest = rest.strip_prefix(scratch.as_slice()).ok_or_else(torn)?;
        (first, last, count) = (first.min(seq), last.max(seq), count + 1);
    }
    if count == 0 || last - first + 1 != count {
        return Err(format!("{count} changes between {first} and {last}, {} bytes", value.len()));
    }
    Ok((first, last))
}
