//! Texts of `-h`, `-i` and `-V`.
//!
//! Owns the layout; the words come from the rows of `options`. Must not know what an option does. Called by `parse`.

use std::fmt::Write as _;

use super::options::{FLAGS, subs};
use super::row::{Act, Flag, HelpText};
use super::{Settings, VERSION};

/// Column at which descriptions start.
const COLUMN: usize = 26;

/// Full name of a flag: `-p, --port`, `-D` or `--admin`.
pub(super) fn name(flag: &Flag) -> String {
    if !flag.short.is_ascii() {
        return flag.long.map(|long| format!("--{long}")).unwrap_or_default();
    }
    let short = char::from(flag.short);
    flag.long.map_or_else(|| format!("-{short}"), |long| format!("-{short}, --{long}"))
}

/// `-V`.
pub(super) fn version(_: &Settings) -> String {
    format!("memcached {VERSION}\n")
}

/// `-h`: every implemented row that has help words, with the values in force so far.
pub(super) fn usage(settings: &Settings) -> String {
    let mut text = version(settings);
    for flag in FLAGS.iter().filter(|flag| !matches!(flag.act, Act::NotYet(_))) {
        let between = if flag.placeholder.is_empty() {
            ""
        } else if flag.long.is_some() {
            "="
        } else {
            " "
        };
        row(&mut text, &format!("{}{between}{}", name(flag), flag.placeholder), flag.words, settings);
    }
    for sub in subs().filter(|sub| !sub.words.text.is_empty()) {
        row(&mut text, &format!("   - {}:", sub.name), sub.words, settings);
    }
    let words = HelpText { text: HASH_PASSWORD_TEXT, default: None };
    row(&mut text, &format!("{HASH_PASSWORD_USAGE}\n{:1$}", "", COLUMN - 1), words, settings);
    text
}

/// Form of `--hash-password`, which is no option.
pub(super) const HASH_PASSWORD_USAGE: &str = "--hash-password <user> [<iterations>]";
/// What it does.
pub(super) const HASH_PASSWORD_TEXT: &str =
    "by itself: read a password from standard input, and\nprint the line for -Y or MEMCACHED_SASL_PWDB";

fn row(text: &mut String, left: &str, words: HelpText, settings: &Settings) {
    let indented = words.text.replace('\n', &format!("\n{:COLUMN$}", ""));
    let _ = write!(text, "{left:<width$} {indented}", width = COLUMN - 1);
    if let Some(default) = words.default {
        let _ = write!(text, " (default: {})", default(settings));
    }
    text.push('\n');
}

/// `-i`.
pub(super) fn license(settings: &Settings) -> String {
    let mut text = version(settings);
    text.push_str("\noxcached: BSD-3-Clause\n\nIt contains these packages, each under its own licence:\n");
    for (package, license) in PACKAGES {
        let _ = writeln!(text, "  {package:<20} {license}");
    }
    text
}

const PACKAGES: &[(&str, &str)] = &[
    ("base64", "MIT OR Apache-2.0"),
    ("crossbeam-channel", "MIT OR Apache-2.0"),
    ("env_logger", "MIT OR Apache-2.0"),
    ("fastbloom", "MIT OR Apache-2.0"),
    ("futures-util", "MIT OR Apache-2.0"),
    ("hashbrown", "MIT OR Apache-2.0"),
    ("hmac", "MIT OR Apache-2.0"),
    ("http-body-util", "MIT"),
    ("hyper", "MIT"),
    ("hyper-util", "MIT"),
    ("itoa", "MIT OR Apache-2.0"),
    ("lexopt", "MIT"),
    ("libc", "MIT OR Apache-2.0"),
    ("log", "MIT OR Apache-2.0"),
    ("md-5", "MIT OR Apache-2.0"),
    ("memchr", "Unlicense OR MIT"),
    ("mio", "MIT"),
    ("parking_lot", "MIT OR Apache-2.0"),
    ("ratatui", "MIT"),
    ("rapidhash", "MIT OR Apache-2.0"),
    ("ring", "Apache-2.0 AND ISC"),
    ("rusqlite", "MIT"),
    ("rustls", "Apache-2.0 OR ISC OR MIT"),
    ("rustls-webpki", "ISC"),
    ("seccompiler", "Apache-2.0 OR BSD-3-Clause"),
    ("sd-notify", "MIT OR Apache-2.0"),
    ("serde_json", "MIT OR Apache-2.0"),
    ("signal-hook", "MIT OR Apache-2.0"),
    ("slab", "MIT"),
    ("socket2", "MIT OR Apache-2.0"),
    ("stringprep", "MIT OR Apache-2.0"),
    ("subtle", "BSD-3-Clause"),
    ("tokio", "MIT"),
    ("tokio-rustls", "MIT OR Apache-2.0"),
    ("tokio-tungstenite", "MIT"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_words_are_only_synonyms_and_the_unbuilt() {
        for flag in FLAGS {
            assert_eq!(flag.words.text.is_empty(), matches!(flag.act, Act::NotYet(_)), "{}", name(flag));
        }
        for sub in subs().filter(|sub| matches!(sub.act, Act::NotYet(_))) {
            assert!(sub.words.text.is_empty(), "{}", sub.name);
        }
    }

    #[test]
    fn every_row_has_its_own_name() {
        let mut names: Vec<String> = FLAGS.iter().map(|flag| char::from(flag.short).to_string()).collect();
        names.extend(FLAGS.iter().filter_map(|flag| flag.long).map(|long| format!("--{long}")));
        names.extend(subs().map(|sub| format!("-o {}", sub.name)));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn licences_name_every_direct_dependency() {
        let manifest = include_str!("../../Cargo.toml");
        let after = manifest.split("[dependencies]").nth(1).unwrap();
        let section = after.split("\n[").next().unwrap();
        for line in section.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            let package = line.split('=').next().unwrap().trim();
            assert!(PACKAGES.iter().any(|(name, _)| *name == package), "{package} has no licence row");
        }
    }
}
