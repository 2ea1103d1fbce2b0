//! `get`, `gets`, `gat`, `gats`.
//!
//! Owns multigets: keys are hashed and their memory prefetched in groups before the first of a group is looked up. A
//! line stops when the output is full or the run has used up its keys or bytes, and resumes there in a later run. The
//! end of a line and the presence of an over-long key are searched only once. Called by the text dispatcher and, for
//! an incomplete or stopped line, by the session.

use super::{AfterCommand, BAD_FORMAT, CommandResult, Run};
use crate::cache::Key;
use crate::decimal;
use crate::limits::{COPY_MAX, KEY_MAX, TURN_LINE};
use crate::point::point;
use crate::proto::output::Mark;
use crate::stats::Counter;

/// Keys per lookup group: enough to overlap their cache misses, few enough to stay in the L1 cache.
const GROUP: usize = 16;

/// Variant of get.
#[derive(Clone, Copy, Default, Debug)]
pub struct GetKind {
    /// Show the CAS id.
    pub cas: bool,
    /// Set this expiry time on each hit.
    pub touch: Option<u32>,
}

/// Whether a later key of the line is too long, which revokes all its replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LongKey {
    Unknown,
    Absent,
    Ahead,
}

/// An incomplete `get` or `gets` line longer than other commands may be.
#[derive(Debug)]
pub struct LongLine {
    /// Number of leading bytes known to hold no newline.
    searched: usize,
}

impl LongLine {
    /// Begins with `bytes` without a newline; `None` if the command may not be this long.
    pub fn begin(bytes: &[u8]) -> Option<Self> {
        super::is_get_line(bytes).then_some(Self { searched: bytes.len() })
    }

    /// Offset of the newline in `bytes`: the same line with more bytes appended.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let from = std::mem::replace(&mut self.searched, bytes.len());
        memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at)
    }
}

/// A line that stopped before its end. Part of every session's state, so kept small.
#[derive(Clone, Copy, Debug)]
pub struct Multiget {
    touch: Option<u32>,
    /// Length of the line with its newline; set by the session.
    pub line: u32,
    /// Bytes of the line already processed.
    done: u32,
    /// Keys looked up since the output was last full.
    fetched: u32,
    cas: bool,
    /// At least one key was looked up.
    any: bool,
    long_key: LongKey,
}

impl Multiget {
    fn new(GetKind { cas, touch }: GetKind, done: usize) -> Self {
        Self { touch, line: 0, done: done as u32, fetched: 0, cas, any: false, long_key: LongKey::Unknown }
    }

    /// Stops at `done`. Replies may be sent after this, so replies that a later over-long key revokes are dropped
    /// now.
    fn stop(mut self, run: &mut Run<'_, '_>, text: &[u8], done: usize, start: Mark) -> CommandResult {
        self.done = done as u32;
        self.look_ahead(text, done);
        if self.long_key == LongKey::Ahead {
            run.out.rewind(start);
        }
        CommandResult::then(AfterCommand::Multiget(self))
    }

    fn look_ahead(&mut self, text: &[u8], done: usize) {
        if self.long_key == LongKey::Unknown {
            self.long_key = if has_long_key(text, done) { LongKey::Ahead } else { LongKey::Absent };
        }
    }
}

/// `get` and `gets`: `text` is the line, `word` the length of its first word.
#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, text: &[u8], word: usize, kind: GetKind, hash: Option<u64>) -> CommandResult {
    let keys = &text[word..];
    // Fast path: one key.
    if let Some(key) = keys.get(1..)
        && !key.is_empty()
        && key.len() <= KEY_MAX
        && memchr::memchr(b' ', key).is_none()
    {
        let key = match hash {
            Some(hash) => Key::hashed(key, hash),
            None => Key::hashed(key, crate::hash::hash(key)),
        };
        fetch(run, &key, kind);
        end(run);
        return CommandResult::line();
    }
    many(run, text, Multiget::new(kind, word))
}

/// `gat` and `gats`.
pub(super) fn run_touching(run: &mut Run<'_, '_>, text: &[u8], cas: bool) -> CommandResult {
    let tokens = super::Tokens::split(text);
    if tokens.len() < 3 {
        run.reply(BAD_FORMAT);
        return CommandResult::line();
    }
    let Some(exptime) = decimal::token_i32(tokens.get(1)) else {
        run.reply("CLIENT_ERROR invalid exptime argument");
        return CommandResult::line();
    };
    let kind = GetKind { cas, touch: Some(run.cx.shared.clock.expiry(i64::from(exptime))) };
    many(run, text, Multiget::new(kind, tokens.offset(2)))
}

