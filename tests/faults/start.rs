//! The start: each of its calls fails once, with each representative kind of error.

use crate::harness::{Faulty, errors, sound};
use crate::plan::{Call, Fault};
use tempfile::TempDir;

/// Fails the first, the second, ... call of a start, until a start has fewer calls. Each start must end with a
/// message and an exit code, or serve.
fn each_call_fails(call: Call, error: i32, args: &[&str]) -> (u32, u32) {
    let (mut served, mut refused) = (0, 0);
    for number in 0.. {
        let fault = Fault::error(error).after(number).times(1);
        let mut server = Faulty::launch_in(TempDir::new().unwrap(), args, &[(call, fault)]);
        let what = format!("{call:?} number {number}, error {error}");
        match server.outcome() {
            Some(status) => {
                let said = server.said();
                sound(&said);
                assert!(matches!(status.code(), Some(1..=127)), "{what}: {status}, {said}");
                assert!(said.ends_with('\n') && !said.trim().is_empty(), "{what}: {status} without a word");
                refused += 1;
            }
            None => {
                let made = server.plan.made(call);
                server.end();
                if made == 0 {
                    return (served, refused);
                }
                served += 1;
            }
        }
        assert!(number < 500, "{call:?}: a start makes ever more calls");
    }
    unreachable!()
}

#[test]
fn a_start_without_descriptors_or_memory_reports_it() {
    let (mut served, mut refused) = (0, 0);
    for (call, error) in [
        (Call::Eventfd, errors::EMFILE),
        (Call::EpollCtl, errors::ENOSPC),
        (Call::Socket, errors::EMFILE),
        (Call::Listen, errors::EADDRINUSE),
        (Call::Thread, errors::EAGAIN),
        (Call::Mmap, errors::ENOMEM),
        (Call::Madvise, errors::EINVAL),
    ] {
        let sums = each_call_fails(call, error, &[]);
        println!("{call:?}: {} starts served, {} ended", sums.0, sums.1);
        served += sums.0;
        refused += sums.1;
    }
    assert!(served > 0 && refused > 0);
}

#[test]
fn a_start_without_its_files_reports_it_or_continues() {
    for (call, error) in [
        (Call::Open, errors::EMFILE),
        (Call::Allocate, errors::ENOSPC),
        (Call::Write, errors::ENOSPC),
        (Call::Rename, errors::EROFS),
        (Call::Fsync, errors::EIO),
    ] {
        let sums = each_call_fails(call, error, &["-e", "image", "-m", "8", "-P", "pid", "-s", "socket"]);
        println!("{call:?}: {} starts served, {} ended", sums.0, sums.1);
    }
}

/// A kernel that commits no more memory than it has refuses large mappings.
#[test]
fn a_start_without_large_mappings_serves_with_less_memory() {
    for (args, warns) in [(["-m", "64"], false), (["-m", "4096"], true)] {
        let fault = Fault::error(errors::ENOMEM).at_least(1 << 30);
        let mut server = Faulty::launch_in(TempDir::new().unwrap(), &args, &[(Call::Mmap, fault)]);
        assert_eq!(server.outcome(), None, "{args:?}: {}", server.said());
        assert!(server.plan.made(Call::Mmap) > 0, "{args:?}: no large mapping was asked for");
        let (mut client, value) = (server.client(), "x".repeat(50_000));
        for number in 0..100 {
            let set = format!("set key{number} 0 0 50000\r\n{value}\r\n");
            assert_eq!(client.ask(&set, "\r\n"), "STORED\r\n", "{args:?}");
        }
        let reply = client.ask("get key99\r\n", "END\r\n");
        assert_eq!(reply, format!("VALUE key99 0 50000\r\n{value}\r\nEND\r\n"));
        let said = server.end();
        assert_eq!(said.starts_with("warning: address space for "), warns, "{args:?}: {said}");
    }
}
