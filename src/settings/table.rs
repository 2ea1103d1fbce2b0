//! The option table as data, for the manual pages and shell completions that are made from it.
//!
//! Owns the public form of the rows. Must not know formats or shells. Called by the program `xtask`; the server itself
//! has no use for it.

use super::options::{FLAGS, TOPICS};
use super::row::{Act, Flag, HelpText, Need, Sub};
use super::{Settings, help};
use crate::sys::getopt::Argument;

/// An option, or a name of `-o`.
#[derive(Clone, Debug)]
pub struct OptionRow {
    /// The letter of an option that has one.
    pub letter: Option<char>,
    /// The long name without dashes, or the name of `-o`.
    pub name: Option<&'static str>,
    /// What takes the value's place, with its brackets; `None` = it takes no value.
    pub placeholder: Option<&'static str>,
    /// The value may be left out.
    pub is_optional: bool,
    /// All values, where there are few.
    pub choices: &'static [&'static str],
    /// Several mentions add up.
    pub repeats: bool,
    /// Description, without a line end; empty for a name that only restates a default.
    pub text: String,
    /// The default, if one is shown.
    pub default: Option<String>,
}

impl OptionRow {
    fn described(words: HelpText) -> Self {
        Self {
            letter: None,
            name: None,
            placeholder: None,
            is_optional: false,
            choices: &[],
            repeats: false,
            text: words.text.replace('\n', " "),
            default: words.default.map(|default| default(&Settings::default())),
        }
    }

    fn of_flag(flag: &Flag) -> Self {
        Self {
            letter: flag.short.is_ascii().then(|| char::from(flag.short)),
            name: flag.long,
            placeholder: (flag.argument == Argument::Required).then_some(flag.placeholder),
            choices: flag.choices,
            repeats: flag.repeats,
            ..Self::described(flag.words)
        }
    }

    fn of_sub(sub: &Sub) -> Self {
        Self {
            name: Some(sub.name),
            placeholder: (!matches!(sub.need, Need::Nothing)).then_some(sub.placeholder),
            is_optional: matches!(sub.need, Need::Otherwise(_)),
            choices: sub.choices,
            repeats: sub.repeats,
            ..Self::described(sub.words)
        }
    }
}

/// The options that work, in the order of `-h`.
pub fn option_rows() -> Vec<OptionRow> {
    FLAGS.iter().filter(|flag| !matches!(flag.act, Act::NotYet(_))).map(OptionRow::of_flag).collect()
}

/// The names of `-o` that work: topics with their names, in the order of `-h`.
pub fn extended_rows() -> Vec<(&'static str, Vec<OptionRow>)> {
    let works = |sub: &&Sub| !matches!(sub.act, Act::NotYet(_));
    TOPICS.iter().map(|(topic, subs)| (*topic, subs.iter().filter(works).map(OptionRow::of_sub).collect())).collect()
}

/// `--hash-password`, which is no option: its words, and what it does.
pub fn hash_password_row() -> (&'static str, String) {
    (help::HASH_PASSWORD_USAGE, help::HASH_PASSWORD_TEXT.replace('\n', " "))
}
