//! Warm restart (`-e FILE`): whether the items in a memory file may be served again.
//!
//! ```text
//! FILE         item memory, and what is needed to read it (`store::MemoryFile`)
//! FILE.meta    written by an orderly stop (SIGUSR1, `shutdown graceful`), read and removed by the next start:
//!              `Tmain`, then `K<key> <value>` lines with memcached's keys, `layout`, `stamp` and `checksum`
//! ```
//! Matching metadata: all items are kept. No metadata, and the last process was killed: items that are provably whole
//! are kept. No metadata for another reason, or other settings: an empty cache. Damaged metadata: no start, for the
//! operator to check.
//!
//! Owns the metadata file and that decision; knows no sockets. Called by `server` at start and stop.

use crate::hash;
use crate::settings::Settings;
use crate::store::{Holds, MemoryFile, PAGE_BYTES, Sizes, Store};
use crate::sys::{error_text, say};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// An open memory file, and the state from which the process must resume to serve its items.
pub struct Memory {
    /// The file. Empty if there is no [`ClockResume`].
    pub memory_file: MemoryFile,
    /// State to resume from; `None` = an empty cache.
    pub resume: Option<ClockResume>,
}

/// State of the previous process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockResume {
    /// Relative time now: the previous process's clock, plus the time since.
    pub now: u32,
    /// Hash power that the index had grown to, if known.
    pub hashpower: Option<i32>,
    /// Number of the last watch event.
    pub gid: u64,
    /// The previous process ended by an orderly stop (SIGUSR1, `shutdown graceful`): the file holds every item.
    pub in_order: bool,
}

/// Seconds of relative time from which on items are not served again: 68 years, half of the range. A clock beyond
/// that is wrong, and at the end of relative time no item can have an expiry time.
const AGE_MAX: u32 = i32::MAX as u32;

/// Opens the memory file at `path` and validates its contents. `now` is unix time in seconds.
///
/// # Errors
/// Reason that the server must not start, for the operator.
pub fn open(path: &Path, settings: &Settings, sizes: &Sizes, now: i64) -> Result<Memory, String> {
    let layout = sizes.fingerprint();
    let memory_file = MemoryFile::open(path, layout, settings.maxbytes).map_err(|e| unusable(path, &e))?;
    let resume = match FileMetadata::take(&meta_path(path))? {
        Some(meta) => meta.judge(settings, layout, memory_file.holds(), now),
        None if memory_file.holds() == Holds::Live => {
            say(format_args!(
                "[restart] no metadata save file: the last process did not stop in order, checking its items"
            ));
            let (left, last_seen) = memory_file.last_seen();
            if last_seen > now {
                say(format_args!(
                    "[restart] the clock is {} seconds before the end of the last process: no time has passed for its items",
                    last_seen - now
                ));
            }
            Some(ClockResume { now: later(left, now - last_seen), hashpower: None, gid: 0, in_order: false })
        }
        None => {
            say(format_args!("[restart] no metadata save file, starting with a clean cache"));
            None
        }
    };
    let resume = resume.filter(|resume| {
        let years = resume.now / (365 * 24 * 60 * 60);
        if resume.now > AGE_MAX {
            say(format_args!("[restart] by the clock the cache is {years} years old, starting with a clean cache"));
        }
        resume.now <= AGE_MAX
    });
    let mut memory = Memory { memory_file, resume };
    if memory.resume.is_none() {
        memory.memory_file.clear();
    }
    Ok(memory)
}

fn unusable(path: &Path, error: &io::Error) -> String {
    format!("[restart] memory file {}: {error}", path.display())
}

/// Checks that this process may open or create the memory file at `path`; another process may use it now.
///
/// # Errors
/// As [`open`].
pub fn check(path: &Path, settings: &Settings) -> Result<(), String> {
    MemoryFile::can_open(path, settings.maxbytes).map_err(|e| unusable(path, &e))
}

/// Relative time `left` plus `seconds`, saturating; negative `seconds` count as 0.
fn later(left: u32, seconds: i64) -> u32 {
    left.saturating_add(u32::try_from(seconds.max(0)).unwrap_or(u32::MAX))
}

/// Saves the items for the next start. No other thread may use the store any more.
pub fn save(path: &Path, settings: &Settings, store: &'static Store, facts: &Facts) {
    let Some(memory_file) = store.memory_file() else { return };
    let stamp = hash::checksum(format!("{} {}", facts.stop_time, std::process::id()).as_bytes());
    let lines = FileMetadata::of(settings, store, facts, stamp).text();
    let saved = memory_file.save(stamp).and_then(|()| write_whole(&meta_path(path), lines.as_bytes()));
    if let Err(e) = saved {
        say(format_args!("[restart] failed to save metadata: {}", error_text(&e)));
    }
}

/// Facts that only the server knows when it stops.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Relative time.
    pub now: u32,
    /// Unix time of relative time 0.
    pub origin: i64,
    /// Unix time.
    pub stop_time: i64,
    /// Hash power, as `stats` shows it.
    pub hashpower: u32,
    /// Number of the last watch event.
    pub gid: u64,
}

