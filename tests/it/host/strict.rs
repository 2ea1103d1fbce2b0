//! Hosts whose seccomp profile refuses calls that a server may be expected to make, as those of older container engines
//! do: it serves without them, or ends with the reason. Never a panic.

use super::harness::{Place, Program};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// `name=error` of calls that fail for the server, separated by blanks.
const REFUSED: &str = "OXCACHED_TEST_REFUSED";
/// The server's command, a word a line.
const COMMAND: &str = "OXCACHED_TEST_COMMAND";

fn number(name: &str) -> i64 {
    match name {
        "clone3" => libc::SYS_clone3,
        "eventfd2" => libc::SYS_eventfd2,
        "epoll_create1" => libc::SYS_epoll_create1,
        "getrandom" => libc::SYS_getrandom,
        "membarrier" => libc::SYS_membarrier,
        "io_uring_setup" => libc::SYS_io_uring_setup,
        "statx" => libc::SYS_statx,
        "rseq" => libc::SYS_rseq,
        "sched_getaffinity" => libc::SYS_sched_getaffinity,
        "prctl" => libc::SYS_prctl,
        "seccomp" => libc::SYS_seccomp,
        "landlock_create_ruleset" => libc::SYS_landlock_create_ruleset,
        "madvise" => libc::SYS_madvise,
        "mlockall" => libc::SYS_mlockall,
        "socketpair" => libc::SYS_socketpair,
        other => panic!("{other}"),
    }
}

/// The launcher, a process of its own: refuses the calls to itself, and becomes the server.
#[test]
#[ignore = "the launcher of the tests below"]
fn launch() {
    let refused = std::env::var(REFUSED).unwrap();
    for word in refused.split_ascii_whitespace() {
        let (name, error) = word.split_once('=').unwrap();
        let error = if error == "ENOSYS" { libc::ENOSYS } else { libc::EPERM };
        let rules = [(number(name), Vec::new())].into_iter().collect();
        let action = SeccompAction::Errno(error.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    }
    let words: Vec<String> = std::env::var(COMMAND).unwrap().split('\n').map(str::to_owned).collect();
    panic!("{}", Command::new(&words[0]).args(&words[1..]).exec());
}

/// A server's command line, run by the launcher.
fn under(place: &Place, refused: &str, args: &str) -> Command {
    let launcher = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let words = ["--exact", "host::strict::launch", "--ignored", "--nocapture"].map(str::to_owned);
    let mut command = place.run(std::iter::once(launcher).chain(words));
    command.env(REFUSED, refused).env(COMMAND, place.words(args).join("\n"));
    command
}

#[track_caller]
fn works(server: Program) {
    let value = "x".repeat(500_000);
    let line = format!("set a 0 0 {}\r\n{value}\r\n", value.len());
    assert_eq!(server.ask(&line, "\r\n"), "STORED\r\n");
    assert!(server.ask("get a\r\n", "END\r\n").len() > 500_000);
    assert_eq!(server.stop(), "");
}

#[test]
fn calls_that_it_can_do_without() {
    let plain = [
        "clone3=ENOSYS",
        "getrandom=ENOSYS",
        "getrandom=EPERM",
        "membarrier=ENOSYS",
        "membarrier=EPERM",
        "io_uring_setup=ENOSYS",
        "io_uring_setup=EPERM",
        "statx=ENOSYS",
        "rseq=ENOSYS",
        "sched_getaffinity=EPERM",
        "madvise=EPERM",
        "prctl=EPERM",
        "seccomp=EPERM",
    ];
    for refused in plain {
        let place = Place::new();
        works(place.start(under(&place, refused, "--admin=DIR/admin -t auto")));
    }
}

#[test]
fn calls_that_it_needs_are_named() {
    for (refused, args, said) in [
        ("clone3=EPERM", "", "Can't create thread: Operation not permitted\n"),
        ("eventfd2=EPERM", "", "eventfd: Operation not permitted\n"),
        ("eventfd2=ENOSYS", "", "eventfd: Function not implemented\n"),
        ("eventfd2=EPERM", "--admin=DIR/admin", "Can't create admin thread: Operation not permitted\n"),
        ("epoll_create1=EPERM", "", "epoll_create: Operation not permitted\n"),
        ("socketpair=EPERM", "", "failed to install signal handlers: Operation not permitted\n"),
        ("seccomp=EPERM", "-o drop_privileges", "Failed to set a seccomp profile on the main thread\n"),
        ("seccomp=ENOSYS", "-o drop_privileges", "Failed to set a seccomp profile on the main thread\n"),
    ] {
        let place = Place::new();
        assert_eq!(place.fails(under(&place, refused, args)), (Some(1), said.to_owned()), "{refused} {args}");
    }
}

#[test]
fn a_sandbox_without_landlock_says_so_and_serves() {
    for error in ["ENOSYS", "EPERM"] {
        let place = Place::new();
        let refused = format!("landlock_create_ruleset={error}");
        let server = place.start(under(&place, &refused, "-o drop_privileges -v"));
        assert_eq!(server.ask("mn\r\n", "MN\r\n"), "MN\r\n");
        assert!(server.threads("Seccomp").iter().any(|(name, mode)| name == "mc-worker" && mode == "2"));
        let said = server.stop();
        assert!(
            said.contains("drop_privileges: files are not restricted, because the kernel has no landlock\n"),
            "{said}"
        );
        let quiet = place.start(under(&place, &refused, "-o drop_privileges"));
        assert_eq!(quiet.stop(), "");
    }
}
