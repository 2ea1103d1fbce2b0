//! Options of the durable copy: `store`, `durability`, `store_*`.
//!
//! Owns their values, help texts and error texts, and the rules between them. Must not know an engine. The rows are
//! read by `parse` and `help`, through `options`; the values by `durable`.

use super::Settings;
use super::number::strict_u32;
use super::options::fail;
use super::parse::{Exit, USAGE};
use super::row::Sub;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process. Changes wait up to a second for their commit.
    #[default]
    Async,
    /// The end of the process. Changes wait a few milliseconds for their commit.
    Batch,
    /// The loss of power. A reply waits for its commit.
    Sync,
}

impl Durability {
    const ALL: [Self; 3] = [Self::Async, Self::Batch, Self::Sync];

    /// Name in the option and in `stats`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Batch => "batch",
            Self::Sync => "sync",
        }
    }
}

/// What happens to changes while the engine fails, and as many wait as may. With [`Durability::Sync`] they are always
/// refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Commands that change items are refused.
    #[default]
    Refuse,
    /// Items are kept in memory alone.
    Cache,
}

/// Which items are loaded at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Warm {
    /// As many as fit.
    #[default]
    All,
    /// None; each is loaded by its first get.
    None,
    /// At most this many.
    Items(u32),
}

/// Whether a kind of command reaches the durable copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Memory and the copy.
    #[default]
    Both,
    /// Memory alone.
    Cache,
}

impl Reach {
    /// Name in the option and in `stats`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Cache => "cache",
        }
    }
}

/// Which kinds of commands reach the copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorePolicy {
    /// Misses.
    pub get: Reach,
    /// Items that are stored or changed. An item that is stored in memory alone deletes its record.
    pub set: Reach,
    /// Deletions. A record that stays comes back with the next get.
    pub delete: Reach,
    /// `flush_all`.
    pub flush: Reach,
}

/// The options of the durable copy.
#[derive(Clone, Debug, PartialEq)]
pub struct DurableSettings {
    /// `-o store=sqlite:PATH`; `None`: there is no copy.
    pub path: Option<PathBuf>,
    /// `-o durability`.
    pub durability: Durability,
    /// `-o store_delay`.
    pub delay: Option<Duration>,
    /// `-o store_queue`, in bytes.
    pub queue: usize,
    /// `-o store_warm`.
    pub warm: Warm,
    /// `-o store_on_error`.
    pub on_error: OnError,
    /// `-o store_policy_*`.
    pub policy: StorePolicy,
}

impl Default for DurableSettings {
    fn default() -> Self {
        Self {
            path: None,
            durability: Durability::default(),
            delay: None,
            queue: 64 << 20,
            warm: Warm::default(),
            on_error: OnError::default(),
            policy: StorePolicy::default(),
        }
    }
}

impl DurableSettings {
    /// How long changes wait for others before their commit begins.
    pub fn delay(&self) -> Duration {
        self.delay.unwrap_or(match self.durability {
            Durability::Async => Duration::from_secs(1),
            Durability::Batch => Duration::from_millis(5),
            Durability::Sync => Duration::ZERO,
        })
    }
}

/// Rules between these options and others.
pub(super) fn finish(settings: &Settings) -> Result<(), Exit> {
    if settings.durable.path.is_none() {
        return match settings.durable == DurableSettings::default() {
            true => Ok(()),
            false => Err(Exit::line(USAGE, "durability and store_* need -o store")),
        };
    }
    let other = if settings.memory_file.is_some() {
        "-e"
    } else if settings.sandbox.drop_privileges {
        "drop_privileges"
    } else {
        return Ok(());
    };
    Err(Exit::line(USAGE, format_args!("-o store cannot be combined with {other}")))
}

fn reach(value: &[u8]) -> Option<Reach> {
    [Reach::Both, Reach::Cache].into_iter().find(|reach| reach.text().as_bytes() == value)
}

/// A policy's row.
macro_rules! policy {
    ($name:literal, $field:ident, $help:literal) => {
        Sub::value($name, concat!("Missing ", $name, " argument"), $help, |draft, value| {
            let Some(reach) = reach(value) else { return fail(concat!($name, " must be both or cache")) };
            draft.settings.durable.policy.$field = reach;
            Ok(())
        })
        .one_of(&["both", "cache"])
        .default(|settings| settings.durable.policy.$field.text().to_owned())
    };
}

