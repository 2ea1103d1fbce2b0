//! The manual pages.
//!
//! Owns how rows of a table look in a page; each page's prose is in its own file. Must not know escapes (`roff`).

pub(crate) mod conf;
pub(crate) mod control;
pub(crate) mod server;

use crate::roff::Page;
use oxcached::settings::OptionRow;

/// Date in the foot of the pages: when their prose changed last.
const DATE: &str = "2026-11-30";

/// Name and version in the foot of a page.
fn source() -> String {
    let manifest = include_str!("../../../Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    format!("oxcached {}", version.unwrap_or_default().trim_matches('"'))
}

/// A placeholder without its brackets, in italics.
fn slot(placeholder: &str) -> String {
    format!("_{}_", placeholder.trim_matches(['<', '>']))
}

/// `-m num, --memory-limit=num`.
fn option_term(row: &OptionRow) -> String {
    let value = row.placeholder.map(slot);
    let letter = row.letter.map(|letter| match &value {
        Some(value) => format!("*-{letter}* {value}"),
        None => format!("*-{letter}*"),
    });
    let long = row.name.map(|name| match &value {
        Some(value) => format!("*--{name}*={value}"),
        None => format!("*--{name}*"),
    });
    letter.into_iter().chain(long).collect::<Vec<_>>().join(", ")
}

/// `idle_timeout=seconds`.
fn name_term(row: &OptionRow) -> String {
    let name = row.name.unwrap_or_default();
    let value = match (row.placeholder, row.choices) {
        (_, choices) if !choices.is_empty() => Some(format!("_{}_", choices.join("|"))),
        (placeholder, _) => placeholder.map(slot),
    };
    match value {
        None => format!("*{name}*"),
        Some(value) if row.is_optional => format!("*{name}*[={value}]"),
        Some(value) => format!("*{name}*={value}"),
    }
}

/// The description of a row as sentences. One that begins with the values keeps their spelling.
fn described(row: &OptionRow) -> String {
    let begins_with_value = row.choices.iter().any(|choice| row.text.starts_with(choice));
    let mut text = if begins_with_value { format!("{}.", row.text) } else { sentence(&row.text) };
    if row.name == Some("help") {
        text = text.replace("this text", "the options");
    }
    if row.repeats && !row.text.contains("repeat") {
        text.push_str(" May be repeated.");
    }
    if let Some(default) = &row.default {
        let is_word = default.starts_with(|c: char| c.is_alphanumeric());
        text.push_str(&if is_word { format!(" Default: {default}.") } else { format!(" Default: \"{default}\".") });
    }
    text
}

/// Gives a description its capital letter and full stop; words that are spelled small stay so.
fn sentence(text: &str) -> String {
    let is_word =
        text.split([' ', ',']).next().is_some_and(|word| word.len() > 1 && word.chars().all(char::is_lowercase));
    let mut letters = text.chars();
    let mut out = String::new();
    if let Some(first) = letters.next() {
        out.push(if is_word { first.to_ascii_uppercase() } else { first });
    }
    out.push_str(letters.as_str());
    if !out.ends_with('.') {
        out.push('.');
    }
    out
}

/// Rows of the table that have a description, each as term and text.
fn rows(page: &mut Page, rows: &[OptionRow], term: fn(&OptionRow) -> String) {
    for row in rows.iter().filter(|row| !row.text.is_empty()) {
        page.row(&term(row), &described(row));
    }
}
