//! The house rules for the files under `src/`, as tests: rules that no compiler or linter checks.
//!
//! The layer table below is that of `docs/architecture.md`; change both together. Every rule checks all files and
//! reports all breaches at once, as `path:line: what`.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be read fails it")]

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/lists.rs"]
mod lists;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/words.rs"]
mod words;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module may use itself and the rows above its own.
const LAYERS: &[&[&str]] = &[
    &[
        "limits",
        "clock",
        "hash",
        "decimal",
        "find_byte",
        "point",
        "cache_lines",
        "printable",
        "metric",
        "sys",
        "settings",
        "stats",
        "conns",
        "events",
        "hotkeys",
    ],
    &["store", "tls", "auth", "cluster"],
    &["cache"],
    &["maint", "durable"],
    &["report"],
    &["proto"],
    &["net"],
    &["admin"],
    &["server", "main", "lib"],
];

/// Modules of the lowest row that the others of that row may use: the bounds and the basic tools.
const GROUND: &[&str] =
    &["limits", "clock", "hash", "decimal", "find_byte", "point", "cache_lines", "printable", "metric", "sys"];

/// Programs beside the server: they use no module of its library.
const PROGRAMS: &str = "src/bin/";

const UNSAFE_HOMES: &[&str] = &["src/sys", "src/store"];
const LINES_MAX: usize = 700;
const COLUMNS_MAX: usize = 120;
/// Lines of a function, from its signature to its last brace; tests aside.
const FUNCTION_LINES_MAX: usize = 80;

/// One source file.
struct Source {
    path: String,
    module: String,
    lines: Vec<Line>,
}

struct Line {
    /// As written.
    raw: String,
    /// Without comments, and with blank literals.
    code: String,
    /// Within an item under `#[cfg(test)]`.
    test: bool,
}

/// State of a scan between two lines.
enum Inside {
    Code,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

/// Blanks comments and the contents of string and character literals; keeps the lines.
fn strip(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut inside = Inside::Code;
    for line in text.lines() {
        let chars: Vec<char> = line.chars().collect();
        let mut code = String::new();
        let mut i = 0;
        while i < chars.len() {
            let rest = &chars[i..];
            let starts = |what: &str| what.chars().enumerate().all(|(n, c)| rest.get(n) == Some(&c));
            match &mut inside {
                Inside::BlockComment { depth } => {
                    if starts("*/") {
                        *depth -= 1;
                        i += 1;
                        if *depth == 0 {
                            inside = Inside::Code;
                        }
                    } else if starts("/*") {
                        *depth += 1;
                        i += 1;
                    }
                }
                Inside::Text => match chars[i] {
                    '\\' => i += 1,
                    '"' => {
                        code.push('"');
                        inside = Inside::Code;
                    }
                    _ => {}
                },
                Inside::RawText { hashes } => {
                    if chars[i] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= *hashes {
                        code.push('"');
                        i += *hashes;
                        inside = Inside::Code;
                    }
                }
                Inside::Code => {
                    let after_name = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
                    let raw_start = raw_text_hashes(rest).filter(|_| !after_name);
                    if starts("//") {
                        break;
                    } else if starts("/*") {
                        inside = Inside::BlockComment { depth: 1 };
                        i += 1;
                    } else if let Some((skip, hashes)) = raw_start {
                        code.push('"');
                        i += skip;
                        inside = Inside::RawText { hashes };
                    } else if chars[i] == '"' {
                        code.push('"');
                        inside = Inside::Text;
                    } else if chars[i] == '\'' {
                        let length = char_literal(rest);
                        code.push('\'');
                        i += length;
                    } else {
                        code.push(chars[i]);
                    }
                }
            }
            i += 1;
        }
        out.push(code);
    }
    out
}

/// At `r"`, `r#"`, `br#"` and so on: number of characters up to the quote, and number of hashes.
fn raw_text_hashes(rest: &[char]) -> Option<(usize, usize)> {
    let mut at = 0;
    if matches!(rest.first(), Some('b' | 'c')) {
        at += 1;
    }
    if rest.get(at) != Some(&'r') {
        return None;
    }
    at += 1;
    let hashes = rest[at..].iter().take_while(|c| **c == '#').count();
    (rest.get(at + hashes) == Some(&'"')).then_some((at + hashes, hashes))
}

/// At a quote: the length of a character literal after it, 0 for a lifetime.
fn char_literal(rest: &[char]) -> usize {
    match (rest.get(1), rest.get(2)) {
        (Some('\\'), _) => rest.iter().skip(3).position(|c| *c == '\'').map_or(0, |n| n + 3),
        (Some(_), Some('\'')) => 2,
        _ => 0,
    }
}

/// Marks the lines of each item under `#[cfg(test)]` or a `cfg(all(test, ...))`, or all of a file under `#![cfg(test)]`.
fn mark_tests(code: &[String]) -> Vec<bool> {
    let mut marks = vec![code.iter().any(|line| line == "#![cfg(test)]"); code.len()];
    let mut at = 0;
    while at < code.len() {
        let line = code[at].trim_start();
        if !(line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test")) {
            at += 1;
            continue;
        }
        // The item ends with its closing brace, or with a semicolon before any brace.
        let (mut depth, mut opened) = (0usize, false);
        'item: while at < code.len() {
            marks[at] = true;
            let skip = if depth == 0 && !opened { code[at].find(']').map_or(0, |n| n + 1) } else { 0 };
            let body = if code[at].trim_start().starts_with("#[") { &code[at][skip..] } else { code[at].as_str() };
            at += 1;
            for c in body.chars() {
                match c {
                    '{' => (depth, opened) = (depth + 1, true),
                    '}' => {
                        depth = depth.saturating_sub(1);
                        if depth == 0 {
                            break 'item;
                        }
                    }
                    ';' if !opened => break 'item,
                    _ => {}
                }
            }
        }
    }
    marks
}