/// The `-o` names of the durable copy, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[
    Sub::value(
        "store",
        "Missing store argument",
        "keep a durable copy of the items, as sqlite:PATH; misses\nare looked for there",
        |draft, value| {
            let Some(path) = value.strip_prefix(b"sqlite:").filter(|path| !path.is_empty()) else {
                return fail("store must be sqlite:PATH");
            };
            draft.settings.durable.path = Some(PathBuf::from(OsStr::from_bytes(path)));
            Ok(())
        },
    )
    .takes("sqlite:<file>"),
    Sub::value(
        "durability",
        "Missing durability argument",
        "what changes survive, and when: async (a crash, after a\nsecond), batch (a crash, after 5 ms) or sync (loss of power,\nbefore the reply)",
        |draft, value| {
            let Some(mode) = Durability::ALL.into_iter().find(|mode| mode.text().as_bytes() == value) else {
                return fail("durability must be async, batch or sync");
            };
            draft.settings.durable.durability = mode;
            Ok(())
        },
    )
    .one_of(&["async", "batch", "sync"])
    .default(|settings| settings.durable.durability.text().to_owned()),
    Sub::value(
        "store_delay",
        "Missing numeric argument for store_delay",
        "milliseconds that changes wait for others before they are\nwritten (default: 1000, with batch 5, with sync 0)",
        |draft, value| {
            let Some(millis) = strict_u32(value).filter(|&millis| millis <= 60_000) else {
                return fail("store_delay must be a number of milliseconds, 60000 at most");
            };
            draft.settings.durable.delay = Some(Duration::from_millis(millis.into()));
            Ok(())
        },
    )
    .takes("<milliseconds>"),
    Sub::value(
        "store_queue",
        "Missing numeric argument for store_queue",
        "megabytes of changes that may wait to be written; then\nthe clients that change items wait too",
        |draft, value| {
            let Some(megabytes) = strict_u32(value).filter(|&megabytes| (1..=1 << 20).contains(&megabytes)) else {
                return fail("store_queue must be a number of megabytes, 1 or more");
            };
            draft.settings.durable.queue = (megabytes as usize) << 20;
            Ok(())
        },
    )
    .takes("<megabytes>")
    .default(|settings| (settings.durable.queue >> 20).to_string()),
    Sub::value(
        "store_warm",
        "Missing store_warm argument",
        "items to load at the start: all (as many as fit), none,\nor a number",
        |draft, value| {
            draft.settings.durable.warm = match (value, strict_u32(value)) {
                (b"all", _) => Warm::All,
                (b"none", _) | (_, Some(0)) => Warm::None,
                (_, Some(items)) => Warm::Items(items),
                _ => return fail("store_warm must be all, none or a number of items"),
            };
            Ok(())
        },
    )
    .takes("<all|none|items>")
    .default(|settings| match settings.durable.warm {
        Warm::All => "all".to_owned(),
        Warm::None => "none".to_owned(),
        Warm::Items(items) => items.to_string(),
    }),
    Sub::value(
        "store_on_error",
        "Missing store_on_error argument",
        "changes while the store fails and the queue is full:\nrefuse them, or keep the items in the cache alone",
        |draft, value| {
            draft.settings.durable.on_error = match value {
                b"refuse" => OnError::Refuse,
                b"cache" => OnError::Cache,
                _ => return fail("store_on_error must be refuse or cache"),
            };
            Ok(())
        },
    )
    .one_of(&["refuse", "cache"])
    .default(|settings| match settings.durable.on_error {
        OnError::Refuse => "refuse".to_owned(),
        OnError::Cache => "cache".to_owned(),
    }),
    policy!("store_policy_get", get, "misses: look in the store too (both), or not (cache)"),
    policy!("store_policy_set", set, "stored items: in the store too (both), or not (cache)"),
    policy!("store_policy_delete", delete, "deletions: in the store too (both), or not (cache)"),
    policy!("store_policy_flush", flush, "flush_all: in the store too (both), or not (cache)"),
];
