//! Owns the definition of equal replies: which are compared byte by byte, and which contain clock values, addresses
//! or an order that neither server promises. Called by `drive` for every exchange.

/// Comparison of the replies of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Exact,
    /// Everything except times in the replies of meta commands.
    Meta,
    /// Lines in any order: `stats detail dump` walks a hash table.
    Lines,
    /// `stats`: the names in order, the values of `STATS_EXACT`.
    Stats,
    /// `stats settings`: all except the socket's path and the time of a delayed flush.
    Settings,
    /// `stats slabs`: names in order; sizes and counters, but not numbers of free chunks.
    Slabs,
    /// metadump: lines in any order, without the times of access and expiry.
    Dump,
    /// `Stats` and `Settings` with a packet per row.
    StatPackets,
    SettingPackets,
}

/// Rows of `stats` that depend on the commands alone. The others depend on the clock, on memory, or on when a
/// background thread ran.
const STATS_EXACT: &[&str] = &[
    "version",
    "pointer_size",
    "max_connections",
    "reserved_fds",
    "cmd_get",
    "cmd_set",
    "cmd_flush",
    "cmd_touch",
    "cmd_meta",
    "get_hits",
    "get_misses",
    "delete_misses",
    "delete_hits",
    "incr_misses",
    "incr_hits",
    "decr_misses",
    "decr_hits",
    "cas_misses",
    "cas_hits",
    "cas_badval",
    "touch_hits",
    "touch_misses",
    "store_too_large",
    "store_no_memory",
    "auth_cmds",
    "auth_errors",
    "limit_maxbytes",
    "accepting_conns",
    "listen_disabled_num",
    "threads",
    "total_items",
    "evictions",
    "rejected_connections",
];

/// Fields of `stats slabs` that depend on the commands alone. Chunks per page depend on the footprint, which is
/// smaller in oxcached.
const SLABS_EXACT: &[&str] = &[
    "chunk_size",
    "get_hits",
    "cmd_set",
    "delete_hits",
    "incr_hits",
    "decr_hits",
    "cas_hits",
    "cas_badval",
    "touch_hits",
];

impl Compare {
    /// The part of a reply that both servers must agree on.
    pub fn essence(self, reply: &[u8]) -> Vec<u8> {
        let lines = reply.split_inclusive(|byte| *byte == b'\n');
        match self {
            Compare::Exact => reply.to_vec(),
            Compare::Meta => lines.flat_map(without_seconds).collect(),
            Compare::Lines => sorted(lines.map(<[u8]>::to_vec)),
            Compare::Stats => masked(lines, |name| STATS_EXACT.contains(&name)),
            Compare::Settings => masked(lines, |name| !["domain_socket", "oldest"].contains(&name)),
            Compare::Slabs => {
                masked(lines, |name| name.split_once(':').is_some_and(|(_, field)| SLABS_EXACT.contains(&field)))
            }
            Compare::Dump => sorted(lines.map(without_times)),
            Compare::StatPackets => Compare::Stats.essence(&as_lines(reply)),
            Compare::SettingPackets => Compare::Settings.essence(&as_lines(reply)),
        }
    }
}

/// Packets of a reply: header and body.
pub fn packets(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; 24], &[u8])> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_first_chunk::<24>()?;
        let body = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (body, rest) = rest.split_at_checked(body)?;
        bytes = rest;
        Some((header, body))
    })
}

/// Rows of packets as `STAT` lines; other packets unchanged.
fn as_lines(reply: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (header, body) in packets(reply) {
        let key = usize::from(u16::from_be_bytes([header[2], header[3]]));
        match body.split_at_checked(key) {
            Some((name, value)) if header[1] == 0x10 && key > 0 => {
                lines.extend([b"STAT ", name, b" ", value, b"\r\n"].concat());
            }
            _ => lines.extend([header.as_slice(), body].concat()),
        }
    }
    lines
}

fn sorted(lines: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut lines = lines.collect::<Vec<_>>();
    lines.sort();
    lines.concat()
}

/// Keeps the values of the `STAT` rows in `exact`, and only the names of the others.
fn masked<'a>(lines: impl Iterator<Item = &'a [u8]>, exact: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut kept = Vec::new();
    for line in lines {
        let text = String::from_utf8_lossy(line);
        let mut words = text.splitn(3, ' ');
        match (words.next(), words.next()) {
            (Some("STAT"), Some(name)) if !exact(name) => {
                kept.extend_from_slice(format!("STAT {name} <masked>\r\n").as_bytes());
            }
            _ => kept.extend_from_slice(line),
        }
    }
    kept
}

/// A metadump line with `exp=` and `la=` emptied; `exp=-1` (never) stays.
fn without_times(line: &[u8]) -> Vec<u8> {
    let words = line.split(|byte| *byte == b' ').map(|word| match word {
        _ if word.starts_with(b"la=") => b"la=".as_slice(),
        _ if word.starts_with(b"exp=") && word != b"exp=-1" => b"exp=",
        _ => word,
    });
    words.collect::<Vec<_>>().join(&b' ')
}

/// A reply line without the seconds that a meta command shows: those since an access, and large remaining times.
/// Values that look like replies lose them too.
fn without_seconds(line: &[u8]) -> Vec<u8> {
    if !matches!(line.get(..3), Some(b"HD " | b"VA " | b"ME ")) {
        return line.to_vec();
    }
    let number = |word: &[u8], name: &[u8]| {
        let digits = word.strip_prefix(name).map(|rest| rest.strip_prefix(b"-").unwrap_or(rest));
        digits.is_some_and(|digits| digits.first().is_some_and(u8::is_ascii_digit))
    };
    let words = line.split(|byte| *byte == b' ').map(|word| {
        let bare = word.trim_ascii_end();
        let kept: &[u8] = match bare {
            _ if bare.len() > 5 && number(bare, b"t") => b"t",
            _ if bare.len() > 1 && number(bare, b"l") => b"l",
            _ if bare.len() > 3 && number(bare, b"la=") => b"la=",
            _ if bare.len() > 8 && number(bare, b"exp=") => b"exp=",
            _ => return word.to_vec(),
        };
        [kept, &word[bare.len()..]].concat()
    });
    words.collect::<Vec<_>>().join(&b' ')
}

#[test]
fn clock_values_are_masked() {
    let dump = b"OK\r\nkey=a exp=-1 la=17 cas=2 fetch=no cls=1 size=61 flags=0 \nEND\r\n";
    let later = b"OK\r\nkey=a exp=-1 la=18 cas=2 fetch=no cls=1 size=61 flags=0 \nEND\r\n";
    assert_eq!(Compare::Dump.essence(dump), Compare::Dump.essence(later));
    let reply = b"HD t99999 l0\r\nVA 2 c5 t-1 l12\r\nl5\r\nME a exp=100000 la=1 cas=2\r\nME a exp=-1795210782 la=\r\n";
    let essence = b"HD t l\r\nVA 2 c5 t-1 l\r\nl5\r\nME a exp= la= cas=2\r\nME a exp= la=\r\n";
    assert_eq!(Compare::Meta.essence(reply), essence);
    let stats = b"STAT pid 1\r\nSTAT cmd_get 2\r\nEND\r\n";
    assert_eq!(Compare::Stats.essence(stats), b"STAT pid <masked>\r\nSTAT cmd_get 2\r\nEND\r\n");
}
