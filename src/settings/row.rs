//! The shape of a row in the option table.
//!
//! Owns the row types and the short forms that build them. It must not know any option. Used by `options`, which holds
//! the rows, and by `parse` and `help`, which read them.

use super::Settings;
use super::parse::{Draft, Exit};
use crate::sys::getopt::Argument;

/// What a row does to the draft; for a switch, to the settings alone.
#[derive(Clone, Copy)]
pub(super) enum Apply {
    /// With the value, white space in front already dropped.
    Value(fn(&mut Draft, &[u8]) -> Result<(), Exit>),
    /// Without looking at a value.
    Switch(fn(&mut Settings)),
}

/// What a row leads to.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// Changes the settings.
    Apply(Apply),
    /// Ends the parse with a text for standard output.
    Print(fn(&Settings) -> String),
    /// Holds a list of `-o` names.
    Extended,
    /// Known, not built; the reason is for the documentation.
    NotYet(&'static str),
}

/// The words `-h` shows; none at all for rows kept out of it.
#[derive(Clone, Copy)]
pub(super) struct Words {
    /// One or more lines.
    pub(super) text: &'static str,
    /// The value in force at this point of the command line.
    pub(super) default: Option<fn(&Settings) -> String>,
}

/// A flag.
pub(super) struct Flag {
    /// Letter.
    pub(super) short: u8,
    /// Name after two dashes.
    pub(super) long: Option<&'static str>,
    /// Value rule of the long name; the letter takes a value only where it is required.
    pub(super) argument: Argument,
    /// How `-h` names the value, with its brackets.
    pub(super) placeholder: &'static str,
    /// Help.
    pub(super) words: Words,
    /// Effect.
    pub(super) act: Act,
}

/// What happens when an `-o` name comes without a value.
#[derive(Clone, Copy)]
pub(super) enum Need {
    /// It takes none; one that is given is ignored.
    Nothing,
    /// This value is meant.
    Otherwise(&'static str),
    /// This complaint.
    OrElse(&'static str),
}

/// An `-o` name.
pub(super) struct Sub {
    /// The name.
    pub(super) name: &'static str,
    /// Value rule.
    pub(super) need: Need,
    /// Help.
    pub(super) words: Words,
    /// Effect.
    pub(super) act: Act,
}

impl Flag {
    /// A flag without a value.
    pub(super) const fn new(short: u8, long: &'static str, text: &'static str, act: Act) -> Self {
        let words = Words { text, default: None };
        Flag { short, long: Some(long), argument: Argument::None, placeholder: "", words, act }
    }

    /// A flag that sets something.
    pub(super) const fn switch(short: u8, long: &'static str, text: &'static str, set: fn(&mut Settings)) -> Self {
        Flag::new(short, long, text, Act::Apply(Apply::Switch(set)))
    }

    /// A flag that sets something from a value.
    pub(super) const fn value(
        short: u8,
        long: &'static str,
        placeholder: &'static str,
        text: &'static str,
        set: fn(&mut Draft, &[u8]) -> Result<(), Exit>,
    ) -> Self {
        Flag::new(short, long, text, Act::Apply(Apply::Value(set))).takes(placeholder)
    }

    /// Makes the value required and names it.
    pub(super) const fn takes(mut self, placeholder: &'static str) -> Self {
        self.argument = Argument::Required;
        self.placeholder = placeholder;
        self
    }

    /// Shows the value in force.
    pub(super) const fn default(mut self, shown: fn(&Settings) -> String) -> Self {
        self.words.default = Some(shown);
        self
    }
}

impl Sub {
    /// An `-o` name.
    pub(super) const fn new(name: &'static str, need: Need, text: &'static str, act: Act) -> Self {
        Sub { name, need, words: Words { text, default: None }, act }
    }

    /// An `-o` name that sets something.
    pub(super) const fn switch(name: &'static str, text: &'static str, set: fn(&mut Settings)) -> Self {
        Sub::new(name, Need::Nothing, text, Act::Apply(Apply::Switch(set)))
    }

    /// An `-o` name that sets something from a value; `missing` is the complaint without one.
    pub(super) const fn value(
        name: &'static str,
        missing: &'static str,
        text: &'static str,
        set: fn(&mut Draft, &[u8]) -> Result<(), Exit>,
    ) -> Self {
        Sub::new(name, Need::OrElse(missing), text, Act::Apply(Apply::Value(set)))
    }

    /// An `-o` name that is known and not built.
    pub(super) const fn not_yet(name: &'static str, reason: &'static str) -> Self {
        Sub::new(name, Need::Nothing, "", Act::NotYet(reason))
    }

    /// Shows the value in force.
    pub(super) const fn default(mut self, shown: fn(&Settings) -> String) -> Self {
        self.words.default = Some(shown);
        self
    }
}
