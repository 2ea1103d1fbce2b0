//! Lists in `docs/` generated from the sources: every `unsafe` site with its argument, and every bound of
//! `src/limits.rs`, and every system call of a confined thread. A list that is out of date fails; `make lists` regenerates it.

use super::{Source, has_word, root, sources};
use oxcached::sys::sandbox::{self, Role};
use std::fmt::Write as _;
use std::fs;

/// Compares `text` with the part of `docs/name` between its marks, or writes it there if `WRITE_LISTS` is set.
fn keep(name: &str, text: &str) {
    const BEGIN: &str = "<!-- made by `make lists` from here on -->\n";
    const END: &str = "<!-- to here -->\n";
    let path = root().join("docs").join(name);
    let page = fs::read_to_string(&path).unwrap_or_else(|e| panic!("docs/{name}: {e}"));
    let (before, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("docs/{name} has no line {BEGIN}"));
    let (list, after) = rest.split_once(END).unwrap_or_else(|| panic!("docs/{name} has no line {END}"));
    if std::env::var_os("WRITE_LISTS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{text}{END}{after}")).unwrap();
        return;
    }
    let differs = list.lines().zip(text.lines()).find(|(old, new)| old != new);
    let (old, new) = differs.unwrap_or(("the end", "the end"));
    assert!(list == text, "docs/{name} is out of date, `make lists` writes it again:\n- {old}\n+ {new}");
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The comment text that ends directly above line `at` and begins with `mark`.
fn argument(source: &Source, at: usize, mark: &str) -> Option<String> {
    // A statement, attributes included, may begin some lines above the word.
    let first = (at.saturating_sub(8)..=at).rev().find(|&line| source.lines[line].raw.contains(mark))?;
    let comment = source.lines[first..=at].iter().map(|line| line.raw.trim_start());
    let comment = comment.take_while(|line| line.starts_with("//"));
    let text: Vec<&str> = comment.map(|line| line.trim_start_matches('/').trim()).collect();
    Some(text.join(" ").replacen(mark, "", 1).trim().to_owned())
}

/// Name of the function around line `at`, with its type.
fn place(source: &Source, at: usize) -> String {
    let code = |line: usize| source.lines[line].code.as_str();
    let depth = indent(code(at));
    let name = |line: usize| -> Option<&str> {
        let (before, rest) = code(line).split_once("fn ")?;
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        (end > 0 && !before.ends_with(char::is_alphanumeric)).then_some(&rest[..end])
    };
    let around = |line: &usize| *line == at || indent(code(*line)) < depth;
    let function = (0..=at).rev().filter(around).find_map(|line| Some((line, name(line)?)));
    let Some((function, name)) = function else { return String::new() };
    let own = indent(code(function));
    let home = (0..function).rev().find(|&line| {
        let text = code(line).trim_start();
        indent(code(line)) < own && (text.starts_with("impl") || text.starts_with("unsafe impl"))
    });
    let home = home.filter(|_| own > 0).map(|line| {
        let text = code(line).split_once("impl").map_or("", |(_, rest)| rest);
        let text = text.rsplit(" for ").next().unwrap_or(text).trim_start();
        let text = if text.starts_with('<') { text.split_once("> ").map_or(text, |(_, rest)| rest) } else { text };
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        format!("{}::", &text[..end])
    });
    format!("{}{name}", home.unwrap_or_default())
}

