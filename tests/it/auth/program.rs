//! The program itself: its files, SIGHUP, `--hash-password`, and its errors at start.

use super::harness::{Client, DEADLINE, hashed, plain};
use crate::binary::packet::{err, res};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

fn command(args: &[&str]) -> Command {
    let is_server = args.first() != Some(&"--hash-password");
    let mut command = if is_server { crate::program() } else { Command::new(env!("CARGO_BIN_EXE_oxcached")) };
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["MEMCACHED_PORT_FILENAME", "MEMCACHED_SASL_PWDB", "SASL_CONF_PATH", "RUST_LOG"] {
        command.env_remove(name);
    }
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 && is_server {
        command.args(["-u", "root"]);
    }
    command
}

/// Exit code and standard error of a server that must not start.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(scratch: &Path, mut command: Command) -> Self {
        let ports = scratch.join("ports");
        let mut child = command.env("MEMCACHED_PORT_FILENAME", &ports).spawn().unwrap();
        let end = Instant::now() + DEADLINE;
        while !ports.exists() {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < end, "it did not start");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let text = std::fs::read_to_string(&ports).unwrap();
        let port = text.lines().find_map(|line| line.strip_prefix("TCP INET: ")).unwrap().parse().unwrap();
        Self { child, port }
    }

    fn client(&self) -> Client {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Client(socket)
    }

    /// Asks the server to reload its files; the reload is not reported.
    fn reload(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(status.success());
    }

    /// Ends the server; returns its output.
    fn stop(mut self) -> String {
        self.signal("TERM");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut text).unwrap();
        assert!(self.child.wait().unwrap().success());
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Logs in with `password` by text until the reply is `expected`, which shows that a reload is done.
#[track_caller]
fn until_reply(server: &Process, password: &str, expected: &str) {
    let end = Instant::now() + DEADLINE;
    loop {
        let mut client = server.client();
        client.send(format!("set k 0 0 {}\r\nann {password}\r\n", password.len() + 4));
        let mut reply = [0; 8];
        std::io::Read::read_exact(&mut client.0, &mut reply).unwrap();
        if reply.starts_with(expected.as_bytes()) {
            return;
        }
        assert!(Instant::now() < end, "{password} never gave {expected}");
    }
}

#[test]
fn sighup_reloads_the_tokens_and_keeps_them_on_failure() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("users"), "ann:one\n").unwrap();
    let mut started = command(&["-Y", "users", "-l", "127.0.0.1", "-p", "-1", "-t", "1"]);
    started.current_dir(scratch.path());
    let server = Process::start(scratch.path(), started);
    let mut inside = server.client();
    inside.ask("set k 0 0 7\r\nann one\r\n", "STORED\r\n");
    std::fs::write(scratch.path().join("users"), format!("{}\n", hashed("ann", "two"))).unwrap();
    server.reload();
    until_reply(&server, "two", "STORED");
    until_reply(&server, "one", "CLIENT_E");
    // A client stays logged in.
    inside.ask("mn\r\n", "MN\r\n");
    std::fs::write(scratch.path().join("users"), "nonsense\n").unwrap();
    server.reload();
    std::fs::write(scratch.path().join("users"), "ann:three\n").unwrap();
    server.reload();
    until_reply(&server, "three", "STORED");
    std::fs::remove_file(scratch.path().join("users")).unwrap();
    server.reload();
    until_reply(&server, "three", "STORED");
    let said = server.stop();
    assert!(said.contains("Could not reload on SIGHUP: Could not open authfile [users] for reading"), "{said}");
}

#[test]
fn sasl_reads_the_file_of_the_environment_at_start_and_sighup() {
    let scratch = tempfile::tempdir().unwrap();
    let users = scratch.path().join("users");
    std::fs::write(&users, "ann:one\n").unwrap();
    let mut started = command(&["-S", "-l", "127.0.0.1", "-p", "-1", "-t", "1"]);
    started.env("MEMCACHED_SASL_PWDB", &users).env("SASL_CONF_PATH", scratch.path());
    let server = Process::start(scratch.path(), started);
    server.client().ask(plain("ann", "one").bytes(), res(0x21).value("Authenticated").bytes());
    std::fs::write(&users, "ann:two\n").unwrap();
    server.reload();
    let end = Instant::now() + DEADLINE;
    loop {
        let mut client = server.client();
        client.send(plain("ann", "two").bytes());
        let mut status = [0; 8];
        std::io::Read::read_exact(&mut client.0, &mut status).unwrap();
        if status[7] == 0 {
            break;
        }
        assert!(Instant::now() < end, "the new password never worked");
    }
    server.client().ask(plain("ann", "one").bytes(), err(0x21, 0x20).bytes());
    assert_eq!(server.stop(), "");
}