/// Resumes a stopped line.
pub(in crate::proto) fn resume(
    cx: &super::Cx<'_>,
    line: &[u8],
    out: &mut super::Output,
    stopped: Multiget,
) -> CommandResult {
    let mut run = Run { cx, verbs: cx.verbs(), out, noreply: false };
    many(&mut run, super::strip_end(line), stopped)
}

/// Answers the keys of `text` from `line.done` on, within the limits of one run.
fn many(run: &mut Run<'_, '_>, text: &[u8], mut line: Multiget) -> CommandResult {
    let start = run.out.mark();
    let mut done = line.done as usize;
    let kind = GetKind { cas: line.cas, touch: line.touch };
    let (end_of_run, cap) = (text.len().min(done + TURN_LINE), run.cx.reply_cap());
    let mut group = [(0usize, 0usize, 0u64); GROUP];
    loop {
        let (mut len, mut long) = (0, false);
        let mut scan = done;
        while len < GROUP
            && let Some((from, to)) = next_key(text, scan, end_of_run)
        {
            if to - from > KEY_MAX {
                long = true; // keys before it still count as looked up
                break;
            }
            let hash = crate::hash::hash(&text[from..to]);
            run.verbs.cache.store.prefetch_bucket(hash);
            group[len] = (from, to, hash);
            len += 1;
            scan = to;
        }
        if len == 0 && !long {
            if end_of_run < text.len() {
                return line.stop(run, text, done.max(end_of_run), start);
            }
            if line.any {
                end(run)
            } else {
                run.reply(BAD_FORMAT)
            }
            return CommandResult::line();
        }
        for &(_, _, hash) in &group[..len] {
            run.verbs.cache.store.prefetch_items(hash);
        }
        for &(from, to, hash) in &group[..len] {
            if line.fetched >= cap || !run.out.make_room() {
                return no_memory(run, start);
            }
            run.out.end_of_reply(); // each key is a separate reply
            point("a key of several is next");
            fetch(run, &Key::hashed(&text[from..to], hash), kind);
            line.fetched += 1;
            done = to;
            if run.out.is_full() {
                line.look_ahead(text, done);
                if line.long_key == LongKey::Ahead {
                    run.out.rewind(start);
                    continue;
                }
                return Multiget { fetched: 0, any: true, ..line }.stop(run, text, done, start);
            }
        }
        if long {
            // As in memcached, a trailing `noreply` silences this error only if the over-long key is the first of the
            // line, and never for `gat`.
            let first = !line.any && len == 0 && kind.touch.is_none();
            run.noreply = first && super::Tokens::split(text).last() == b"noreply";
            run.out.rewind(start);
            return too_long(run);
        }
        line.any = true;
        if run.cx.spend_keys(len as u32) && done < text.len() {
            return line.stop(run, text, done, start);
        }
    }
}

/// The next word that begins in `at..end`, truncated to `KEY_MAX + 1` bytes.
#[inline]
fn next_key(text: &[u8], at: usize, end: usize) -> Option<(usize, usize)> {
    let mut from = at;
    while from < end && text[from] == b' ' {
        from += 1;
    }
    if from >= end {
        return None;
    }
    let word = &text[from..text.len().min(from + KEY_MAX + 1)];
    Some((from, from + memchr::memchr(b' ', word).unwrap_or(word.len())))
}

/// Whether a word from `at` on is too long for a key. Jumps to the last space of each window of `KEY_MAX + 1` bytes,
/// so most bytes are not read: about 1 ms for the longest line, once per line.
fn has_long_key(text: &[u8], mut at: usize) -> bool {
    while let Some(window) = text.get(at..at + KEY_MAX + 1) {
        let Some(space) = memchr::memrchr(b' ', window) else { return true };
        at += space + 1;
    }
    false
}

/// Refuses the line: too many waiting replies, or no memory. Dropping its replies makes room for this one.
#[cold]
fn no_memory(run: &mut Run<'_, '_>, start: Mark) -> CommandResult {
    run.out.rewind(start);
    run.verbs.counters.add(Counter::ResponseOom, 1);
    run.reply("SERVER_ERROR out of memory writing get response");
    CommandResult::line()
}

