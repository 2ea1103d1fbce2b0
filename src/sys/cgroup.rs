//! The memory limit of the process's control group.
//!
//! Owns where the limit is found: version 2 (`memory.max`) and version 1 (`memory.limit_in_bytes`), by `/proc`, for the
//! group and those above it. Must not know what the limit is compared with. Called by `server` at start.

use std::fs;
use std::path::{Path, PathBuf};

/// Files of one version of control groups.
struct Version {
    /// Type of the mounted file system.
    fstype: &'static str,
    /// Mount option and name of the controller; empty for version 2, whose one hierarchy has all of them.
    controller: &'static str,
    file: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version { fstype: "cgroup2", controller: "", file: "memory.max" },
    Version { fstype: "cgroup", controller: "memory", file: "memory.limit_in_bytes" },
];

/// Limits from here on are none: version 1 writes one as the largest number of whole pages.
const UNLIMITED: u64 = 1 << 62;

/// Bytes that the process may use, the page cache of its files and a memory file included; `None` without a limit, or
/// where it cannot be found.
pub fn memory_limit() -> Option<u64> {
    limit_below(Path::new("/"))
}

/// The same with `/proc` and the mounted groups below `root`.
fn limit_below(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let limits = VERSIONS.iter().filter_map(|version| {
        let group = group(&groups, version)?;
        let (mount, top) = mount(&mounts, version)?;
        lowest(&root.join(mount.strip_prefix("/").ok()?), below(group, top), version.file)
    });
    limits.min()
}

/// The process's group: lines of `/proc/self/cgroup` are `number:controllers:path`.
fn group<'a>(groups: &'a str, version: &Version) -> Option<&'a Path> {
    groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let fits = controllers.split(',').any(|name| name == version.controller);
        fits.then_some(Path::new(path))
    })
}

/// Where the hierarchy is mounted, and the group at that place. Lines of `/proc/self/mountinfo` are
/// `id parent device top place options ... - type source options`.
fn mount<'a>(mounts: &'a str, version: &Version) -> Option<(&'a Path, &'a Path)> {
    mounts.lines().find_map(|line| {
        let (place, fs) = line.split_once(" - ")?;
        let mut fs = fs.split(' ');
        let (fstype, options) = (fs.next()?, fs.nth(1)?);
        let has_controller = version.controller.is_empty() || options.split(',').any(|name| name == version.controller);
        let mut place = place.split(' ').skip(3);
        let (top, place) = (place.next()?, place.next()?);
        (fstype == version.fstype && has_controller).then_some((Path::new(place), Path::new(top)))
    })
}

/// `group` relative to the group `top`. A container may see its own group by another name than the mount does: then the
/// mount itself is its group.
fn below<'a>(group: &'a Path, top: &Path) -> &'a Path {
    let relative = group.strip_prefix(top).or_else(|_| group.strip_prefix("/"));
    relative.ok().filter(|path| !path.starts_with("..")).unwrap_or(Path::new(""))
}

/// Lowest limit of the group at `relative` below `mount` and of those above it.
fn lowest(mount: &Path, relative: &Path, file: &str) -> Option<u64> {
    let places =
        relative.ancestors().map(|place| if place == Path::new("") { mount.to_owned() } else { mount.join(place) });
    let read = |place: PathBuf| fs::read_to_string(place.join(file)).ok()?.trim().parse::<u64>().ok();
    places.filter_map(read).filter(|limit| *limit < UNLIMITED).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root directory with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "30 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      31 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    fn limit(files: &[(&str, &str)]) -> Option<u64> {
        limit_below(root(files).path())
    }

    #[test]
    fn the_lowest_limit_from_the_group_upwards_counts() {
        let unit = "sys/fs/cgroup/system.slice/ox.service/memory.max";
        let slice = "sys/fs/cgroup/system.slice/memory.max";
        let own = ("proc/self/cgroup", "0::/system.slice/ox.service\n");
        let mounts = ("proc/self/mountinfo", V2);
        assert_eq!(limit(&[own, mounts, (unit, "536870912\n"), (slice, "max\n")]), Some(512 << 20));
        assert_eq!(limit(&[own, mounts, (unit, "536870912\n"), (slice, "1048576\n")]), Some(1 << 20));
        assert_eq!(limit(&[own, mounts, (unit, "max\n"), (slice, "max\n")]), None);
        assert_eq!(limit(&[own, mounts]), None);
        assert_eq!(limit(&[]), None, "without /proc");
    }

    #[test]
    fn version_1_has_a_hierarchy_for_memory() {
        let own = ("proc/self/cgroup", "5:cpu,cpuacct:/other\n4:memory:/box/7\n0::/\n");
        let (inner, outer) = ("sys/fs/cgroup/memory/box/7", "sys/fs/cgroup/memory");
        let file = |place: &str| format!("{place}/memory.limit_in_bytes");
        let (inner, outer) = (file(inner), file(outer));
        let none = "9223372036854771712\n";
        let mounts = ("proc/self/mountinfo", V1);
        assert_eq!(limit(&[own, mounts, (&inner, "1000\n"), (&outer, none)]), Some(1000));
        assert_eq!(limit(&[own, mounts, (&inner, none), (&outer, none)]), None);
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount() {
        let limit_file = ("sys/fs/cgroup/memory.max", "4096\n");
        // With a namespace of its own the group is the root; without one, the mount begins at the group.
        for (group, top) in [("/", "/"), ("/docker/abc", "/docker/abc"), ("/../other", "/")] {
            let mounts = V2.replace("0:26 / ", &format!("0:26 {top} "));
            let own = format!("0::{group}\n");
            let files = [("proc/self/cgroup", &*own), ("proc/self/mountinfo", &*mounts), limit_file];
            assert_eq!(limit(&files), Some(4096), "{group}");
        }
    }
}
