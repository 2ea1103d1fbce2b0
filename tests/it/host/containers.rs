//! Limits of containers: control groups, users without an entry, read-only roots, closed descriptors, a partial /proc.

use super::harness::{Place, am_root};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// A server after `script`, in a mount namespace of its own; `None`, with a line, where the test may not make one.
fn in_mounts(place: &Place, script: &str, args: &str) -> Option<Command> {
    let may = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !may {
        println!("skipped: no right to make a mount namespace");
        return None;
    }
    let script = format!("mount --make-rprivate / && {script} || exit 9; exec \"$0\" \"$@\"");
    let shell = ["unshare".to_owned(), "-m".to_owned(), "sh".to_owned(), "-c".to_owned(), script];
    Some(place.run(shell.into_iter().chain(place.words(args))))
}

/// A control group with a memory limit of 64 MB, removed at the end.
struct Group(PathBuf);

impl Group {
    /// `None`, with a line, where the test may not make one.
    fn new() -> Option<Self> {
        let name = format!("oxcached-test-{}", std::process::id());
        let places = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (place, file) in places {
            let group = Self(PathBuf::from(place).join(&name));
            if fs::create_dir(&group.0).is_ok() && fs::write(group.0.join(file), (64 << 20).to_string()).is_ok() {
                return Some(group);
            }
        }
        println!("skipped: no right to make a control group with a memory limit");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group with a process cannot go; the process is a child that has been killed.
        while fs::remove_dir(&self.0).is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_memory_limit_below_m_is_warned_about() {
    let Some(group) = Group::new() else { return };
    let place = Place::new();
    let join = format!("echo $$ >{}/cgroup.procs", group.0.display());
    for (args, warning) in [
        ("-m 64", "WARNING: with -m 64 the server may take 100 MB, and its control group allows 64 MB\n"),
        ("-m 16", ""),
    ] {
        let server = place.start(place.after(&join, args));
        assert_eq!(server.ask("mn\r\n", "MN\r\n"), "MN\r\n");
        assert_eq!(server.stop(), warning, "{args}");
    }
}

#[test]
fn a_user_without_an_entry_runs_a_server() {
    if !am_root() {
        return println!("skipped: only root can become another user");
    }
    // As the whole process, as containers do, whatever -u says; and by -u.
    for (args, start, uid) in
        [("-u nobody", Some(54321), 54321), ("-u 54322", None, 54322), ("-u 54323:54324", None, 54323)]
    {
        let place = Place::new();
        let mut command = place.command(args);
        if let Some(uid) = start {
            command.uid(uid).gid(uid);
        }
        let server = place.start(command);
        let uids = server.threads("Uid");
        assert!(uids.iter().all(|(_, ids)| ids.starts_with(&format!("{uid}\t{uid}"))), "{uids:?}");
        assert_eq!(server.stop(), "");
    }
    let place = Place::new();
    assert_eq!(place.fails(place.command("-u 12x")), (Some(67), "can't find the user 12x to switch to\n".to_owned()));
}

#[test]
fn a_read_only_root_is_enough() {
    let place = Place::new();
    let dir = place.dir.path().display().to_string();
    let script = format!("mount --bind {dir} {dir} && mount -o remount,bind,ro /");
    let Some(command) = in_mounts(&place, &script, "-v") else { return };
    let server = place.start(command);
    assert_eq!(server.ask("set a 0 0 1\r\nx\r\n", "\r\n"), "STORED\r\n");
    let said = server.stop();
    assert!(!said.contains("Read-only") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_proc_of_processes_alone_is_enough() {
    let place = Place::new();
    let script = "mount -t proc -o subset=pid proc /proc";
    let Some(command) = in_mounts(&place, script, "-e DIR/memory") else { return };
    let server = place.start(command);
    assert_eq!(server.ask("set a 0 0 1\r\nx\r\n", "\r\n"), "STORED\r\n");
    assert_eq!(server.stop(), "[restart] no metadata save file, starting with a clean cache\n");
}

#[test]
fn closed_descriptors_become_no_sockets() {
    let place = Place::new();
    let server = place.start(place.after("exec 0<&- 1>&- 2>&-", "-vvv"));
    let open = |fd: u32| fs::read_link(format!("/proc/{}/fd/{fd}", server.child.id())).unwrap();
    for fd in 0..3 {
        assert_eq!(open(fd), PathBuf::from("/dev/null"), "{fd}");
    }
    // Lines about this conversation go to no client.
    assert_eq!(server.ask("set a 0 0 1\r\nx\r\nget a\r\n", "END\r\n"), "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    server.stop();
}
