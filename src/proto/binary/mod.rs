//! The binary protocol: one packet in, at most one reply out.
//!
//! Owns which opcodes are commands, their packets' layout and the errors for others; the session above owns state
//! between packets, `cache` below what a verb means. A quiet command differs from the plain one only in the replies
//! it omits.

mod admin;
mod change;
mod get;
mod header;
pub(super) mod sasl;
mod store;
mod trace;

pub(super) use header::{Head, REQUEST};
pub(super) use store::finish as finish_upload;

use super::listing::Listing;
use super::upload::Upload;
use super::{CloseReason, Cx, Output};
use crate::cache::{Key, Verbs};
use crate::limits::{BODY_MAX, KEY_MAX};
use crate::store::Mode;
use header::{Parts, SIZE};

/// Error of a command, with its number and text on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    NotFound = 0x01,
    Exists = 0x02,
    TooLarge = 0x03,
    Invalid = 0x04,
    NotStored = 0x05,
    NonNumeric = 0x06,
    Refused = 0x20,
    Unknown = 0x81,
    NoMemory = 0x82,
    /// Defined by the protocol; memcached never sends it.
    Busy = 0x86,
}

impl Status {
    fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Exists => "Data exists for key.",
            Self::TooLarge => "Too large.",
            Self::Invalid => "Invalid arguments",
            Self::NotStored => "Not stored.",
            Self::NonNumeric => "Non-numeric server-side value for incr or decr",
            Self::Refused => "Auth failure.",
            Self::Unknown => "Unknown command",
            Self::NoMemory => "Out of memory",
            Self::Busy => "Temporary failure",
        }
    }
}

/// A command, quiet or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Get(get::GetVariant),
    Store(Mode),
    /// Append or prepend.
    Join(Mode),
    Delete,
    Arith {
        incr: bool,
    },
    Quit,
    Flush,
    Noop,
    Version,
    Stat,
    /// Authentication: handled by `sasl` if enabled, otherwise refused as unknown.
    SaslList,
    Sasl,
}

/// Command of an opcode, and whether it is quiet.
#[inline]
fn decode(opcode: u8) -> Option<(Op, bool)> {
    let get = |touch, key, value| Op::Get(get::GetVariant { touch, key, value });
    Some(match opcode {
        0x00 => (get(false, false, true), false),
        0x09 => (get(false, false, true), true),
        0x0c => (get(false, true, true), false),
        0x0d => (get(false, true, true), true),
        0x1c => (get(true, false, false), false),
        0x1d => (get(true, false, true), false),
        0x1e => (get(true, false, true), true),
        0x23 => (get(true, true, true), false),
        0x24 => (get(true, true, true), true),
        0x01 => (Op::Store(Mode::Set), false),
        0x11 => (Op::Store(Mode::Set), true),
        0x02 => (Op::Store(Mode::Add), false),
        0x12 => (Op::Store(Mode::Add), true),
        0x03 => (Op::Store(Mode::Replace), false),
        0x13 => (Op::Store(Mode::Replace), true),
        0x0e => (Op::Join(Mode::Append), false),
        0x19 => (Op::Join(Mode::Append), true),
        0x0f => (Op::Join(Mode::Prepend), false),
        0x1a => (Op::Join(Mode::Prepend), true),
        0x04 => (Op::Delete, false),
        0x14 => (Op::Delete, true),
        0x05 => (Op::Arith { incr: true }, false),
        0x15 => (Op::Arith { incr: true }, true),
        0x06 => (Op::Arith { incr: false }, false),
        0x16 => (Op::Arith { incr: false }, true),
        0x07 => (Op::Quit, false),
        0x17 => (Op::Quit, true),
        0x08 => (Op::Flush, false),
        0x18 => (Op::Flush, true),
        0x0a => (Op::Noop, false),
        0x0b => (Op::Version, false),
        0x10 => (Op::Stat, false),
        0x20 => (Op::SaslList, false),
        0x21 | 0x22 => (Op::Sasl, false),
        _ => return None,
    })
}