fn source(path: String, text: &str) -> Source {
    let code = strip(text);
    let marks = mark_tests(&code);
    let lines = text.lines().zip(code).zip(marks);
    let lines = lines.map(|((raw, code), test)| Line { raw: raw.to_owned(), code, test }).collect();
    let inner = path.strip_prefix("src/").unwrap_or(&path);
    let module = inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs").to_owned();
    Source { path, module, lines }
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    assert!(!files.is_empty(), "no source files found");
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| source(name(path), &fs::read_to_string(path).unwrap())).collect()
}

/// Runs a rule over every file and fails with all breaches.
fn check(rule: &str, judge: impl Fn(&Source, &mut dyn FnMut(usize, String))) {
    let mut report = String::new();
    for source in sources() {
        judge(&source, &mut |line, what| writeln!(report, "{}:{}: {what}", source.path, line + 1).unwrap());
    }
    assert!(report.is_empty(), "{rule}:\n{report}");
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// Modules of this crate that a line of code names through `crate::`, and the first name of each path in `use
/// crate::{...}`.
fn named_modules(source: &Source, at: usize) -> Vec<String> {
    let line = &source.lines[at].code;
    let mut names = Vec::new();
    for (found, _) in line.match_indices("crate::") {
        if line[..found].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &line[found + "crate::".len()..];
        if !rest.starts_with('{') {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            continue;
        }
        // A group: the first name of each path at depth one, over several lines.
        let later = source.lines[at + 1..].iter().map(|line| line.code.as_str());
        let (mut depth, mut name, mut wants) = (0, String::new(), true);
        'group: for c in std::iter::once(rest).chain(later).flat_map(|text| text.chars().chain(std::iter::once(' '))) {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => break 'group,
                '}' => depth -= 1,
                ',' if depth == 1 => wants = true,
                _ if depth == 1 && wants && (c.is_alphanumeric() || c == '_') => {
                    name.push(c);
                    continue;
                }
                _ => {}
            }
            if !name.is_empty() {
                names.push(std::mem::take(&mut name));
                wants = c == ',';
            }
        }
        names.extend((!name.is_empty()).then_some(name));
    }
    names
}

fn layer_breaches(source: &Source, report: &mut dyn FnMut(usize, String)) {
    if source.path.starts_with(PROGRAMS) {
        // There, `crate::` is the program itself.
        for (at, line) in source.lines.iter().enumerate() {
            if has_word(&line.code, "oxcached") {
                report(at, "a program beside the server names its library".to_owned());
            }
        }
        return;
    }
    let Some(own) = layer(&source.module) else {
        report(0, format!("module `{}` is not in the layer table", source.module));
        return;
    };
    for at in (0..source.lines.len()).filter(|at| !source.lines[*at].test) {
        for name in named_modules(source, at) {
            // Not a module: an item of lib.rs, or one of its macros.
            let Some(other) = layer(&name) else {
                if own < LAYERS.len() - 1 {
                    report(at, format!("`crate::{name}` is not a module of the layer table"));
                }
                continue;
            };
            let ground = own == 0 && other == 0 && GROUND.contains(&name.as_str());
            if name != source.module && other >= own && !ground && own < LAYERS.len() - 1 {
                report(at, format!("layer {own} `{}` names `{name}` of layer {other}", source.module));
            }
        }
    }
}

