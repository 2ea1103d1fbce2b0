//! Owns the forms of commands that the benchmark sends, and what is counted of their replies. Read by `template`, which
//! turns a form into bytes, by `workload` and by `dialogue`.
//!
//! A form of the text protocols is its line with placeholders:
//!
//! | | |
//! |---|---|
//! | `@` | a key with a value of the workload's size |
//! | `%` | a key with a number of eight digits |
//! | `&` | a key in base64 |
//! | `!` | a key that is never stored |
//! | `#` `$` | the size of the value, and the value |

/// Bytes of a command.
#[derive(Clone, Copy)]
pub enum Request {
    Text(&'static str),
    /// A request of the binary protocol.
    Binary {
        opcode: u8,
        extras: &'static [u8],
        /// The key's placeholder, empty for none.
        key: &'static str,
        body: Body,
    },
}

/// Value of a binary request.
#[derive(Clone, Copy)]
pub enum Body {
    None,
    Value,
    Byte,
}

/// What tells that a command was answered.
#[derive(Clone, Copy)]
pub enum Reply {
    /// A string that occurs once in each reply and in no value.
    Mark(&'static str),
    /// Bytes of a reply besides the value.
    Bytes { overhead: usize, value: bool },
}

/// One form.
pub struct Form {
    pub name: &'static str,
    pub about: &'static str,
    pub request: Request,
    /// Follows the commands of a batch; quiet commands need it.
    pub tail: Option<Request>,
    pub reply: Reply,
    /// Commands in a batch of the table of forms.
    pub depth: usize,
}

impl Form {
    /// Whether it leaves the items as they are, but for when they expire.
    pub fn reads(&self) -> bool {
        match self.request {
            Request::Text(line) => ["get", "gat", "touch", "mg ", "me "].iter().any(|verb| line.starts_with(verb)),
            Request::Binary { opcode, .. } => matches!(opcode, 0x00 | 0x0d | 0x1c | 0x1d),
        }
    }
}

/// Commands in a batch, as mc-crusher's `pipelines=50`.
pub const DEPTH: usize = 50;

/// The end of END, STORED, TOUCHED and NOT_FOUND.
pub const LINE: Reply = Reply::Mark("D\r\n");

const fn text(name: &'static str, line: &'static str, mark: &'static str, about: &'static str) -> Form {
    Form { name, about, request: Request::Text(line), tail: None, reply: Reply::Mark(mark), depth: DEPTH }
}

/// Quiet meta commands, with `mn` behind a batch.
const fn quiet(name: &'static str, line: &'static str, about: &'static str) -> Form {
    Form { tail: Some(Request::Text("mn\r\n")), ..text(name, line, "MN\r\n", about) }
}

const HEADER: usize = 24;

const fn binary(name: &'static str, opcode: u8, extras: &'static [u8], body: Body, overhead: usize) -> Form {
    let request = Request::Binary { opcode, extras, key: "@", body };
    let reply = Reply::Bytes { overhead: HEADER + overhead, value: false };
    Form { name, about: "binary protocol", request, tail: None, reply, depth: DEPTH }
}

const NOOP: Request = Request::Binary { opcode: 0x0a, extras: &[], key: "", body: Body::None };

/// The pipeline that the others are compared with.
pub const PLAIN: Form = text("plain", "get @\r\n", "D\r\n", "gets, as most clients send them");

/// mc-crusher's `ascii_get`.
pub const BLANK: Form = text("blank", "get @ \r\n", "D\r\n", "a blank before the line end, as mc-crusher sends");

pub const META_GET: Form = text("mg", "mg @ v\r\n", "VA ", "meta gets");

pub const SET: Form = text("set", "set @ 0 0 #\r\n$\r\n", "D\r\n", "sets");

pub const BINARY_GET: Form =
    Form { reply: Reply::Bytes { overhead: HEADER + 4, value: true }, ..binary("bget", 0x00, &[], Body::None, 4) };

/// Sets of items that live for a second.
pub const SET_SHORT: Form = text("setshort", "set @ 0 1 #\r\n$\r\n", "D\r\n", "sets of items that live for a second");

/// In this order: what changes the size of values or marks them stale comes last.
pub static FORMS: &[Form] = &[
    PLAIN,
    BLANK,
    text("blanks", "get  @\r\n", "D\r\n", "two blanks before the key"),
    text("lf", "get @\n", "D\r\n", "lines that end in LF alone"),
    text("mget5", "get @ @ @ @ @\r\n", "D\r\n", "gets of five keys"),
    Form { depth: 3000, ..text("cut", "get @\r\n", "D\r\n", "3000 gets a batch: reads end inside of commands") },
    text("gets", "gets @\r\n", "D\r\n", "gets with the CAS id"),
    text("gat", "gat 0 @\r\n", "D\r\n", "get and touch"),
    text("gats", "gats 0 @\r\n", "D\r\n", "get and touch with the CAS id"),
    text("touch", "touch @ 0\r\n", "D\r\n", "touches"),
    text("incr", "incr % 1\r\n", "\r\n", "increments of numbers of eight digits"),
    text("decr", "decr % 1\r\n", "\r\n", "decrements of numbers of eight digits"),
    SET,
    text("add", "add @ 0 0 #\r\n$\r\n", "D\r\n", "adds of keys that are stored"),
    text("replace", "replace @ 0 0 #\r\n$\r\n", "D\r\n", "replaces"),
    text("cas", "cas @ 0 0 # 1\r\n$\r\n", "EXISTS\r\n", "cas with another id than the item's"),
    text("delmiss", "delete !\r\n", "D\r\n", "deletes of keys that are not stored"),
    text("getmiss", "get !\r\n", "D\r\n", "gets of keys that are not stored"),
    META_GET,
    text("mghit", "mg @\r\n", "HD\r\n", "meta gets without flags"),
    text("mgflags", "mg @ k s f c t l v O7\r\n", "VA ", "meta gets with eight flags"),
    text("mgtouch", "mg @ v T0\r\n", "VA ", "meta gets that touch"),
    text("mgb64", "mg & b v\r\n", "VA ", "meta gets with keys in base64"),
    quiet("mgquiet", "mg @ v q\r\n", "quiet meta gets, mn after a batch"),
    text("ms", "ms @ #\r\n$\r\n", "HD\r\n", "meta sets"),
    text("msflags", "ms @ # T0 F7 c k\r\n$\r\n", "HD ", "meta sets with four flags"),
    quiet("msquiet", "ms @ # q\r\n$\r\n", "quiet meta sets, mn after a batch"),
    text("ma", "ma %\r\n", "HD\r\n", "meta arithmetic"),
    text("maflags", "ma % v t MD D2\r\n", "VA ", "meta arithmetic with flags"),
    text("me", "me @\r\n", "ME ", "meta debug"),
    text("mdmiss", "md !\r\n", "NF\r\n", "meta deletes of keys that are not stored"),
    BINARY_GET,
    Form {
        tail: Some(NOOP),
        reply: Reply::Bytes { overhead: HEADER + 4 + crate::wire::KEY_SIZE, value: true },
        about: "a stream of getkq, noop after a batch",
        ..binary("bgetkq", 0x0d, &[], Body::None, 4)
    },
    Form { reply: Reply::Bytes { overhead: HEADER + 4, value: true }, ..binary("bgat", 0x1d, &[0; 4], Body::None, 4) },
    binary("btouch", 0x1c, &[0; 4], Body::None, 4),
    binary("bset", 0x01, &[0; 8], Body::Value, 0),
    Form {
        tail: Some(NOOP),
        reply: Reply::Bytes { overhead: 0, value: false },
        about: "a stream of setq, noop after a batch",
        ..binary("bsetq", 0x11, &[0; 8], Body::Value, 0)
    },
    Form {
        request: Request::Binary { opcode: 0x05, extras: &INCREMENT, key: "%", body: Body::None },
        ..binary("bincr", 0x05, &[], Body::None, 8)
    },
    Form {
        request: Request::Binary { opcode: 0x04, extras: &[], key: "!", body: Body::None },
        ..binary("bdelmiss", 0x04, &[], Body::None, "Not found".len())
    },
    binary("bappend", 0x0e, &[], Body::Byte, 0),
    text("append", "append @ 0 0 1\r\nx\r\n", "D\r\n", "appends of one byte"),
    text("prepend", "prepend @ 0 0 1\r\nx\r\n", "D\r\n", "prepends of one byte"),
    text("msappend", "ms @ 1 MA\r\nx\r\n", "HD\r\n", "meta sets that append one byte"),
    text("md", "md @ I T3600\r\n", "HD\r\n", "meta deletes that mark items stale"),
    Form { depth: 3000, ..text("mgcut", "mg @ v\r\n", "VA ", "3000 meta gets a batch: reads end inside of commands") },
];

/// Extras of an increment: the step, the first number, never expires.
const INCREMENT: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The form with this name.
pub fn named(name: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| form.name == name)
}