/// Names called in the block that opens on line `at`.
fn calls(source: &Source, at: usize) -> Vec<String> {
    let start = source.lines[at].code.find("unsafe").unwrap_or(0);
    let (mut depth, mut body) = (0, String::new());
    'block: for (number, line) in source.lines[at..].iter().enumerate() {
        for c in line.code[if number == 0 { start } else { 0 }..].chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => break 'block,
                '}' => depth -= 1,
                _ if depth > 0 => body.push(c),
                _ => {}
            }
        }
        body.push(' ');
    }
    let mut found: Vec<String> = Vec::new();
    for (end, _) in body.match_indices('(') {
        let head = body[..end].trim_end_matches(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        let name = body[head.len()..end].trim_start_matches(':');
        let known = ["Some", "Ok", "Err", "cast", "add", "as_mut_ptr", "as_ptr", "into", "len", ""];
        if !known.contains(&name) && !found.iter().any(|other| other == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// One row of the list: the unsafe operation, and why it is sound.
fn site(source: &Source, at: usize) -> Option<(String, Option<String>)> {
    let line = &source.lines[at];
    if line.test || !has_word(&line.code, "unsafe") {
        return None;
    }
    let code = line.code.trim();
    let next = code.split("unsafe").nth(1).unwrap_or_default().trim_start();
    let (what, mark) = match next.split_whitespace().next() {
        Some("fn") => ("contract of the callers".to_owned(), "# Safety"),
        Some("impl") => (format!("`{}`", code.trim_end_matches('{').trim()), "SAFETY:"),
        Some("extern") => ("foreign variables".to_owned(), "SAFETY:"),
        _ => (calls(source, at).iter().map(|call| format!("`{call}`")).collect::<Vec<_>>().join(", "), "SAFETY:"),
    };
    let what = if what.is_empty() { "a foreign variable or pointer".to_owned() } else { what };
    let place = place(source, at);
    let place = if place.is_empty() { "the file".to_owned() } else { format!("`{place}`") };
    let reason = argument(source, at, mark).or_else(|| argument(source, at, "SAFETY:"));
    Some((format!("{place} | {what}"), reason))
}

#[test]
fn the_list_of_unsafe_sites_is_up_to_date() {
    let (mut text, mut missing, mut count) = (String::new(), String::new(), 0);
    for source in sources() {
        let sites: Vec<_> = (0..source.lines.len()).filter_map(|at| Some((at, site(&source, at)?))).collect();
        if sites.is_empty() {
            continue;
        }
        writeln!(text, "\n## {}\n\n| in | what | why it is sound |\n|---|---|---|", source.path).unwrap();
        for (at, (row, reason)) in sites {
            count += 1;
            match reason {
                Some(reason) => writeln!(text, "| {row} | {reason} |").unwrap(),
                None => writeln!(missing, "{}:{}: no argument", source.path, at + 1).unwrap(),
            }
        }
    }
    assert!(missing.is_empty(), "unsafe sites:\n{missing}");
    keep("unsafe.md", &format!("\n{count} sites.\n{text}\n"));
}

#[test]
fn the_list_of_allowed_calls_is_up_to_date() {
    let mut text = "\n| call | worker | admin | main | only with | for |\n|---|---|---|---|---|---|\n".to_owned();
    let mut names: Vec<_> = sandbox::calls().collect();
    names.sort_by_key(|call| call.name);
    names.retain(|call| !call.roles.is_empty());
    for call in &names {
        let marks = Role::ALL.map(|role| match role {
            _ if call.roles.contains(&role) => "x",
            _ if call.refused.contains(&role) => "refused",
            _ => "",
        });
        writeln!(text, "| `{}` | {} | {} | {} |", call.name, marks.join(" | "), call.with, call.why).unwrap();
    }
    assert!(names.windows(2).all(|pair| pair[0].name != pair[1].name), "a call has one row");
    keep("sandbox.md", &format!("{text}\n"));
}

/// The tests that stand in backticks in the last column of each table of a page: names with at least `joints`
/// underscores, which other names in that column have not. A name that ends with `*` stands for all that begin so.
fn tests_named_by(page: &str, joints: usize) -> Vec<String> {
    let page = fs::read_to_string(root().join(page)).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit(" | ").next());
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    names.filter(|name| name.matches('_').count() >= joints && !name.contains(['/', '.', ':'])).collect()
}

#[test]
fn tests_that_docs_name_exist() {
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| super::rust_files(&root().join(folder), &mut files));
    let code: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for (page, least, joints) in
        [("docs/counters.md", 40, 5), ("docs/connection.md", 10, 5), ("docs/faults.md", 100, 2), ("SECURITY.md", 20, 2)]
    {
        let names = tests_named_by(page, joints);
        assert!(names.len() > least, "{page}: {} names", names.len());
        let is_there = |name: &String| match name.strip_suffix('*') {
            Some(begin) => code.contains(&format!("fn {begin}")),
            None => code.contains(&format!("fn {name}()")),
        };
        let missing: Vec<&String> = names.iter().filter(|name| !is_there(name)).collect();
        assert!(missing.is_empty(), "{page} names tests that do not exist: {missing:?}");
    }
}

/// A bound: name, value, unit, meaning, and the effect beyond it.
struct Bound {
    name: String,
    value: String,
    unit: String,
    meaning: String,
    beyond: String,
}

/// Bounds in a file of constants. The comment of each ends with two lines, `Unit: ...` and `Beyond: ...`; the second
/// may continue.
fn bounds(source: &Source, complaints: &mut String) -> Vec<Bound> {
    let (mut bounds, mut comment) = (Vec::new(), String::new());
    for line in &source.lines {
        if let Some(text) = line.raw.strip_prefix("///") {
            comment.push_str(text.trim());
            comment.push(' ');
            continue;
        }
        let comment = std::mem::take(&mut comment);
        let Some(constant) = line.raw.strip_prefix("pub const ") else { continue };
        let (name, rest) = constant.split_once(": ").unwrap_or((constant, ""));
        let value = rest.split_once(" = ").map_or("", |(_, value)| value).trim_end_matches(';');
        let parts =
            comment.split_once("Unit: ").and_then(|(meaning, rest)| Some((meaning, rest.split_once("Beyond: ")?)));
        let Some((meaning, (unit, beyond))) = parts else {
            writeln!(complaints, "{}: {name} has no lines `Unit:` and `Beyond:`", source.path).unwrap();
            continue;
        };
        let clean = |text: &str| text.trim().trim_end_matches('.').replace('|', "\\|");
        bounds.push(Bound {
            name: name.to_owned(),
            value: clean(value),
            unit: clean(unit),
            meaning: clean(meaning),
            beyond: clean(beyond),
        });
    }
    bounds
}

#[test]
fn the_table_of_limits_is_up_to_date() {
    let (mut text, mut complaints) =
        ("\n| bound | value | unit | of what | beyond it |\n|---|---|---|---|---|\n".to_owned(), String::new());
    let source = sources().into_iter().find(|source| source.path == "src/limits.rs").unwrap();
    for Bound { name, value, unit, meaning, beyond } in bounds(&source, &mut complaints) {
        writeln!(text, "| `{name}` | `{value}` | {unit} | {meaning} | {beyond} |").unwrap();
    }
    assert!(complaints.is_empty(), "bounds:\n{complaints}");
    keep("limits.md", &format!("{text}\n"));
}

#[test]
fn a_bound_needs_a_unit_and_an_end() {
    let judge = |text: &str| {
        let mut complaints = String::new();
        let bounds = bounds(&super::source("src/limits.rs".to_owned(), text), &mut complaints);
        (bounds.len(), complaints.is_empty())
    };
    assert_eq!(
        judge("/// Most.\n///\n/// Unit: bytes. Beyond: an error,\n/// and the end.\npub const A: usize = 1;"),
        (1, true)
    );
    assert_eq!(judge("/// Most. Unit: bytes.\npub const A: usize = 1;"), (0, false));
    assert_eq!(judge("pub const A: usize = 1;"), (0, false));
    assert_eq!(judge("const _: () = assert!(A < B);"), (0, true));
}