/// Whether `word` occurs in `code` as a whole word.
fn has_word(code: &str, word: &str) -> bool {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(name) && !code[at + word.len()..].starts_with(name))
}

fn unsafe_breaches(source: &Source, report: &mut dyn FnMut(usize, String)) {
    let home = UNSAFE_HOMES
        .iter()
        .any(|home| source.path.strip_prefix(home).is_some_and(|rest| rest.starts_with('/') || rest == ".rs"));
    for (at, line) in source.lines.iter().enumerate() {
        if !has_word(&line.code, "unsafe") || has_word(&line.code, "unsafe_code") {
            continue;
        }
        if !home {
            report(at, "unsafe code outside src/sys and src/store".to_owned());
        }
        let block = line.code.match_indices("unsafe").any(|(found, word)| {
            let next = line.code[found + word.len()..].trim_start();
            next.starts_with('{') || next.starts_with("impl")
        });
        let near = &source.lines[at.saturating_sub(3)..=at];
        if block && !near.iter().any(|line| line.raw.contains("SAFETY:")) {
            report(at, "no SAFETY: comment in the three lines before it".to_owned());
        }
    }
}

#[test]
fn layers_point_downward() {
    check("a module may name itself and lower layers only", layer_breaches);
}

#[test]
fn unsafe_is_kept_at_home_and_explained() {
    check("unsafe code", unsafe_breaches);
}

#[test]
fn files_open_with_their_purpose() {
    check("every file opens with //!", |source, report| {
        if !source.lines.first().is_some_and(|line| line.raw.starts_with("//!")) {
            report(0, "the first line is no //! comment".to_owned());
        }
    });
}

#[test]
fn files_stay_readable_in_one_sitting() {
    check("file length", |source, report| {
        if source.lines.len() > LINES_MAX {
            report(LINES_MAX, format!("{} lines, {LINES_MAX} at most", source.lines.len()));
        }
    });
}

