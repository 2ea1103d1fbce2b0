//! The rooms of `src/store/`: arrows between them point downward, and no circle of files is longer than two.
//!
//! The table is that of `src/store/mod.rs`; docs/architecture.md has the order in words. A room is a folder, or some files
//! of `src/store/` itself. What counts is what a file names, outside its tests, through `crate::store::`,
//! `super::` or a `use` of its own submodule. A name that a folder re-exports counts as the file that has it.

use super::{Source, root, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::iter::Peekable;

/// Lowest first. A file may name files of its own row and of the rows above it.
const ROOMS: &[&[&str]] = &[
    &["item"],
    &["slab"],
    &["memory_file"],
    &["index"],
    &["evict"],
    &["class"],
    &["slabs"],
    &[
        "store",
        "dates",
        "entry",
        "flush",
        "link",
        "read",
        "reload",
        "reservation",
        "scratch",
        "upkeep",
        "walk",
        "write",
        "change",
    ],
    &["page_move", "recovery"],
];

/// Files that may name each other in a circle. Those of `Store` are one type in several files, so among them there is no
/// limit.
const CIRCLE_MAX: usize = 2;
const STORE_ROW: usize = 7;

const STORE: &str = "src/store/";

/// Collects the paths of a `use` tree, or the one path of an expression, at the start of `text`.
fn paths(text: &mut Peekable<impl Iterator<Item = char>>, stem: &str, found: &mut Vec<String>) {
    let mut path = stem.to_owned();
    while let Some(&c) = text.peek() {
        if c.is_alphanumeric() || c == '_' || c == ':' {
            path.push(c);
            text.next();
        } else if c == '{' && path.ends_with("::") {
            text.next();
            while text.peek().is_some_and(|c| *c != '}') {
                match text.peek() {
                    Some(c) if c.is_alphanumeric() || *c == '_' => paths(text, &path, found),
                    _ => _ = text.next(),
                }
            }
            text.next();
            return;
        } else {
            break;
        }
    }
    found.push(path);
}

/// The paths that line `at` of a file begins with `prefix`, without the prefix.
fn named(source: &Source, at: usize, prefix: &str) -> Vec<String> {
    let line = &source.lines[at].code;
    let mut found = Vec::new();
    for (begin, _) in line.match_indices(prefix) {
        if line[..begin].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let later = source.lines[at + 1..].iter().flat_map(|line| line.code.chars().chain(Some(' ')));
        let mut text = line[begin + prefix.len()..].chars().chain(Some(' ')).chain(later).peekable();
        // The stem makes a brace right after the prefix one of the tree.
        let first = found.len();
        paths(&mut text, "::", &mut found);
        found[first..].iter_mut().for_each(|path| *path = path.trim_matches(':').to_owned());
    }
    found
}

/// The files of `src/store/`, by path below it, and what each names.
struct Files {
    names: BTreeSet<String>,
    /// For each folder, the file of each name that its `mod.rs` re-exports.
    exports: BTreeMap<String, String>,
}

impl Files {
    fn new(sources: &[Source]) -> Self {
        let names: BTreeSet<String> =
            sources.iter().filter_map(|source| source.path.strip_prefix(STORE)).map(str::to_owned).collect();
        let mut files = Self { names, exports: BTreeMap::new() };
        for source in sources {
            let Some(folder) = source.path.strip_prefix(STORE).and_then(|path| path.strip_suffix("/mod.rs")) else {
                continue;
            };
            for at in 0..source.lines.len() {
                for path in files.own_uses(source, at, true) {
                    let file = files.resolve(&format!("{folder}::{path}"));
                    if let (Some(file), Some(name)) = (file, path.rsplit("::").next()) {
                        files.exports.insert(format!("{folder}::{name}"), file);
                    }
                }
            }
        }
        files
    }

    /// The `use` of submodules in line `at` of a `mod.rs`, those that re-export or the others.
    fn own_uses(&self, source: &Source, at: usize, public: bool) -> Vec<String> {
        let line = source.lines[at].code.trim_start();
        let used = if public { line.split_once(" use ").filter(|(before, _)| before.starts_with("pub")) } else { None };
        let used = used.map(|(_, used)| used).or_else(|| if public { None } else { line.strip_prefix("use ") });
        let Some(first) = used.and_then(|used| used.split("::").next()) else { return Vec::new() };
        let folder = source.path.trim_start_matches(STORE).trim_end_matches("mod.rs");
        if !self.names.contains(&format!("{folder}{first}.rs")) {
            return Vec::new();
        }
        let prefix = format!("{first}::");
        named(source, at, &prefix).into_iter().map(|path| prefix.clone() + &path).collect()
    }

    /// The file that a path below `crate::store` names; `None` for a name of `src/store/mod.rs`.
    fn resolve(&self, path: &str) -> Option<String> {
        let mut parts = path.split("::");
        let (first, second) = (parts.next()?, parts.next().unwrap_or(""));
        let candidates = [format!("{first}.rs"), format!("{first}/{second}.rs"), format!("{first}/mod.rs")];
        if !self.names.contains(&candidates[1])
            && let Some(file) = self.exports.get(&format!("{first}::{second}"))
        {
            return Some(file.clone());
        }
        candidates.into_iter().find(|name| self.names.contains(name))
    }

    /// The files that line `at` of a file names.
    fn arrows(&self, source: &Source, at: usize) -> Vec<String> {
        let Some(own) = source.path.strip_prefix(STORE) else { return Vec::new() };
        let folder = own.strip_suffix("/mod.rs").or_else(|| own.split_once('/').map(|(folder, _)| folder));
        let mut paths = named(source, at, "crate::store::");
        let above = named(source, at, "super::");
        match folder {
            Some(folder) if !own.ends_with("/mod.rs") => {
                let inside = |path: String| match path.strip_prefix("super::") {
                    Some(outside) => outside.to_owned(),
                    None => format!("{folder}::{path}"),
                };
                paths.extend(above.into_iter().map(inside));
            }
            Some(folder) => {
                paths.extend(above);
                paths.extend(self.own_uses(source, at, false).into_iter().map(|path| format!("{folder}::{path}")));
            }
            None => paths.extend(above),
        }
        paths.iter().filter_map(|path| self.resolve(path)).filter(|file| file != own).collect()
    }
}

fn row(file: &str) -> Option<usize> {
    let room = file.split('/').next().unwrap_or(file).trim_end_matches(".rs");
    ROOMS.iter().position(|row| row.contains(&room))
}

/// Every arrow between files, with the line of its first occurrence; `src/store/mod.rs` aside, which names all.
fn arrows(sources: &[Source]) -> BTreeMap<(String, String), usize> {
    let files = Files::new(sources);
    let mut found = BTreeMap::new();
    for source in sources {
        let Some(own) = source.path.strip_prefix(STORE).filter(|own| *own != "mod.rs") else { continue };
        for at in (0..source.lines.len()).filter(|at| !source.lines[*at].test) {
            for to in files.arrows(source, at) {
                found.entry((own.to_owned(), to)).or_insert(at + 1);
            }
        }
    }
    found
}

/// Sets of more than [`CIRCLE_MAX`] files that reach each other.
fn circles(arrows: impl Iterator<Item = (String, String)>) -> BTreeSet<BTreeSet<String>> {
    let mut reach: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    arrows.for_each(|(from, to)| _ = reach.entry(from).or_default().insert(to));
    loop {
        let before: usize = reach.values().map(BTreeSet::len).sum();
        for from in reach.keys().cloned().collect::<Vec<_>>() {
            let further: BTreeSet<String> =
                reach[&from].iter().filter_map(|to| reach.get(to)).flatten().cloned().collect();
            reach.entry(from).or_default().extend(further);
        }
        if reach.values().map(BTreeSet::len).sum::<usize>() == before {
            break;
        }
    }
    let mutual = |from: &String| -> BTreeSet<String> {
        reach[from].iter().filter(|to| reach.get(*to).is_some_and(|back| back.contains(from))).cloned().collect()
    };
    let circles = reach.keys().map(mutual).filter(|circle| circle.len() > CIRCLE_MAX);
    circles.filter(|circle| !circle.iter().all(|file| row(file) == Some(STORE_ROW))).collect()
}

/// Breaches of the table, each as text.
fn breaches(sources: &[Source]) -> Vec<String> {
    let arrows = arrows(sources);
    let mut found = Vec::new();
    for ((from, to), line) in &arrows {
        match (row(from), row(to)) {
            (Some(own), Some(other)) if other <= own => {}
            (Some(_), Some(_)) => found.push(format!("{STORE}{from}:{line}: names {to}, which is above it")),
            _ => found.push(format!("{STORE}{from}:{line}: {from} or {to} is in no row of the table")),
        }
    }
    found.extend(circles(arrows.into_keys()).iter().map(|circle| format!("a circle: {circle:?}")));
    found
}

#[test]
fn arrows_in_the_store_point_downward() {
    let mut report = String::new();
    breaches(&sources()).iter().for_each(|breach| writeln!(report, "{breach}").unwrap());
    assert!(report.is_empty(), "rooms of src/store/:\n{report}");
}

#[test]
fn the_room_table_of_the_store_is_that_of_the_rule() {
    let text = fs::read_to_string(root().join("src/store/mod.rs")).unwrap();
    for (number, row) in ROOMS.iter().enumerate() {
        let begin = format!("//! | {number} | ");
        let line = text.lines().find(|line| line.starts_with(&begin)).unwrap_or_else(|| panic!("no room {number}"));
        let files = line.split('|').nth(2).unwrap();
        let told: Vec<&str> = files.split('`').skip(1).step_by(2).collect();
        assert_eq!(told, *row, "room {number} of src/store/mod.rs");
    }
}

#[test]
fn the_room_rule_sees_every_way_to_name_a_file() {
    let judge = |files: &[(&str, &str)]| {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| super::source(format!("{STORE}{path}"), text)).collect();
        breaches(&sources).len()
    };
    let (evict, queues) = (("evict/mod.rs", "pub use queues::{\n    Queues,\n};"), ("evict/queues.rs", "//! x"));
    let item = ("item/mod.rs", "//! x");
    assert_eq!(judge(&[item, evict, queues, ("slab/a.rs", "use crate::store::item::X;")]), 0);
    assert_eq!(judge(&[item, evict, queues, ("slab/a.rs", "use crate::store::evict::Queues;")]), 1);
    assert_eq!(judge(&[item, evict, queues, ("slab/a.rs", "use crate::store::{\n item::X,\n evict::Queues};")]), 1);
    assert_eq!(judge(&[item, evict, queues, ("slab/a.rs", "fn f(q: &super::super::evict::Queues) {}")]), 1);
    assert_eq!(judge(&[item, evict, queues, ("slab/mod.rs", "use super::evict::Queues;")]), 1);
    assert_eq!(judge(&[item, evict, queues, ("slabs.rs", "use super::evict::Queues;")]), 0);
    assert_eq!(judge(&[evict, ("slab/a.rs", "#[cfg(test)]\nmod tests {\n use crate::store::evict::Queues;\n}")]), 0);
    assert_eq!(judge(&[item, ("newcomer.rs", "use crate::store::item::X;")]), 1);
}

#[test]
fn the_room_rule_finds_circles_of_three_files() {
    let judge = |files: [(&str, &str); 3]| {
        let sources: Vec<Source> =
            files.iter().map(|(path, text)| super::source(format!("{STORE}{path}"), text)).collect();
        breaches(&sources).len()
    };
    let c = ("evict/c.rs", "//! x");
    assert_eq!(judge([("evict/a.rs", "use super::b::B;"), ("evict/b.rs", "use super::a::A;"), c]), 0);
    let closed = ("evict/c.rs", "use crate::store::evict::a::A;");
    assert_eq!(judge([("evict/a.rs", "use super::b::B;"), ("evict/b.rs", "use super::c::C;"), closed]), 1);
    let parent = ("evict/mod.rs", "pub use a::A;\nuse b::B;");
    assert_eq!(judge([("evict/a.rs", "use super::X;"), ("evict/b.rs", "use super::A;"), parent]), 1);
}