impl Op {
    /// Whether a packet's lengths are valid for the command.
    #[inline]
    fn fits(self, head: &Head) -> bool {
        let (extras, key, value) = (head.extras, head.key > 0, head.value() > 0);
        match self {
            Self::Get(kind) if kind.touch => extras == 4 && key,
            Self::Get(_) | Self::Delete => extras == 0 && key && !value,
            Self::Store(_) => extras == 8 && key,
            Self::Join(_) => extras == 0 && key,
            Self::Arith { .. } => extras == 20 && key && !value,
            Self::Quit | Self::Noop | Self::Version | Self::SaslList => extras == 0 && !key && !value,
            Self::Flush => (extras == 0 || extras == 4) && !key && !value,
            Self::Stat => extras == 0,
            Self::Sasl => extras == 0 && key,
        }
    }
}

/// Next action of the session after a packet.
pub(super) enum AfterPacket {
    /// Run the next packet.
    Packet,
    /// End the turn, since this packet was costly; then discard this many bytes.
    GiveWay(u64),
    /// Receive the rest of a value.
    Upload(Box<Upload>),
    /// Discard this many bytes.
    Swallow(u64),
    /// Send the reply in steps, then discard this many bytes.
    Report(Box<dyn Listing>, u64),
    /// Close after the replies are written.
    Close(CloseReason),
}

/// Result of a command: bytes consumed after header, extras and key, and the next action.
struct PacketResult {
    used: usize,
    next: AfterPacket,
}

impl PacketResult {
    /// The command is done; `unwanted` bytes of value follow, of which `there` have arrived.
    #[inline]
    fn past(unwanted: usize, there: usize) -> Self {
        let used = unwanted.min(there);
        Self {
            used,
            next: if used < unwanted { AfterPacket::Swallow((unwanted - used) as u64) } else { AfterPacket::Packet },
        }
    }

    fn close(reason: CloseReason) -> Self {
        Self { used: 0, next: AfterPacket::Close(reason) }
    }

    /// [`PacketResult::past`] for a command that costs much more than a get: nothing else runs in its turn.
    fn costly(unwanted: usize, there: usize) -> Self {
        let used = unwanted.min(there);
        Self { used, next: AfterPacket::GiveWay((unwanted - used) as u64) }
    }
}

/// State of one running command.
struct Run<'a, 'b> {
    cx: &'a Cx<'b>,
    verbs: Verbs<'a>,
    out: &'a mut Output,
    head: Head,
    /// Omit replies without information.
    quiet: bool,
}

impl Run<'_, '_> {
    /// Appends a reply's header; the caller appends the body.
    #[inline]
    fn begin_reply(&mut self, parts: &Parts) {
        let header = self.head.reply(parts);
        if self.cx.verbose() > 1 {
            trace::reply(self.cx.fd, &header);
        }
        self.out.put(&header);
    }

    /// Replies success without a body, unless quiet.
    #[inline]
    fn done(&mut self, cas: u64) {
        if !self.quiet {
            self.begin_reply(&Parts { cas, ..Parts::default() });
        }
    }

    fn fail(&mut self, status: Status) {
        self.fail_saying(status, status.text());
    }

    /// Appends an error reply, also for quiet commands.
    fn fail_saying(&mut self, status: Status, text: &str) {
        if self.cx.verbose() > 1 {
            trace::error(self.cx.fd, text);
        }
        self.begin_reply(&Parts { status: status as u16, body: text.len() as u32, ..Parts::default() });
        self.out.put(text.as_bytes());
    }
}

/// Result of parsing the front of the input.
pub(super) enum Front {
    /// Header, extras or key are incomplete.
    Unfinished,
    /// Not a packet.
    Foreign,
    /// A complete header; extras and key are complete too unless the header alone is refused.
    Packet(Head),
}

/// Parses the front of `bytes`.
#[inline]
pub(super) fn front(bytes: &[u8]) -> Front {
    let Some(header) = bytes.first_chunk::<SIZE>() else { return Front::Unfinished };
    if header[0] != REQUEST {
        return Front::Foreign;
    }
    let head = Head::read(header);
    // A packet refused for its header alone needs no more bytes.
    if !is_refused(&head) && bytes.len() < SIZE + head.before_value() {
        return Front::Unfinished;
    }
    Front::Packet(head)
}

fn is_refused(head: &Head) -> bool {
    !head.is_sound() || head.body > BODY_MAX || usize::from(head.key) > KEY_MAX
}

