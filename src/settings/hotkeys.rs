//! Options of the hot keys: `-o hotkeys` and its like.
//!
//! Owns their values, value rules, help texts and error texts. Must not know what a hot key is. The rows are read by
//! `parse` and `help`, through `options`.

use super::options::within;
use super::row::Sub;

/// Settings of the hot keys.
#[derive(Clone, Debug, PartialEq)]
pub struct HotKeyOptions {
    /// `-o hotkeys`: keys are sampled from the start on. Changes at run time.
    pub enabled: bool,
    /// `-o hotkeys_sample`: one access in so many is sampled, on average; 1 to 1000000.
    pub sample: u32,
    /// `-o hotkeys_window`: seconds in which samples are counted together; 1 to 3600.
    pub window: u32,
}

impl Default for HotKeyOptions {
    fn default() -> Self {
        Self { enabled: false, sample: 100, window: 10 }
    }
}

/// The `-o` names of the hot keys, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[
    Sub::switch("hotkeys", "sample keys from the start on, for `stats hotkeys`", |settings| {
        settings.hotkeys.enabled = true;
    }),
    Sub::value(
        "hotkeys_sample",
        "Missing numeric argument for hotkeys_sample",
        "one key access in so many is sampled",
        |draft, value| {
            draft.settings.hotkeys.sample =
                within(value, 1..=1_000_000, "hotkeys_sample must be between 1 and 1000000")?;
            Ok(())
        },
    )
    .takes("<num>")
    .default(|settings| settings.hotkeys.sample.to_string()),
    Sub::value(
        "hotkeys_window",
        "Missing numeric argument for hotkeys_window",
        "seconds in which samples of keys are counted together",
        |draft, value| {
            draft.settings.hotkeys.window = within(value, 1..=3600, "hotkeys_window must be between 1 and 3600")?;
            Ok(())
        },
    )
    .takes("<seconds>")
    .default(|settings| settings.hotkeys.window.to_string()),
];
