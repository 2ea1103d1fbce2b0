//! The nodes of a cluster, for clients that discover them: `-o cluster_file`.
//!
//! Owns the file: when it is read, which of its versions replaces another, and the configuration in force. Must not
//! know commands: `proto` sends the configuration in the form of each protocol. `server` loads it after the change of
//! user, so that it can be read again later, and looks at it once a second.
//!
//! Clients take a configuration with a higher version than theirs and ignore any other, so a version never goes back,
//! and a file that would make it go back is refused.

mod list;

use crate::limits::CLUSTER_FILE_MAX;
use crate::settings::Settings;
use crate::sys::error_text;
use list::{NodeList, VERSION_MAX};
use parking_lot::Mutex;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the configuration in `config get`.
pub const NAME: &[u8] = b"cluster";

/// Key under which clients older than the command look for the configuration.
pub const KEY: &[u8] = b"AmazonElastiCache:cluster";

/// Unix time from which the version of a file without one counts seconds: the start of 2020. It thus fits
/// [`VERSION_MAX`] until 2088.
const VERSION_EPOCH: u64 = 1_577_836_800;

/// A configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    version: u32,
    list: NodeList,
    text: Box<[u8]>,
}

impl ClusterConfig {
    /// Parses the bytes of a file; `version` replaces that of a file without one.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn parse(bytes: &[u8], version: u32) -> Result<Self, String> {
        Ok(Self::new(NodeList::parse(bytes)?, version))
    }

    fn new(list: NodeList, version: u32) -> Self {
        let version = list.version.unwrap_or(version);
        let text = format!("{version}\n{}\n", list.nodes).into_bytes().into();
        Self { version, list, text }
    }

    /// Version: 1 to `i32::MAX`.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Number of nodes; at least 1.
    pub fn nodes(&self) -> u32 {
        self.list.count
    }

    /// What clients get: the version, a line feed, `host|ip|port` of each node with a blank between two, a line feed.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

/// The configuration in force and its counters.
pub struct Cluster {
    current: Mutex<Arc<ClusterConfig>>,
    changes: AtomicU64,
    errors: AtomicU64,
}

impl Cluster {
    /// The state of a server that has read `config`.
    pub fn new(config: ClusterConfig) -> Self {
        Self { current: Mutex::new(Arc::new(config)), changes: AtomicU64::new(0), errors: AtomicU64::new(0) }
    }

    /// The configuration in force.
    pub fn current(&self) -> Arc<ClusterConfig> {
        Arc::clone(&self.current.lock())
    }

    /// Configurations that have replaced another.
    pub fn changes(&self) -> &AtomicU64 {
        &self.changes
    }

    /// Files that could not replace the configuration in force.
    pub fn errors(&self) -> &AtomicU64 {
        &self.errors
    }

    /// Clears the counters, for `stats reset`.
    pub fn reset(&self) {
        self.changes.store(0, Relaxed);
        self.errors.store(0, Relaxed);
    }

    fn replace(&self, config: ClusterConfig) {
        let before = std::mem::replace(&mut *self.current.lock(), Arc::new(config));
        self.changes.fetch_add(1, Relaxed);
        drop(before); // outside the lock
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    place: (u64, u64),
    size: u64,
    /// Times of the last change of its bytes, and of anything about it, such as who may read it.
    changed: [(i64, i64); 2],
}

impl FileState {
    fn of(metadata: &Metadata) -> Self {
        Self {
            place: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            changed: [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())],
        }
    }

    /// State of the file at `path`; `None` if there is none that can be looked at.
    fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::of)
    }
}

/// A file that is read again when it changes. One thread owns it.
pub struct ClusterWatch {
    /// As the operator wrote it, for error texts.
    given: PathBuf,
    path: PathBuf,
    cluster: Arc<Cluster>,
    /// State at the last look.
    seen: Option<FileState>,
    /// State at the last read.
    read: Option<FileState>,
}

impl ClusterWatch {
    /// Reads the file that `settings` name; `None` without one.
    ///
    /// # Errors
    /// The line for the operator, without a line feed.
    pub fn load(settings: &Settings) -> Result<Option<Self>, String> {
        let Some(given) = &settings.cluster_file else { return Ok(None) };
        let path = settings.locate(given);
        let state = FileState::at(&path);
        let (list, changed) = read(&path).map_err(|complaint| complain(given, &complaint))?;
        let config = ClusterConfig::new(list, time_version(changed));
        let cluster = Arc::new(Cluster::new(config));
        Ok(Some(Self { given: given.clone(), path, cluster, seen: state, read: state }))
    }