/// Drops the whole line's replies because of an over-long key. The second line end is memcached's.
fn too_long(run: &mut Run<'_, '_>) -> CommandResult {
    let quiet = std::mem::take(&mut run.noreply);
    run.reply(if quiet { "" } else { "CLIENT_ERROR bad command line format\r\n" });
    CommandResult::line()
}

#[inline]
fn end(run: &mut Run<'_, '_>) {
    if run.cx.verbose() > 1 {
        run.log(format_args!(">{} END\n", run.cx.fd));
    }
    run.out.put(b"END\r\n");
}

/// Looks one key up and appends its `VALUE` block.
#[inline]
fn fetch(run: &mut Run<'_, '_>, key: &Key<'_>, kind: GetKind) {
    let (out, show_cas) = (&mut *run.out, run.verbs.cache.use_cas);
    let start = out.bytes().len();
    let hit = run.verbs.fetch(key, kind.touch, |entry| {
        let vlen = entry.vlen();
        let bytes = out.bytes();
        bytes.truncate(start);
        bytes.extend_from_slice(b"VALUE ");
        bytes.extend_from_slice(key.bytes());
        bytes.push(b' ');
        decimal::put(bytes, u64::from(entry.flags()));
        bytes.push(b' ');
        decimal::put(bytes, vlen as u64);
        if kind.cas {
            bytes.push(b' ');
            decimal::put(bytes, if show_cas { entry.cas() } else { 0 });
        }
        bytes.extend_from_slice(b"\r\n");
        if vlen <= COPY_MAX {
            entry.copy_value(bytes);
        } else if let Some(value) = entry.pin() {
            out.pin(value);
        }
        out.put(b"\r\n");
    });
    if hit.is_none() {
        out.bytes().truncate(start);
    }
    if run.cx.verbose() > 1 {
        log_lookup(run, key, hit.is_some());
    }
}

#[cold]
fn log_lookup(run: &Run<'_, '_>, key: &Key<'_>, hit: bool) {
    if run.cx.verbose() > 2 {
        run.log_lookup(key, hit);
    }
    if hit {
        let shown = String::from_utf8_lossy(key.bytes());
        run.log(format_args!(">{} sending key {shown}\n", run.cx.fd));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[u8], end: usize) -> Vec<(usize, usize)> {
        let mut at = 0;
        std::iter::from_fn(|| next_key(text, at, end).inspect(|(_, to)| at = *to)).collect()
    }

    #[test]
    fn next_key_stops_at_the_end_and_truncates_long_words() {
        let text = b"  a bc   d";
        assert_eq!(words(text, text.len()), [(2, 3), (4, 6), (9, 10)]);
        assert_eq!(words(text, 5), [(2, 3), (4, 6)]);
        assert_eq!(words(text, 2), []);
        assert_eq!(next_key(&[b'x'; 2000], 3, 2000), Some((3, 3 + KEY_MAX + 1)));
    }

    #[test]
    fn searched_part_of_a_line_is_not_searched_again() {
        let mut bytes = b"get ".repeat(1000);
        let mut line = LongLine::begin(&bytes).unwrap();
        bytes.fill(b'\n'); // must not be searched again
        for n in 0..100 {
            bytes.push(b'k');
            assert_eq!(line.end(&bytes), None, "{n}");
            bytes[4000 + n] = b'\n';
        }
        bytes.extend_from_slice(b"kk\nk\n");
        assert_eq!(line.end(&bytes), Some(4102));
        assert!(LongLine::begin(&b"incr ".repeat(1000)).is_none());
    }

    #[test]
    fn over_long_key_is_found_at_any_offset() {
        for (len, long) in [(KEY_MAX, false), (KEY_MAX + 1, true), (4 * KEY_MAX, true)] {
            let word = "k".repeat(len);
            for before in (0..600).chain([65_536]) {
                let padding = "ab ".repeat(before / 3) + &" ".repeat(before % 3);
                for end in ["", " ", " a b"] {
                    let text = format!("{padding}{word}{end}");
                    assert_eq!(has_long_key(text.as_bytes(), 0), long, "{before} {len} {end:?}");
                }
            }
        }
        assert!(!has_long_key(b"", 0));
        assert!(!has_long_key(&[b' '; 1000], 0));
    }
}