/// Logs bytes that are not a packet, with `-v`.
pub(super) fn trace_foreign(cx: &Cx<'_>, bytes: &[u8]) {
    if cx.verbose() > 0 {
        trace::foreign(bytes.first().copied().unwrap_or_default());
    }
}

/// Length of the packet at the front, and the hash of its key. `None` if its key is incomplete or it is refused.
pub(super) fn guess(bytes: &[u8]) -> Option<(usize, Option<u64>)> {
    let Front::Packet(head) = front(bytes) else { return None };
    if is_refused(&head) {
        return None;
    }
    let key = &bytes[SIZE + usize::from(head.extras)..SIZE + head.before_value()];
    Some((SIZE + head.body as usize, (!key.is_empty()).then(|| crate::hash::hash(key))))
}

/// Runs the command of the packet at the front of `bytes` with header `head`. Returns the bytes consumed, header
/// included. `hash` is the hash of its key, if known.
#[inline]
pub(super) fn run(cx: &Cx<'_>, head: Head, bytes: &[u8], out: &mut Output, hash: Option<u64>) -> (usize, AfterPacket) {
    if cx.verbose() > 1 {
        trace::request(cx.fd, &bytes[..SIZE]);
    }
    let command = decode(head.opcode);
    let quiet = command.is_some_and(|(_, quiet)| quiet);
    let mut run = Run { cx, verbs: cx.verbs(), out, head, quiet };
    if is_refused(&head) {
        return (SIZE, refuse(&mut run));
    }
    let start = SIZE + head.before_value();
    let (extras, key) = bytes[SIZE..start].split_at(usize::from(head.extras));
    let rest = &bytes[start..];
    let ran = match command {
        Some((op, _)) if op.fits(&head) => dispatch(&mut run, op, extras, key, rest, hash),
        Some((_, _)) => protocol_error(&mut run),
        None => {
            run.fail(Status::Unknown);
            PacketResult::past(head.value(), rest.len())
        }
    };
    (start + ran.used, ran.next)
}

#[inline]
fn dispatch(run: &mut Run<'_, '_>, op: Op, extras: &[u8], key: &[u8], rest: &[u8], hash: Option<u64>) -> PacketResult {
    let hashed = match hash {
        Some(hash) => Some(Key::hashed(key, hash)),
        None => Key::new(key),
    };
    match (op, hashed) {
        (Op::Get(kind), Some(key)) => get::run(run, &key, extras, kind),
        (Op::Store(mode), Some(key)) => return store::run(run, &key, extras, rest, mode),
        (Op::Join(mode), Some(key)) => return store::run_join(run, &key, rest, mode),
        (Op::Delete, Some(key)) => change::delete(run, &key),
        (Op::Arith { incr }, Some(key)) => change::arith(run, &key, extras, incr),
        (Op::Quit, _) => {
            run.done(0);
            return PacketResult::close(CloseReason::Normal);
        }
        (Op::Flush, _) => {
            admin::flush(run, extras);
            return PacketResult::costly(0, 0);
        }
        (Op::Noop, _) => run.done(0),
        (Op::Version, _) => admin::version(run),
        (Op::Stat, _) => {
            if let Some(listing) = admin::stat(run, key) {
                let used = run.head.value().min(rest.len());
                return PacketResult { used, next: AfterPacket::Report(listing, (run.head.value() - used) as u64) };
            }
            return PacketResult::costly(run.head.value(), rest.len());
        }
        // SASL commands without authentication; all others either have a key or failed `fits`.
        _ => run.fail(Status::Unknown),
    }
    PacketResult::past(run.head.value(), rest.len())
}

/// Lengths that are invalid for every command.
#[cold]
fn refuse(run: &mut Run<'_, '_>) -> AfterPacket {
    if !run.head.is_sound() {
        run.fail(Status::Unknown);
    } else if run.head.body > BODY_MAX {
        run.fail(Status::Invalid);
    } else {
        return protocol_error(run).next;
    }
    AfterPacket::Close(CloseReason::Error)
}

/// Lengths that are invalid for this command.
#[cold]
fn protocol_error(run: &mut Run<'_, '_>) -> PacketResult {
    run.fail(Status::Invalid);
    if run.cx.verbose() > 0 {
        trace::protocol_error(run.cx.fd, run.head.opcode);
    }
    PacketResult::close(CloseReason::Error)
}