/// Lines of the function with its signature at line `at`; `None` for one without a body.
fn function_lines(source: &Source, at: usize) -> Option<usize> {
    let (mut depth, mut parens, mut opened) = (0usize, 0isize, false);
    for (length, line) in source.lines[at..].iter().enumerate() {
        for c in line.code.chars() {
            match c {
                '(' | '[' => parens += 1,
                ')' | ']' => parens -= 1,
                ';' if !opened && parens == 0 => return None,
                '{' => (depth, opened) = (depth + 1, true),
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if opened && depth == 0 {
            return Some(length + 1);
        }
    }
    None
}

#[test]
fn functions_fit_a_screen() {
    check("function length", |source, report| {
        for (at, line) in source.lines.iter().enumerate() {
            let code = line.code.trim_start();
            let words = ["pub", "const", "unsafe", "async", "extern"];
            let is_function = has_word(code, "fn")
                && code.split_whitespace().take_while(|word| *word != "fn").all(|word| {
                    words.iter().any(|known| word.starts_with(known)) || word.ends_with(')') || word == "in"
                });
            if !line.test
                && is_function
                && let Some(length) = function_lines(source, at)
                && length > FUNCTION_LINES_MAX
            {
                report(at, format!("a function of {length} lines, {FUNCTION_LINES_MAX} at most"));
            }
        }
    });
}

#[test]
fn nothing_is_left_unfinished_or_unwrapped() {
    check("unfinished or panicking code", |source, report| {
        for (at, line) in source.lines.iter().enumerate() {
            if !line.test && line.code.contains(".unwrap()") {
                report(at, "unwrap() outside tests".to_owned());
            }
            for word in ["todo!", "unimplemented!", "dbg!"] {
                if line.code.match_indices(word).any(|(n, _)| !line.code[..n].ends_with(char::is_alphanumeric)) {
                    report(at, format!("{word} is left in"));
                }
            }
        }
    });
}

#[test]
fn lines_are_clean() {
    let places = ["home", "root", "work", "mnt", "Users"].map(|top| format!("/{top}/"));
    check("line hygiene", |source, report| {
        for (at, line) in source.lines.iter().enumerate() {
            if line.raw.ends_with(char::is_whitespace) {
                report(at, "trailing white space".to_owned());
            }
            if line.raw.contains('\t') {
                report(at, "a tab".to_owned());
            }
            // A literal cannot be broken, nor a row of a table.
            let is_whole = line.code.contains('"') || line.raw.starts_with("//! |");
            if !is_whole && line.raw.chars().count() > COLUMNS_MAX {
                report(at, format!("over {COLUMNS_MAX} columns"));
            }
            if let Some(place) = places.iter().find(|place| line.raw.contains(place.as_str())) {
                report(at, format!("names a place on one machine: {place}"));
            }
        }
    });
}

// Tests of the rules: true breaches, and text that must not count as one.

/// No line.
const NONE: [usize; 0] = [];

fn breaches(path: &str, text: &str, judge: fn(&Source, &mut dyn FnMut(usize, String))) -> Vec<usize> {
    let mut found = Vec::new();
    judge(&source(path.to_owned(), text), &mut |line, _| found.push(line + 1));
    found
}

#[test]
fn the_layer_rule_sees_every_way_to_name_a_module() {
    let judge = |path: &str, text: &str| breaches(path, text, layer_breaches);
    assert_eq!(judge("src/store/item.rs", "use crate::cache::Verb;"), [1]);
    assert_eq!(judge("src/store/item.rs", "use crate::{limits, net::conn};"), [1]);
    assert_eq!(judge("src/store.rs", "use crate::{\n    limits::{A, proto},\n    store::x,\n    net,\n};"), [1]);
    assert_eq!(judge("src/cache/mod.rs", "fn f() { crate::net::g() }"), [1]);
    assert_eq!(judge("src/cache/mod.rs", "pub(crate) fn f() {}\nuse crate::store::Item;\nuse crate::clock;"), NONE);
    assert_eq!(judge("src/stats/mod.rs", "use crate::settings::X;"), [1]);
    assert_eq!(judge("src/stats/mod.rs", "use crate::limits::X;"), NONE);
    assert_eq!(judge("src/store/mod.rs", "// crate::net\n/// [`crate::net`]\nconst A: &str = \"crate::net\";"), NONE);
    assert_eq!(judge("src/store/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::net;\n}\nuse crate::net;"), [5]);
    assert_eq!(judge("src/store/mod.rs", "#[cfg(test)]\nuse crate::net;\nuse crate::proto;"), [3]);
    assert_eq!(judge("src/server/start.rs", "use crate::net::Worker;\nuse crate::Version;"), NONE);
    assert_eq!(judge("src/newcomer.rs", "//! x"), [1]);
    assert_eq!(judge("src/bin/tool/main.rs", "use crate::net;\nuse oxcached::clock;\nlet a = \"oxcached::x\";"), [2]);
}

#[test]
fn the_unsafe_rule_wants_a_home_and_a_reason() {
    let judge = |path: &str, text: &str| breaches(path, text, unsafe_breaches);
    assert_eq!(judge("src/net/conn.rs", "// SAFETY: x\nunsafe { f() }"), [2]);
    assert_eq!(judge("src/store/item.rs", "// SAFETY: x\nunsafe { f() }"), NONE);
    assert_eq!(judge("src/store/item.rs", "unsafe { f() }"), [1]);
    assert_eq!(judge("src/store/item.rs", "// SAFETY: x\n\n\n\nlet a = unsafe { f() };"), [5]);
    assert_eq!(judge("src/sys/mod.rs", "unsafe impl Send for X {}"), [1]);
    assert_eq!(judge("src/sys/mod.rs", "pub unsafe fn f() {}"), NONE);
    assert_eq!(judge("src/lib.rs", "#![deny(unsafe_code)]\n// unsafe { }\nlet a = \"unsafe {\";"), NONE);
}

#[test]
fn stripping_knows_literals_from_code() {
    let code =
        strip("a '\"' b // c\n\"x // \\\" y\" z\nr#\"q \" // \"# w /* in\n/* deeper */ out */ v\n&'a str '\\'' u");
    assert_eq!(code, ["a ' b ", "\"\" z", "\"\" w ", " v", "&'a str ' u"]);
}
