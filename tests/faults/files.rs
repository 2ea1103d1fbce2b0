//! Files: full disks, missing permissions, disk errors.

use crate::harness::{Faulty, errors, until};
use crate::plan::{Call, Fault};
use std::fs;
use tempfile::TempDir;

#[test]
fn an_unwritable_pid_file_is_only_a_warning() {
    let faults = (errors::OPEN.map(|error| (Call::Open, error)).into_iter())
        .chain(errors::RENAME.map(|error| (Call::Rename, error)))
        .chain(errors::FILE.map(|error| (Call::Write, error)));
    for (call, error) in faults.filter(|(_, error)| *error != errors::EINTR) {
        let mut server =
            Faulty::launch_in(TempDir::new().unwrap(), &["-P", "pid", "-s", "socket"], &[(call, Fault::error(error))]);
        assert!(server.outcome().is_none(), "{call:?}, error {error}: {}", server.said());
        until("the complaint", || server.said().contains("pid file"));
        assert!(!server.path("pid").exists());
        server.end();
    }
}

#[test]
fn items_that_cannot_be_saved_are_not_restored() {
    for (call, error, times) in [
        (Call::Fsync, errors::EIO, 1),
        (Call::Fsync, errors::ENOSPC, u64::MAX),
        (Call::Open, errors::EROFS, u64::MAX),
        (Call::Write, errors::ENOSPC, u64::MAX),
        (Call::Write, errors::EIO, 1),
        (Call::Rename, errors::EXDEV, u64::MAX),
    ] {
        let args = ["-m", "8", "-e", "image"];
        let server = Faulty::start(&args);
        assert_eq!(server.client().ask("set a 0 0 1\r\nx\r\n", "\r\n"), "STORED\r\n");
        server.plan.set(call, Fault::error(error).times(times));
        let (dir, said) = server.end_by("USR1");
        let what = format!("{call:?}, error {error}: {said}");
        assert!(said.contains("[restart] failed to save metadata: "), "{what}");
        assert!(!dir.path().join("image.meta").exists(), "{what}");
        // As after a crash: intact items may be present, and no others.
        let mut server = Faulty::launch_in(dir, &args, &[]);
        assert!(server.outcome().is_none(), "{what}");
        let reply = server.client().ask("get a\r\n", "END\r\n");
        assert!(["END\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n"].contains(&reply.as_str()), "{what}");
        server.end();
    }
}

#[test]
fn users_are_kept_when_their_file_cannot_be_read() {
    let server = Faulty::launch_in(users("user:old\n"), &["-Y", "users"], &[]);
    until("port file", || server.path("ports").exists());
    let login = |word: &str| {
        let mut client = server.client();
        client.ask(&format!("set auth 0 0 {}\r\nuser {word}\r\n", 5 + word.len()), "\r\n") == "STORED\r\n"
    };
    assert!(login("old"));
    fs::write(server.path("users"), "user:new\n").unwrap();
    for (call, error) in [(Call::Open, errors::EMFILE), (Call::Open, errors::EACCES), (Call::Load, errors::EIO)] {
        let before = server.said().len();
        server.plan.set(call, Fault::error(error).times(1));
        server.signal("HUP");
        until("the complaint", || server.said()[before..].contains("Could not reload on SIGHUP: "));
        assert!(login("old") && !login("new"), "{call:?}, error {error}");
        server.plan.clear(call);
    }
    server.plan.set(Call::Load, Fault::error(errors::EINTR).chance(50));
    server.signal("HUP");
    until("the new password", || login("new"));
    server.end();
}

fn users(text: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("users"), text).unwrap();
    dir
}
