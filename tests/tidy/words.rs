//! The language of comments and docs: plain technical English, in which threads, callers and pages act.
//!
//! Counts words that make a reader translate: persons where the subject is a thread or a client, and turns of phrase that
//! engineers do not use. `RATES` has the limits, in occurrences for each 1,000 words.

use super::{Source, root, sources};
use std::fmt::Write as _;
use std::fs;

/// Words for persons, parted by bars. A client is "it" or "they".
const PERSONS: &str = "who|whom|whose|whoever|whomever|nobody|somebody|anybody|everybody|someone|anyone|everyone|he|him|his|\
                       himself|she|her|hers";

/// Archaic turns.
const ARCHAIC: &str = "anew|in vain|time is over|times are over|of late|thereby|thereof|whence|hence|hither|lest|ere|\
                       nought|for ever|by and by|withal|henceforth|whereupon|in the midst of";

/// Occurrences for each 1,000 words that may stand: of persons, and of archaic turns.
const RATES: [(&str, &str, f64); 2] = [("person", PERSONS, 1.0), ("archaic", ARCHAIC, 0.05)];

/// What a line says in a comment.
fn comment<'a>(raw: &'a str, code: &str) -> &'a str {
    let text = raw.trim_start();
    if let Some(text) = text.strip_prefix("//") {
        return text.trim_start_matches(['/', '!']);
    }
    // A comment behind code leaves the blank before it; lines have no other blanks at their end.
    if code.ends_with(' ') { raw.rsplit_once("// ").map_or("", |(_, text)| text) } else { "" }
}

/// How often `phrase` stands in `text`, as whole words.
fn count(text: &str, phrase: &str) -> usize {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |at: usize| !text[..at].ends_with(name) && !text[at + phrase.len()..].starts_with(name);
    text.match_indices(phrase).filter(|(at, _)| whole(*at)).count()
}

/// Fails where the texts, each with its place, have more of the words than they may.
fn judge(what: &str, texts: &[(String, String)]) {
    let words: usize = texts.iter().map(|(_, text)| text.split_whitespace().count()).sum();
    let mut report = String::new();
    for (kind, list, limit) in RATES {
        let mut places = String::new();
        let mut found = 0;
        for (place, text) in texts {
            let text = text.to_lowercase();
            for phrase in list.split('|') {
                let times = count(&text, phrase);
                found += times;
                if times > 0 {
                    writeln!(places, "{place}: {phrase}").unwrap();
                }
            }
        }
        let rate = 1000.0 * found as f64 / words as f64;
        println!("{what}: {found} {kind} words in {words}: {rate:.2} for each 1,000");
        if rate > limit {
            writeln!(report, "{what}: {rate:.2} {kind} words for each 1,000, {limit} at most:\n{places}").unwrap();
        }
    }
    assert!(report.is_empty(), "{report}");
}

fn comments(source: &Source) -> impl Iterator<Item = (String, String)> + '_ {
    source.lines.iter().enumerate().filter_map(|(at, line)| {
        let text = comment(&line.raw, &line.code);
        (!text.is_empty()).then(|| (format!("{}:{}", source.path, at + 1), text.to_owned()))
    })
}

#[test]
fn comments_are_in_plain_words() {
    let texts: Vec<_> = sources().iter().flat_map(|source| comments(source).collect::<Vec<_>>()).collect();
    judge("src/", &texts);
}

#[test]
fn docs_are_in_plain_words() {
    let root = root();
    let mut files: Vec<_> = ["docs", "docs/research"]
        .iter()
        .filter_map(|folder| fs::read_dir(root.join(folder)).ok())
        .flat_map(|folder| folder.map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    files.extend(["README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"].iter().map(|name| root.join(name)));
    files.sort();
    let mut texts = Vec::new();
    for path in files.iter().filter(|path| path.exists()) {
        let place = path.strip_prefix(&root).unwrap().display().to_string();
        for (at, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
            texts.push((format!("{place}:{}", at + 1), line.to_owned()));
        }
    }
    judge("docs", &texts);
}

#[test]
fn whole_words_are_counted() {
    assert_eq!(count("who knows whose time; nobody's", "who"), 1);
    assert_eq!(count("a search in vain, in vain", "in vain"), 2);
    assert_eq!(comment("    let a = 1; // who", "    let a = 1; "), "who");
    assert_eq!(comment("    /// Whoever", ""), " Whoever");
    assert_eq!(comment("    let a = \"x // who\";", "    let a = \"\";"), "");
}
