//! Owns the known, deliberate differences: each with a predicate and its reason, as in docs/compat.md. Called by
//! `drive` when two replies differ.

use crate::compare::packets;

/// A difference that is not an error.
pub struct Known {
    /// The heading in docs/compat.md.
    pub name: &'static str,
    /// Whether this explains the difference between the replies to these bytes.
    pub explains: fn(sent: &[u8], ours: &[u8], reference: &[u8]) -> bool,
}

/// Differences that generated streams can reach.
pub const KNOWN: &[Known] = &[
    Known { name: "dumps side by side", explains: busy },
    Known { name: "dumps behind a long pipeline", explains: behind_pipeline },
    Known { name: "settings of parts that do not exist", explains: absent_settings },
    Known { name: "slab class of an item with extras", explains: other_class },
    Known { name: "replies before an unfinished value", explains: unfinished_value },
    Known { name: "a long line that reads cut", explains: cut_line },
];

/// Name of the known difference, if it is one.
pub fn explain(sent: &[u8], ours: &[u8], reference: &[u8]) -> Option<&'static str> {
    KNOWN.iter().find(|known| (known.explains)(sent, ours, reference)).map(|known| known.name)
}

fn lines(reply: &[u8]) -> Vec<&[u8]> {
    reply.split_inclusive(|&byte| byte == b'\n').collect()
}

/// memcached's crawler was running already; oxcached's has no queue.
fn busy(_: &[u8], ours: &[u8], reference: &[u8]) -> bool {
    const BUSY: &[u8] = b"BUSY currently processing crawler request\r\n";
    let (ours, reference) = (lines(ours), lines(reference));
    ours.iter().zip(&reference).find(|(a, b)| a != b).is_some_and(|(_, b)| *b == BUSY)
}

/// The end of a turn of `-R` commands decides whether replies still wait when a dump or a watch arrives, which
/// refuses it.
fn behind_pipeline(sent: &[u8], ours: &[u8], reference: &[u8]) -> bool {
    const REFUSED: &[u8] = b"ERROR cannot pipeline other commands before ";
    // `-R 1` is among the flags.
    const TURN: usize = 1;
    let (ours, reference) = (lines(ours), lines(reference));
    let first = ours.iter().zip(&reference).find(|(a, b)| a != b);
    lines(sent).len() > TURN && first.is_some_and(|(a, b)| a.starts_with(REFUSED) != b.starts_with(REFUSED))
}

/// Rows of `stats settings` that exist only with flash storage compiled in, and those of TLS if the reference is
/// built without it.
fn absent_settings(_: &[u8], ours: &[u8], reference: &[u8]) -> bool {
    const ABSENT: [&[u8]; 2] = [b"STAT ext_", b"STAT slab_automove_freeratio"];
    const TLS: &[u8] = b"STAT ssl_";
    let without_tls = !lines(reference).iter().any(|line| line.starts_with(TLS));
    let kept = lines(reference).into_iter().filter(|line| !ABSENT.iter().any(|name| line.starts_with(name)));
    kept.eq(lines(ours).into_iter().filter(|line| !(without_tls && line.starts_with(TLS))))
}

/// Whether packets end in the middle of one.
fn unfinished_packet(sent: &[u8]) -> bool {
    let whole = packets(sent).map(|(header, body)| header.len() + body.len()).sum::<usize>();
    sent.first() == Some(&0x80) && whole < sent.len()
}

/// `stats slabs`, if the counts are equal but for another class; `me`, if all but the class is equal.
fn other_class(_: &[u8], ours: &[u8], reference: &[u8]) -> bool {
    let report = |reply: &[u8]| {
        let mut sums = std::collections::BTreeMap::<String, u64>::new();
        let mut rest = Vec::new();
        for line in lines(reply) {
            let text = String::from_utf8_lossy(line);
            let row = text.strip_prefix("STAT ").and_then(|row| row.trim_end().split_once(' '));
            let field = row.and_then(|(name, value)| Some((name.split_once(':')?.1, value)));
            if let Some((field, value)) = field {
                if let (false, Ok(value)) = (field == "chunk_size", value.parse::<u64>()) {
                    *sums.entry(field.to_owned()).or_default() += value;
                }
            } else if line.starts_with(b"ME ") {
                let words = text.split(' ').filter(|word| !word.starts_with("cls="));
                rest.push(words.collect::<Vec<_>>().join(" ").into_bytes());
            } else {
                rest.push(line.to_vec());
            }
        }
        (sums, rest)
    };
    report(ours) == report(reference)
}

/// A value that never ends: memcached loses the replies of the commands before it.
fn unfinished_value(sent: &[u8], ours: &[u8], reference: &[u8]) -> bool {
    let mut left = sent.len();
    let unfinished = lines(sent).into_iter().any(|line| {
        left -= line.len();
        let announced = line.split(|&byte| byte == b' ').nth(4).map(String::from_utf8_lossy);
        let announced = announced.and_then(|text| text.trim().parse::<usize>().ok());
        announced.is_some_and(|value| value + 2 > left)
    });
    (unfinished || unfinished_packet(sent)) && ours.starts_with(reference)
}

/// A line over 2,048 bytes closes the connection if its newline has not arrived when the server looks, or lies behind the
/// end of its buffer: the arrivals decide, for each server alone.
fn cut_line(sent: &[u8], ours: &[u8], reference: &[u8]) -> bool {
    const UNCUT: usize = 2048;
    let is_cut = |line: &[u8]| line.len() > UNCUT && !line.starts_with(b"get ") && !line.starts_with(b"gets ");
    let one_goes_on = ours.starts_with(reference) || reference.starts_with(ours);
    lines(sent).into_iter().any(is_cut) && one_goes_on && ours.len() != reference.len()
}