#[test]
fn failed_logins_are_logged_without_names_and_passwords() {
    let scratch = tempfile::tempdir().unwrap();
    let users = scratch.path().join("users");
    std::fs::write(&users, "ann:secret\n").unwrap();
    let mut started = command(&["-v", "-Y", users.to_str().unwrap(), "-l", "127.0.0.1", "-p", "-1", "-t", "1"]);
    let server = Process::start(scratch.path(), {
        started.env("RUST_LOG", "warn");
        started
    });
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        client.ask("set k 0 0 12\r\nsecret\x1b evil\r\n", "CLIENT_ERROR authentication failure\r\n");
    }
    let from = clients[0].0.local_addr().unwrap();
    let said = server.stop();
    assert!(said.contains(&format!("1 failed logins, the last one from {from}")), "{said}");
    assert_eq!(said.matches("failed logins").count(), 1, "{said}");
    assert!(!said.contains("secret") && !said.contains("evil") && !said.contains('\x1b'), "{said}");
}

#[test]
fn failed_starts_name_the_reason() {
    let scratch = tempfile::tempdir().unwrap();
    let bad = scratch.path().join("bad");
    std::fs::write(&bad, "nonsense").unwrap();
    let bad = bad.to_str().unwrap();
    assert_eq!(
        refused(command(&["-Y", "/nonexistent/users"])),
        (
            Some(1),
            "Could not open authfile [/nonexistent/users] for reading, error No such file or directory: \
             No such file or directory\n"
                .to_owned()
        )
    );
    assert_eq!(
        refused(command(&["-Y", bad])),
        (Some(1), format!("Authfile [{bad}] has a malformed entry. Should be 'user:password'\n"))
    );
    let udp = "Cannot use UDP with ascii authentication enabled (-U 0 to disable)\n".to_owned();
    assert_eq!(refused(command(&["-Y", bad, "-U", "11211"])), (Some(64), udp));
    let (code, said) = refused(command(&["-S"]));
    assert_eq!(code, Some(1));
    assert!(said.starts_with("Error initializing sasl.\nMEMCACHED_SASL_PWDB must name"), "{said}");
    let mut none_left = command(&["-S"]);
    let conf = scratch.path().join("memcached.conf");
    std::fs::write(&conf, "mech_list: gssapi\n").unwrap();
    none_left.env("SASL_CONF_PATH", scratch.path()).env("MEMCACHED_SASL_PWDB", bad);
    let (code, said) = refused(none_left);
    assert!(code == Some(1) && said.contains("names none of SCRAM-SHA-256 CRAM-MD5 PLAIN"), "{said}");
}

fn hash(args: &[&str], input: &str) -> Output {
    let words: Vec<&str> = std::iter::once("--hash-password").chain(args.iter().copied()).collect();
    let mut child = command(&words).stdin(Stdio::piped()).spawn().unwrap();
    // It may have failed before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn hash_password_prints_a_line_that_works() {
    let scratch = tempfile::tempdir().unwrap();
    let users = scratch.path().join("users");
    let made = hash(&["ann"], "a secret\n");
    assert!(made.status.success() && made.stderr.is_empty());
    std::fs::write(&users, &made.stdout).unwrap();
    let server = Process::start(
        scratch.path(),
        command(&["-Y", users.to_str().unwrap(), "-l", "127.0.0.1", "-p", "-1", "-t", "1"]),
    );
    server.client().ask("set k 0 0 12\r\nann a secret\r\n", "STORED\r\n");
    server.client().ask("set k 0 0 12\r\nann A secret\r\n", "CLIENT_ERROR authentication failure\r\n");
    assert_eq!(server.stop(), "");
    let slower = hash(&["ann", "5000"], "a secret\r\n");
    assert!(String::from_utf8(slower.stdout).unwrap().starts_with("ann:SCRAM-SHA-256$5000:"));
}

#[test]
fn hash_password_refuses_unusable_input() {
    for (args, input, code) in [
        (&[][..], "x\n", 64),
        (&["a", "b"], "x\n", 64),
        (&["a", "4096", "c"], "x\n", 64),
        (&["a:b"], "x\n", 1),
        (&["a"], "\n", 1),
        (&["a"], "", 1),
        (&["a", "1"], "x\n", 1),
    ] {
        let output = hash(args, input);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}
