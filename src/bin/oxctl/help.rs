//! Commands, modes and options of oxctl in words: the text of `--help`, and the rows of its manual page.
//!
//! Owns the words and their layout. Must not know any other module: the program `xtask` includes this file. `main`
//! prints the text; `args` says what is accepted.

use std::fmt::Write as _;

/// A form, and what it means; lines may end where the text of `--help` breaks them.
pub(crate) type Row = (&'static str, &'static str);

/// First lines of `--help`, without the program's name.
pub(crate) const FORMS: [&str; 2] = ["[OPTIONS] COMMAND [ARGUMENTS]", "[OPTIONS] ADDRESS [MODE]"];

/// Commands.
pub(crate) const COMMANDS: &[Row] = &[
    ("ping [ADDRESS]", "whether the server answers; exit code 0 or 1"),
    ("stats [WHAT...]", "statistics: none, settings, items, slabs, sizes, conns ..."),
    ("hotkeys [BY] [K]", "most popular keys, by reads, writes, misses or bytes"),
    ("latency [CLASS]", "latencies; of one class or command with its histogram"),
    ("slow [N|reset]", "turns that took long, the latest first"),
    ("large [N|reset]", "large values that were stored or sent, the latest first"),
    ("largest [N]", "largest items"),
    ("prefixes [BY] [N]", "items, bytes and hits by prefix, up to the delimiter BY"),
    (
        "watch CLASS...",
        "stream of events: fetchers, mutations, evictions, connevents,\n\
         deletions, proxyreqs, proxyevents, proxyuser, slow, large",
    ),
    ("dump FILE|-", "write all items to a file or standard output"),
    ("load FILE|-", "store the items of a dump"),
    ("top [ADDRESS]", "live view in the terminal; with --json a line an interval"),
];

/// Modes of memcached-tool.
pub(crate) const MODES: &[Row] = &[
    ("display", "slab classes; the default"),
    ("stats, settings, sizes", "the statistics of that name"),
    ("dump [LIMIT]", "items, as the commands that store them"),
    ("keys [-u] [LIMIT]", "keys and their attributes; -u decodes %XX"),
    ("move FROM TO", "as display"),
];

/// What an address is.
pub(crate) const ADDRESSES: &str = "An ADDRESS is HOST[:PORT], [V6][:PORT] or the path of a unix socket.";

/// Options.
pub(crate) const OPTIONS: &[Row] = &[
    ("-s, --server ADDRESS", "the server (default 127.0.0.1:11211)"),
    ("    --timeout SECONDS", "longest wait for an answer (default 5)"),
    ("    --json", "JSON instead of tables"),
    ("    --user NAME, --password-file FILE", "login, for servers with -Y; the file's first line counts"),
    ("    --tls --ca FILE", "TLS; FILE has the authorities' certificates, in PEM"),
    ("    --cert FILE --key FILE", "the client's certificate and key, for --tls"),
    ("    --overwrite", "load: also replace items that exist"),
    ("    --interval SECONDS", "top: time between two looks (default 1)"),
    ("    --count N", "top --json: end after N lines"),
    ("-h, --help", "this text"),
    ("-V, --version", "the version"),
];

/// Exit codes.
pub(crate) const EXIT_CODES: [(u8, &str); 5] = [
    (0, "done"),
    (1, "no valid answer, or a file cannot be used"),
    (2, "the server lacks\nthe command or refuses it"),
    (64, "wrong command line"),
    (141, "the reader of the output left"),
];

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text = String::new();
    for (number, form) in FORMS.iter().enumerate() {
        let before = if number == 0 { "Usage:" } else { "      " };
        let _ = writeln!(text, "{before} oxctl {form}");
    }
    text.push_str("\nTalks to oxcached or memcached over the text protocol.\n\nCommands:\n");
    rows(&mut text, COMMANDS, 20);
    text.push_str("\nModes, as those of memcached-tool:\n");
    rows(&mut text, MODES, 20);
    let _ = write!(text, "\n{ADDRESSES}\n\nOptions:\n");
    rows(&mut text, OPTIONS, 23);
    let codes: Vec<String> = EXIT_CODES.iter().map(|(code, meaning)| format!("{code} {meaning}")).collect();
    let _ = writeln!(text, "\nExit codes: {}.", codes.join("; "));
    text
}

/// A form that is wider than `width` has a line of its own.
fn rows(text: &mut String, rows: &[Row], width: usize) {
    for (form, meaning) in rows {
        let indent = width + 3;
        let meaning = meaning.replace('\n', &format!("\n{:indent$}", ""));
        let between = if form.len() > width { format!("\n{:indent$}", "") } else { " ".to_owned() };
        let _ = writeln!(text, "  {form:<width$}{between}{meaning}");
    }
}