    /// The configuration that it keeps up to date.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Reads the file if it has changed and then stayed the same between two calls, so that no file is read while it is
    /// being written. True if there is another configuration.
    ///
    /// # Errors
    /// As [`ClusterWatch::reload`], once for each change.
    pub fn look(&mut self) -> Result<bool, String> {
        let state = FileState::at(&self.path);
        let before = std::mem::replace(&mut self.seen, state);
        if state == self.read || state != before { Ok(false) } else { self.reload() }
    }

    /// Reads the file. True if there is another configuration.
    ///
    /// # Errors
    /// The line for the operator, without a line feed; the configuration stays.
    pub fn reload(&mut self) -> Result<bool, String> {
        self.seen = FileState::at(&self.path);
        self.read = self.seen;
        let current = self.cluster.current();
        let next = read(&self.path).and_then(|(list, changed)| successor(&current, list, changed));
        match next {
            Ok(next) => {
                let is_other = next.is_some();
                next.into_iter().for_each(|config| self.cluster.replace(config));
                Ok(is_other)
            }
            Err(complaint) => {
                self.cluster.errors.fetch_add(1, Relaxed);
                Err(complain(&self.given, &complaint))
            }
        }
    }
}

fn complain(given: &Path, complaint: &str) -> String {
    format!("cluster_file [{}]: {complaint}", given.display())
}

/// The configuration of `list` in place of `current`; `None` if it is the same. A file without a version, last changed
/// at Unix time `changed`, gets the next one, or a higher one that other servers give the same change.
fn successor(current: &ClusterConfig, list: NodeList, changed: u64) -> Result<Option<ClusterConfig>, String> {
    let is_same = list.nodes == current.list.nodes;
    let last = current.version;
    match list.version {
        Some(version) if version < last || (version == last && !is_same) => {
            Err(format!("version {version} must be above {last}, or clients ignore the change"))
        }
        Some(version) if version == last => Ok(None),
        None if is_same => Ok(None),
        None if last == VERSION_MAX => Err(format!("no version is above {last}, or clients ignore the change")),
        _ => Ok(Some(ClusterConfig::new(list, time_version(changed).max(last + 1)))),
    }
}

/// Version of a file without one, last changed at Unix time `changed`, which may be in the future by mistake. It comes
/// from the time, so that it is above those of an earlier process, and nearly the same on every server of the cluster.
fn time_version(changed: u64) -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seconds = changed.min(now).saturating_sub(VERSION_EPOCH);
    u32::try_from(seconds).unwrap_or(VERSION_MAX).clamp(1, VERSION_MAX)
}

/// Reads the list in the file at `path`, and the Unix time of the file's last change.
fn read(path: &Path) -> Result<(NodeList, u64), String> {
    // Opening a pipe must not wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|e| error_text(&e))?;
    let metadata = file.metadata().map_err(|e| error_text(&e))?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let list = NodeList::parse(&bytes(&file)?)?;
    Ok((list, u64::try_from(metadata.mtime()).unwrap_or(0)))
}

