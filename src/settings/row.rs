//! Types of the rows in the option table.
//!
//! Owns the row types and their constructors. Must not know any option. Used by `options`, which holds the rows, and by
//! `parse` and `help`, which read them.

use super::Settings;
use super::parse::{Draft, Exit};
use crate::sys::getopt::Argument;

/// Effect of a row on the draft; of a switch, on the settings alone.
#[derive(Clone, Copy)]
pub(super) enum Apply {
    /// Takes the value, without leading white space.
    Value(fn(&mut Draft, &[u8]) -> Result<(), Exit>),
    /// Takes no value.
    Switch(fn(&mut Settings)),
}

/// Action of a row.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// Changes the settings.
    Apply(Apply),
    /// Ends the parse with a text for standard output.
    Print(fn(&Settings) -> String),
    /// Holds a list of `-o` names.
    Extended,
    /// Names the configuration file; on the command line only.
    ConfigFile,
    /// Asks for a check instead of a start; on the command line only.
    CheckConfig,
    /// Known, not implemented; the reason is for the documentation.
    NotYet(&'static str),
}

/// Help text of a row; empty for rows that `-h` omits.
#[derive(Clone, Copy)]
pub(super) struct HelpText {
    /// One or more lines.
    pub(super) text: &'static str,
    /// Formats the value in force at this point of the command line.
    pub(super) default: Option<fn(&Settings) -> String>,
}

/// A command line flag.
pub(super) struct Flag {
    /// The letter; of a flag without one, a code from 0x80 up.
    pub(super) short: u8,
    /// The long name, after two dashes.
    pub(super) long: Option<&'static str>,
    /// Value rule of the long name; the letter takes a value only if it is required.
    pub(super) argument: Argument,
    /// Name of the value in `-h`, with its brackets.
    pub(super) placeholder: &'static str,
    /// All values, where there are few.
    pub(super) choices: &'static [&'static str],
    /// Several mentions add up; of other options the last one counts.
    pub(super) repeats: bool,
    /// Help.
    pub(super) words: HelpText,
    /// Effect.
    pub(super) act: Act,
}

/// What an `-o` name without a value does.
#[derive(Clone, Copy)]
pub(super) enum Need {
    /// The name takes no value.
    Nothing,
    /// Uses this value.
    Otherwise(&'static str),
    /// Fails with this error text.
    OrElse(&'static str),
}

/// An `-o` name.
pub(super) struct Sub {
    /// The name.
    pub(super) name: &'static str,
    /// Value rule.
    pub(super) need: Need,
    /// Name of the value in the manual, with its brackets.
    pub(super) placeholder: &'static str,
    /// As of a flag.
    pub(super) choices: &'static [&'static str],
    /// As of a flag.
    pub(super) repeats: bool,
    /// Help.
    pub(super) words: HelpText,
    /// Effect.
    pub(super) act: Act,
}

impl Flag {
    /// A flag without a value.
    pub(super) const fn new(short: u8, long: &'static str, text: &'static str, act: Act) -> Self {
        let words = HelpText { text, default: None };
        let argument = Argument::None;
        Flag { short, long: Some(long), argument, placeholder: "", choices: &[], repeats: false, words, act }
    }

    /// A flag that changes a setting.
    pub(super) const fn switch(short: u8, long: &'static str, text: &'static str, set: fn(&mut Settings)) -> Self {
        Flag::new(short, long, text, Act::Apply(Apply::Switch(set)))
    }

    /// A flag that sets a value.
    pub(super) const fn value(
        short: u8,
        long: &'static str,
        placeholder: &'static str,
        text: &'static str,
        set: fn(&mut Draft, &[u8]) -> Result<(), Exit>,
    ) -> Self {
        Flag::new(short, long, text, Act::Apply(Apply::Value(set))).takes(placeholder)
    }

    /// Lists all values.
    pub(super) const fn one_of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// Makes the value required and names it.
    pub(super) const fn takes(mut self, placeholder: &'static str) -> Self {
        self.argument = Argument::Required;
        self.placeholder = placeholder;
        self
    }

    /// Makes several mentions add up.
    pub(super) const fn repeated(mut self) -> Self {
        self.repeats = true;
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
        let words = HelpText { text, default: None };
        Sub { name, need, placeholder: "<value>", choices: &[], repeats: false, words, act }
    }

    /// An `-o` name that changes a setting.
    pub(super) const fn switch(name: &'static str, text: &'static str, set: fn(&mut Settings)) -> Self {
        Sub::new(name, Need::Nothing, text, Act::Apply(Apply::Switch(set)))
    }

    /// An `-o` name that sets a value; `missing` is the error text without one.
    pub(super) const fn value(
        name: &'static str,
        missing: &'static str,
        text: &'static str,
        set: fn(&mut Draft, &[u8]) -> Result<(), Exit>,
    ) -> Self {
        Sub::new(name, Need::OrElse(missing), text, Act::Apply(Apply::Value(set)))
    }

    /// Names the value.
    pub(super) const fn takes(mut self, placeholder: &'static str) -> Self {
        self.placeholder = placeholder;
        self
    }

    /// Lists all values.
    pub(super) const fn one_of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// An `-o` name that is known and not implemented, with any value or none.
    pub(super) const fn not_yet(name: &'static str, reason: &'static str) -> Self {
        Sub::new(name, Need::Otherwise(""), "", Act::NotYet(reason))
    }

    /// Makes several mentions add up.
    pub(super) const fn repeated(mut self) -> Self {
        self.repeats = true;
        self
    }

    /// Shows the value in force.
    pub(super) const fn default(mut self, shown: fn(&Settings) -> String) -> Self {
        self.words.default = Some(shown);
        self
    }
}