fn meta_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".meta");
    PathBuf::from(name)
}

/// Writes a file atomically: it exists whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    let draft = Path::new(&draft);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(draft, path)
}

/// The metadata: values by key.
struct FileMetadata(BTreeMap<String, String>);

/// Keys without which metadata is incomplete: those of memcached that oxcached needs, and its own.
const REQUIRED: &[&str] = &[
    "slab_config",
    "chunk_size",
    "slab_chunk_size_max",
    "slab_page_size",
    "use_cas",
    "stop_time",
    "current_time",
    "layout",
    "stamp",
];

impl FileMetadata {
    fn of(settings: &Settings, store: &Store, facts: &Facts, stamp: u64) -> Self {
        let mut lines = Self::shape(settings);
        let mut put = |key: &str, value: String| lines.insert(key.to_owned(), value);
        put("maxbytes", settings.maxbytes.to_string());
        put("item_size_max", settings.item_size_max.to_string());
        put("slab_reassign", settings.slab_reassign.to_string());
        put("current_time", facts.now.to_string());
        put("process_started", facts.origin.to_string());
        put("stop_time", facts.stop_time.to_string());
        put("current_cas", store.last_cas().to_string());
        put("logger_gid", facts.gid.to_string());
        put("hashpower", facts.hashpower.to_string());
        put("oldest_live", store.oldest_live().to_string());
        put("layout", format!("{:016x}", store.sizes().fingerprint()));
        put("stamp", format!("{stamp:016x}"));
        Self(lines)
    }

    /// Settings that must be the same for items to be readable; others may change between starts.
    fn shape(settings: &Settings) -> BTreeMap<String, String> {
        let sizes =
            settings.slab_sizes.as_ref().map(|sizes| sizes.iter().map(u32::to_string).collect::<Vec<_>>().join("-"));
        [
            ("slab_config", sizes.unwrap_or_else(|| format!("{:.2}", settings.factor))),
            ("chunk_size", settings.chunk_size.to_string()),
            ("slab_chunk_size_max", settings.slab_chunk_size_max.to_string()),
            ("slab_page_size", PAGE_BYTES.to_string()),
            ("use_cas", settings.use_cas.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    fn text(&self) -> String {
        let mut text = String::from("Tmain\n");
        for (key, value) in &self.0 {
            text.push_str(&format!("K{key} {value}\n"));
        }
        let checksum = hash::checksum(text.as_bytes());
        text + &format!("Kchecksum {checksum:016x}\n")
    }

    /// Reads the metadata and removes the file, which is valid for one start. `None` if there is none.
    fn take(path: &Path) -> Result<Option<Self>, String> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("[restart] cannot read metadata file {}: {e}", path.display())),
        };
        let meta = str::from_utf8(&bytes).map_err(|_| "it is not text").and_then(Self::parse).map_err(|what| {
            format!(
                "[restart] corrupt metadata file {}: {what}\nRemove that file to start with a clean cache.",
                path.display()
            )
        })?;
        fs::remove_file(path).map_err(|e| format!("[restart] cannot remove metadata file {}: {e}", path.display()))?;
        Ok(Some(meta))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        match lines.next() {
            None => return Err("it is empty"),
            Some("Tmain") => {}
            Some(_) => return Err("it does not begin with a tag"),
        }
        let mut values = BTreeMap::new();
        for line in lines {
            let pair = line.strip_prefix('K').and_then(|pair| pair.split_once(' '));
            let (key, value) = pair.ok_or("it has a line that is no key and value")?;
            values.insert(key.to_owned(), value.to_owned());
        }
        if let Some(checksum) = values.remove("checksum") {
            let body = text.rfind("Kchecksum ").map_or(text, |end| &text[..end]);
            if checksum != format!("{:016x}", hash::checksum(body.as_bytes())) {
                return Err("its checksum is wrong");
            }
        } else if values.contains_key("stamp") {
            return Err("its end is missing");
        }
        Ok(Self(values))
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.0.get(key)?.parse().ok()
    }

    fn hex(&self, key: &str) -> Option<u64> {
        u64::from_str_radix(self.0.get(key)?, 16).ok()
    }