fn bytes(file: &File) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    file.take(CLUSTER_FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|e| error_text(&e))?;
    if bytes.len() > CLUSTER_FILE_MAX {
        return Err(format!("it has more than {CLUSTER_FILE_MAX} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    struct Dir {
        dir: tempfile::TempDir,
        /// Seconds by which the next file is younger than 2026.
        age: u64,
    }

    impl Dir {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), age: 0 }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("nodes")
        }

        /// Writes the file with a time of change of its own.
        fn put(&mut self, text: &str) {
            self.age += 1;
            fs::write(self.path(), text).unwrap();
            let time = UNIX_EPOCH + Duration::from_secs(VERSION_EPOCH + 1000 * self.age);
            File::options().write(true).open(self.path()).unwrap().set_modified(time).unwrap();
        }

        fn watch(&self) -> Result<ClusterWatch, String> {
            let settings = Settings { cluster_file: Some(self.path()), ..Settings::default() };
            ClusterWatch::load(&settings).map(Option::unwrap)
        }
    }

    fn text(watch: &ClusterWatch) -> String {
        String::from_utf8(watch.cluster().current().text().to_vec()).unwrap()
    }

    fn counts(watch: &ClusterWatch) -> (u64, u64) {
        (watch.cluster.changes.load(Relaxed), watch.cluster.errors.load(Relaxed))
    }

    #[test]
    fn a_file_is_read_when_it_has_rested() {
        let mut dir = Dir::new();
        dir.put("3\na||1 b||2\n");
        let mut watch = dir.watch().unwrap();
        assert_eq!((watch.look(), text(&watch)), (Ok(false), "3\na||1 b||2\n".to_owned()));
        dir.put("4\na||1\n");
        assert_eq!(watch.look(), Ok(false), "it may still be written");
        dir.put("4\na||1 c||3\n");
        assert_eq!(watch.look(), Ok(false), "it is being written");
        assert_eq!((watch.look(), text(&watch)), (Ok(true), "4\na||1 c||3\n".to_owned()));
        assert_eq!((watch.look(), counts(&watch)), (Ok(false), (1, 0)));
    }

    #[test]
    fn a_file_that_takes_the_place_of_another_is_noticed() {
        let mut dir = Dir::new();
        dir.put("3\na||1\n");
        let mut watch = dir.watch().unwrap();
        let time = fs::metadata(dir.path()).unwrap().modified().unwrap();
        let other = dir.dir.path().join("other");
        fs::write(&other, "4\nb||1\n").unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        fs::rename(&other, dir.path()).unwrap();
        assert_eq!((watch.look(), watch.look(), text(&watch)), (Ok(false), Ok(true), "4\nb||1\n".to_owned()));
    }

    #[test]
    fn what_cannot_be_used_is_reported_once_and_changes_nothing() {
        let mut dir = Dir::new();
        let shown = format!("cluster_file [{}]", dir.path().display());
        assert_eq!(dir.watch().err(), Some(format!("{shown}: No such file or directory")));
        dir.put("3\na||1\n");
        let mut watch = dir.watch().unwrap();
        for (text, complaint) in [
            ("4\na|1\n", "line 2: a node must be host|ip|port: \"a|1\""),
            ("3\nb||1\n", "version 3 must be above 3, or clients ignore the change"),
            ("2\na||1\n", "version 2 must be above 3, or clients ignore the change"),
            (&"#".repeat(CLUSTER_FILE_MAX + 1), &format!("it has more than {CLUSTER_FILE_MAX} bytes")),
        ] {
            dir.put(text);
            let expected = [Ok(false), Err(format!("{shown}: {complaint}")), Ok(false)];
            assert_eq!([watch.look(), watch.look(), watch.look()], expected);
        }
        fs::remove_file(dir.path()).unwrap();
        assert_eq!(watch.look(), Ok(false));
        assert_eq!(watch.look(), Err(format!("{shown}: No such file or directory")));
        fs::create_dir(dir.path()).unwrap();
        assert_eq!(watch.look(), Ok(false));
        assert_eq!(watch.look(), Err(format!("{shown}: it is no regular file")));
        assert_eq!((text(&watch), counts(&watch)), ("3\na||1\n".to_owned(), (0, 6)));
        watch.cluster().reset();
        assert_eq!(counts(&watch), (0, 0));
    }

    #[test]
    fn without_a_version_the_time_of_the_file_is_one() {
        let mut dir = Dir::new();
        dir.put("a||1\n");
        let mut watch = dir.watch().unwrap();
        assert_eq!(text(&watch), "1000\na||1\n");
        dir.put("a||1 # the same\n");
        assert_eq!((watch.reload(), text(&watch)), (Ok(false), "1000\na||1\n".to_owned()));
        dir.put("b||1\n");
        assert_eq!((watch.reload(), text(&watch)), (Ok(true), "3000\nb||1\n".to_owned()));
        dir.age = 0;
        dir.put("a||1\n");
        assert_eq!((watch.reload(), text(&watch)), (Ok(true), "3001\na||1\n".to_owned()), "it never goes back");
        dir.put("3002\na||1\n");
        assert_eq!((watch.reload(), text(&watch)), (Ok(true), "3002\na||1\n".to_owned()));
        assert_eq!(dir.watch().map(|watch| text(&watch)), Ok("3002\na||1\n".to_owned()));
        assert_eq!((time_version(0), time_version(u64::MAX) < VERSION_MAX), (1, true));
    }

    #[test]
    fn the_last_version_has_no_successor() {
        let mut dir = Dir::new();
        dir.put(&format!("{VERSION_MAX}\na||1\n"));
        let mut watch = dir.watch().unwrap();
        dir.put("b||1\n");
        assert!(watch.reload().unwrap_err().ends_with("no version is above 2147483647, or clients ignore the change"));
    }
}
