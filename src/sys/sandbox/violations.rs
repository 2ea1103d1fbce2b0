//! Forbidden calls, each made by a confined thread of a process of its own: this test program, in which one ignored
//! test makes the call.
#![cfg(test)]
#![allow(unsafe_code)]

use super::{Role, confine, prepare};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Calls by name. A forbidden one does not return.
fn attempt(name: &str) {
    match name {
        "socket" => drop(std::net::UdpSocket::bind("127.0.0.1:0")),
        "program" => drop(Command::new("true").status()),
        "thread" => drop(std::thread::Builder::new().spawn(|| ())),
        "open" => {
            let error = std::fs::File::open("/etc/passwd").map(|_| ()).map_err(|error| error.kind());
            println!("opened: {error:?}");
        }
        "directory" => drop(std::fs::create_dir("/none/none")),
        // SAFETY: plain numbers; signal 0 delivers nothing.
        "kill" => unsafe {
            libc::kill(1, 0);
        },
        // SAFETY: a fresh mapping that nothing uses.
        "code" => unsafe {
            let (protection, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0);
        },
        // SAFETY: the default action needs no handler.
        "handler" => unsafe {
            libc::signal(libc::SIGSYS, libc::SIG_DFL);
        },
        // SAFETY: asks to be traced by the parent, which ignores it.
        "trace" => unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        },
        // musl's open() makes this call.
        // SAFETY: plain numbers; the descriptor stays as it is.
        "flag" => unsafe {
            libc::fcntl(libc::STDOUT_FILENO, libc::F_SETFD, libc::FD_CLOEXEC);
        },
        other => panic!("{other}"),
    }
}

const ALL: [&str; 10] =
    ["socket", "program", "thread", "open", "directory", "kill", "code", "handler", "trace", "flag"];

/// The other process.
#[test]
#[ignore = "a part of the test below, run by it"]
fn violates() {
    let words = std::env::var("VIOLATION").unwrap();
    let (role, name) = words.split_once(' ').unwrap();
    let role = Role::ALL.into_iter().find(|known| format!("{known:?}") == role).unwrap();
    let name = name.to_owned();
    prepare(None, false).unwrap();
    let ended = std::thread::spawn(move || {
        confine(role);
        attempt(&name);
    });
    ended.join().unwrap();
    println!("survived");
}

#[test]
fn a_forbidden_call_ends_the_process() {
    let mut survived = Vec::new();
    for role in Role::ALL {
        for name in ALL {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "sys::sandbox::violations::violates", "--ignored", "--nocapture"]);
            let output = command.env("VIOLATION", format!("{role:?} {name}")).output().unwrap();
            let (said, out) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
            if out.contains("survived") {
                survived.push((role, name, out.contains("opened: Err(PermissionDenied)")));
                continue;
            }
            // The C library blocks signals while it starts a program or a thread: then the kernel ends the process.
            let is_killed = ["program", "thread"].contains(&name) && output.status.signal() == Some(libc::SIGSYS);
            let is_reported = output.status.code() == Some(1)
                && said.starts_with("Seccomp policy failure. Caught syscall ")
                && !said.contains("???");
            assert!(is_killed || is_reported, "{role:?} {name}: {} {said}{out}", output.status);
        }
    }
    // The main thread reads certificates and users again; the others are refused, as libraries expect it.
    let allowed = Role::ALL.map(|role| [(role, "open", role != Role::Main), (role, "flag", false)]);
    assert_eq!(survived, allowed.concat());
}