    /// Whether the metadata belongs to the items in the file, and these can be served under `settings`.
    fn judge(&self, settings: &Settings, layout: u64, holds: Holds, now: i64) -> Option<ClockResume> {
        let clean = |why: std::fmt::Arguments<'_>| {
            say(format_args!("[restart] {why}"));
            say(format_args!("[restart] failed to validate metadata, starting with a clean cache"));
            None
        };
        if let Some(key) = REQUIRED.iter().find(|key| !self.0.contains_key(**key)) {
            return clean(format_args!("missing some metadata lines ({key})"));
        }
        let incompatible = |key: &str| {
            let old = self.0.get(key).map_or("", String::as_str);
            clean(format_args!("restart incompatible due to setting for [{key}] [old value: {old}]"))
        };
        for (key, value) in Self::shape(settings) {
            if self.0.get(&key) != Some(&value) {
                return incompatible(&key);
            }
        }
        if self.hex("layout") != Some(layout) {
            return incompatible("layout");
        }
        // If this machine's clock was set back, no time in the items is valid.
        let (stopped, left) = (self.number::<i64>("stop_time"), self.number("current_time"));
        let (Some(stopped), Some(left)) = (stopped.filter(|&stopped| stopped <= now), left) else {
            return incompatible("stop_time");
        };
        match holds {
            Holds::Saved { stamp } if self.hex("stamp") == Some(stamp) => Some(ClockResume {
                now: later(left, now - stopped),
                hashpower: self.number("hashpower"),
                gid: self.number("logger_gid").unwrap_or(0),
                in_order: true,
            }),
            _ => clean(format_args!("the memory file is not the one that the metadata was saved for")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(settings: &Settings) -> FileMetadata {
        let mut lines = FileMetadata::shape(settings);
        for (key, value) in [
            ("stop_time", "1070".to_owned()),
            ("current_time", "70".to_owned()),
            ("layout", format!("{:016x}", 7)),
            ("stamp", format!("{:016x}", 99)),
            ("hashpower", "17".to_owned()),
            ("logger_gid", "5".to_owned()),
        ] {
            lines.insert(key.to_owned(), value);
        }
        FileMetadata(lines)
    }

    const SAVED: Holds = Holds::Saved { stamp: 99 };

    #[test]
    fn written_metadata_is_read_back() {
        let settings = Settings::default();
        let again = FileMetadata::parse(&meta(&settings).text()).unwrap();
        let resume = again.judge(&settings, 7, SAVED, 1075).unwrap();
        assert_eq!(resume, ClockResume { now: 75, hashpower: Some(17), gid: 5, in_order: true });
    }

    #[test]
    fn damage_is_distinguished_from_other_settings() {
        let settings = Settings::default();
        let text = meta(&settings).text();
        for broken in ["", "\n", "garbage\n", "Tmain\nsomething\n", "Tmain\nKkey\n"] {
            assert!(FileMetadata::parse(broken).is_err(), "{broken:?}");
        }
        for end in 1..text.len() - 1 {
            let cut = FileMetadata::parse(&text[..end]);
            let served = cut.is_ok_and(|meta| meta.judge(&settings, 7, SAVED, 1070).is_some());
            assert!(!served, "cut at {end}");
        }
        assert!(FileMetadata::parse(&text.replace("Khashpower 17", "Khashpower 18")).is_err());
        let other = Settings { use_cas: false, ..Settings::default() };
        assert!(meta(&settings).judge(&other, 7, SAVED, 1070).is_none());
        assert!(meta(&settings).judge(&settings, 8, SAVED, 1070).is_none());
    }

    #[test]
    fn the_clock_and_the_file_must_fit() {
        let settings = Settings::default();
        let meta = meta(&settings);
        assert!(meta.judge(&settings, 7, SAVED, 1069).is_none(), "the clock went back");
        assert!(meta.judge(&settings, 7, Holds::Saved { stamp: 98 }, 1070).is_none());
        assert!(meta.judge(&settings, 7, Holds::Live, 1070).is_none());
        assert!(meta.judge(&settings, 7, SAVED, 1070).is_some());
    }

    #[test]
    fn memory_size_and_threads_may_change() {
        let larger = Settings { maxbytes: 1 << 30, num_threads: 9, ..Settings::default() };
        assert!(meta(&Settings::default()).judge(&larger, 7, SAVED, 1070).is_some());
    }

    /// Opens the memory file of a process that was last alive at relative time 70, unix time 1070, and was killed.
    fn after_a_kill(now: i64) -> Option<ClockResume> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let settings = Settings { maxbytes: 1 << 20, ..Settings::default() };
        let sizes = Sizes::new(crate::store::SizeConfig::default());
        let memory_file = MemoryFile::open(&path, sizes.fingerprint(), settings.maxbytes).unwrap();
        memory_file.begin(1000);
        memory_file.note_time(70, 1070);
        drop(memory_file);
        open(&path, &settings, &sizes, now).unwrap().resume
    }

    #[test]
    fn relative_time_never_goes_back() {
        let after = |unix| after_a_kill(unix).unwrap().now;
        assert_eq!((after(1070), after(1100)), (70, 100));
        for before in [1069, 1000, 999, 1, -5] {
            assert_eq!(after(before), 70, "the clock is at {before}");
        }
    }

    #[test]
    fn items_are_not_kept_until_relative_time_ends() {
        let most = 1000 + i64::from(AGE_MAX);
        assert_eq!(after_a_kill(most).unwrap().now, AGE_MAX);
        for far in [most + 1, i64::from(u32::MAX), i64::from(u32::MAX) + 5000, i64::MAX / 2] {
            assert_eq!(after_a_kill(far), None, "the clock is at {far}");
        }
    }
}
