//! The process from outside: start, files, identity, signals, exit codes and its output on standard error. Runs the
//! real binary; every wait is for an observable condition, up to a deadline.

use crate::support::{DEADLINE, until};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind::ConnectionReset, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub(super) fn am_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Directory of one test, removed with its contents.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("oxcached-process-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        // A server that has changed its user must still be able to write here.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(super) fn wait_for(&self, name: &str) -> String {
        let path = self.path(name);
        until(name, || path.exists());
        fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that was free a moment ago, for TCP and UDP.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// A command line, with `-u root` if needed.
pub(super) fn command(args: &[&str]) -> Command {
    let mut command = bare_command(args);
    if am_root() {
        command.args(["-u", "root"]);
    }
    command
}

pub(super) fn bare_command(args: &[&str]) -> Command {
    let mut command = crate::program();
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("MEMCACHED_PORT_FILENAME").env_remove("RUST_LOG");
    command
}

/// Runs a command line that must end by itself: exit code and stderr.
pub(super) fn fails(command: Command) -> (Option<i32>, String) {
    let process = Process { child: Some({ command }.spawn().unwrap()) };
    let (status, text) = process.end();
    (status.code(), text)
}

/// A running server.
pub(super) struct Process {
    pub(super) child: Option<Child>,
}

impl Process {
    /// Starts a server and waits for its port file `ports` in `scratch`.
    pub(super) fn start(scratch: &Scratch, args: &[&str]) -> Self {
        Self::start_by(scratch, command(args))
    }

    /// Starts a server with the given command line.
    pub(super) fn start_by(scratch: &Scratch, mut command: Command) -> Self {
        let _ = fs::remove_file(scratch.path("ports"));
        let child = command.env("MEMCACHED_PORT_FILENAME", scratch.path("ports")).spawn().unwrap();
        let mut process = Self { child: Some(child) };
        process.up("port file", || scratch.path("ports").exists());
        process
    }

    /// Waits for `sign`, with a clear failure if the server ends instead.
    pub(super) fn up(&mut self, what: &str, mut sign: impl FnMut() -> bool) {
        until(what, || {
            let gone = self.child.as_mut().unwrap().try_wait().unwrap();
            if let Some(status) = gone {
                let mut text = String::new();
                let _ = self.child.as_mut().unwrap().stderr.take().unwrap().read_to_string(&mut text);
                panic!("server ended with {status}: {text}");
            }
            sign()
        });
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(super) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for the end: status and stderr.
    pub(super) fn end(mut self) -> (ExitStatus, String) {
        let mut child = self.child.take().unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() && start.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(2));
        }
        let late = child.try_wait().unwrap().is_none();
        if late {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(!late, "did not end; said: {text}");
        (status, text)
    }

    pub(super) fn stop(self, name: &str) -> (Option<i32>, String) {
        self.signal(name);
        let (status, text) = self.end();
        assert_eq!(status.signal(), None, "killed by a signal");
        (status.code(), text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(super) fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
    assert!(status.success());
}

pub(super) fn quiet() -> (Option<i32>, String) {
    (Some(0), String::new())
}

/// Ports in the port file, by kind of line.
fn ports(scratch: &Scratch) -> BTreeMap<String, Vec<u16>> {
    let mut ports = BTreeMap::<_, Vec<u16>>::new();
    for line in fs::read_to_string(scratch.path("ports")).unwrap().lines() {
        let (kind, port) = line.split_once(": ").unwrap();
        ports.entry(kind.to_owned()).or_default().push(port.parse().unwrap());
    }
    ports
}

#[test]
fn the_port_file_names_every_socket_of_the_list() {
    let scratch = Scratch::new();
    let server =
        Process::start(&scratch, &["-l", "127.0.0.1,127.0.0.1:-1;proto[ascii]:127.0.0.1", "-p", "-1", "-U", "-1"]);
    let found = ports(&scratch);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["TCP INET", "UDP INET"]);
    assert_eq!((found["TCP INET"].len(), found["UDP INET"].len()), (3, 3));
    for port in &found["TCP INET"] {
        TcpStream::connect(("127.0.0.1", *port)).unwrap();
    }
    assert!(!scratch.path("ports.lck").exists());
    assert_eq!(server.stop("TERM"), quiet());
}

/// Upstream's t/issue_67.t, with free ports in place of fixed ones.
#[test]
fn tcp_and_udp_ports_follow_from_each_other() {
    #[derive(Clone, Copy, Debug)]
    enum Want {
        None,
        Any,
        Port(u16),
    }
    use Want::{Any, None, Port};
    let (a, b) = (free_port(), free_port());
    let (p, q) = (a.to_string(), b.to_string());
    let cases: [(&[&str], Want, Want); 9] = [
        (&["-p", &p], Port(a), None),
        (&["-U", &p], Port(a), Port(a)),
        (&["-p", "-1"], Any, None),
        (&["-U", "-1"], Any, Any),
        (&["-p", "0"], None, None),
        (&["-p", &p, "-U", &q], Port(a), Port(b)),
        (&["-p", &p, "-U", "0"], Port(a), None),
        (&["-p", "-1", "-U", &q], Any, Port(b)),
        (&["-p", &p, "-U", "-1"], Port(a), Any),
    ];
    for (args, tcp, udp) in cases {
        let scratch = Scratch::new();
        let server = Process::start(&scratch, args);
        let found = ports(&scratch);
        for (name, want) in [("TCP", tcp), ("UDP", udp)] {
            let got = found.get(&format!("{name} INET")).or_else(|| found.get(&format!("{name} INET6")));
            let right = match want {
                None => got.is_none(),
                Any => got.is_some_and(|p| p[0] != 0 && p[0] != 11211),
                Port(port) => got.is_some_and(|p| *p == [port]),
            };
            assert!(right, "{args:?}: {name} should be {want:?}, is {got:?}");
        }
        assert_eq!(server.stop("TERM"), quiet());
    }
}

#[test]
fn a_unix_socket_has_its_mode_and_outlives_the_server() {
    let scratch = Scratch::new();
    let path = scratch.path("sock");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    for (args, expected) in [(&[][..], 0o700), (&["-a", "770"][..], 0o770)] {
        let mut all = vec!["-s", path.to_str().unwrap(), "-p", "-1"];
        all.extend(args);
        let child = command(&all).env("MEMCACHED_PORT_FILENAME", scratch.path("ports")).spawn().unwrap();
        let mut server = Process { child: Some(child) };
        server.up("unix socket", || UnixStream::connect(&path).is_ok());
        assert_eq!(mode(), expected);
        assert!(!scratch.path("ports").exists(), "a unix socket has no port");
        assert_eq!(server.stop("TERM"), quiet());
        assert!(fs::metadata(&path).unwrap().file_type().is_socket(), "left for the next start to replace");
    }
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_living_one_or_a_file_is_kept() {
    let scratch = Scratch::new();
    let path = scratch.path("sock");
    drop(UnixListener::bind(&path).unwrap());
    let mut server = Process { child: Some(command(&["-s", path.to_str().unwrap()]).spawn().unwrap()) };
    server.up("unix socket", || UnixStream::connect(&path).is_ok());

    // A second server is refused, and the first keeps its socket.
    let (code, text) = fails(command(&["-s", path.to_str().unwrap()]));
    assert_eq!(code, Some(71));
    let why = "a running server listens on it";
    assert_eq!(text, format!("failed to listen on UNIX socket: {}: {why}\n", path.display()));
    UnixStream::connect(&path).unwrap();
    assert_eq!(server.stop("INT"), quiet());

    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    let (code, text) = fails(command(&["-s", path.to_str().unwrap()]));
    assert_eq!(code, Some(71));
    let why = "Address already in use";
    assert_eq!(text, format!("bind(): {why}\nfailed to listen on UNIX socket: {}: {why}\n", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn the_pid_file_of_a_foreground_server_stays() {
    let scratch = Scratch::new();
    let path = scratch.text("pid");
    let server = Process::start(&scratch, &["-p", "-1", "-P", &path]);
    let pid = server.pid();
    assert_eq!(scratch.wait_for("pid"), format!("{pid}\n"));
    assert!(!scratch.path("pid.tmp").exists());

    // A second server finds the first alive, reports it, and takes the file over.
    let second = Process::start(&scratch, &["-p", "-1", "-P", &path]);
    let new = format!("{}\n", second.pid());
    until("second pid", || fs::read_to_string(scratch.path("pid")).unwrap() == new);
    let warning = format!("WARNING: The pid file contained the following (running) pid: {pid}\n");
    assert_eq!(second.stop("TERM"), (Some(0), warning));
    assert_eq!(server.stop("TERM"), quiet());
    assert_eq!(scratch.wait_for("pid"), new);
}

#[test]
fn an_unwritable_pid_file_is_only_a_warning() {
    let scratch = Scratch::new();
    let path = scratch.text("no/pid");
    let server = Process::start(&scratch, &["-p", "-1", "-P", &path]);
    let text = format!("Could not open the pid file {path}.tmp for writing: No such file or directory\n");
    assert_eq!(server.stop("TERM"), (Some(0), text));
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// Whether the process has ended, or only waits to be reaped by init. Its first thread may end before the others,
/// which keep its files open.
pub(super) fn ended(pid: u32) -> bool {
    const THREADS: usize = 17;
    stat(pid).is_none_or(|fields| fields[0] == "Z" && fields[THREADS].parse::<u32>().unwrap() <= 1)
}

#[test]
fn a_daemon_detaches_and_removes_its_pid_file() {
    let scratch = Scratch::new();
    let here = std::env::current_dir().unwrap();
    for (extra, cwd, null) in
        [(&[][..], Path::new("/"), true), (&["-v"][..], Path::new("/"), false), (&["-r"][..], &here, true)]
    {
        let path = scratch.text("pid");
        let mut all = vec!["-d", "-p", "-1", "-P", &path];
        all.extend(extra);
        // Not a pipe: it would stay open as long as the daemon holds it.
        let status =
            command(&all).stdout(Stdio::null()).stderr(fs::File::create(scratch.path("err")).unwrap()).status();
        assert_eq!(status.unwrap().code(), Some(0));
        let pid: u32 = scratch.wait_for("pid").trim().parse().unwrap();
        assert_eq!(stat(pid).unwrap()[3], pid.to_string(), "leads its session");
        let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
        assert_eq!(link("cwd"), cwd, "{extra:?}");
        assert_eq!(link("fd/2") == Path::new("/dev/null"), null, "{extra:?}");
        signal(pid, "TERM");
        until("end of the daemon", || ended(pid));
        assert!(!scratch.path("pid").exists());
        let said = if null { "" } else { "Exiting normally\n" };
        assert_eq!(scratch.wait_for("err"), said);
    }
}

#[test]
fn a_daemon_resolves_relative_paths_from_its_start_directory() {
    let scratch = Scratch::new();
    let start = |args: &[&str]| {
        let mut command = command(args);
        command.current_dir(&scratch.0).env("MEMCACHED_PORT_FILENAME", "ports");
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(0));
        scratch.wait_for("pid").trim().parse::<u32>().unwrap()
    };
    let end = |pid, name: &str| {
        signal(pid, name);
        until("end of the daemon", || ended(pid));
        assert!(!scratch.path("pid").exists());
    };
    fs::write(scratch.path("users"), "user:word\n").unwrap();
    let all = ["-d", "-m", "8", "-p", "-1", "-l", "127.0.0.1", "-P", "pid", "-e", "image", "-Y", "users"];
    let pid = start(&all);
    let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    assert_eq!(ask(&mut stream, "set a 0 0 9\r\nuser word", "STORED"), "STORED\r\n");
    assert_eq!(ask(&mut stream, "set kept 0 0 1\r\nx", "STORED"), "STORED\r\n");
    let settings = ask(&mut stream, "stats settings", "END");
    assert!(settings.contains("STAT memory_file image\r\n") && settings.contains("STAT auth_enabled_ascii users\r\n"));
    fs::write(scratch.path("users"), "user:new\n").unwrap();
    signal(pid, "HUP");
    until("the new password", || {
        let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
        ask(&mut stream, "set a 0 0 8\r\nuser new", "") == "STORED\r\n"
    });
    end(pid, "USR1");
    assert!(scratch.path("image.meta").exists());
    let pid = start(&all);
    let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    assert_eq!(ask(&mut stream, "set a 0 0 8\r\nuser new", "STORED"), "STORED\r\n");
    assert_eq!(ask(&mut stream, "get kept", "END"), "VALUE kept 0 1\r\nx\r\nEND\r\n");
    end(pid, "TERM");
    let pid = start(&["-d", "-P", "pid", "-s", "socket"]);
    UnixStream::connect(scratch.path("socket")).unwrap();
    end(pid, "TERM");
}

#[test]
fn a_daemon_finds_the_relative_sasl_file_again() {
    let scratch = Scratch::new();
    fs::write(scratch.path("users"), "user:word\n").unwrap();
    let mut started = command(&["-d", "-S", "-p", "-1", "-l", "127.0.0.1", "-P", "pid"]);
    started.current_dir(&scratch.0).env("MEMCACHED_PORT_FILENAME", "ports").env("MEMCACHED_SASL_PWDB", "users");
    let status = started.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(0));
    let pid = scratch.wait_for("pid").trim().parse::<u32>().unwrap();
    let admits = |password: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
        let mut packet = vec![0; 24];
        packet[..4].copy_from_slice(&[0x80, 0x21, 0, 5]);
        packet.extend_from_slice(format!("PLAIN\0user\0{password}").as_bytes());
        packet[11] = packet.len() as u8 - 24;
        stream.write_all(&packet).unwrap();
        let mut reply = [0; 24];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..2], [0x81, 0x21]);
        reply[7] == 0
    };
    assert!(admits("word") && !admits("new"));
    fs::write(scratch.path("users"), "user:new\n").unwrap();
    signal(pid, "HUP");
    until("the new password", || admits("new"));
    assert!(!admits("word"));
    signal(pid, "TERM");
    until("end of the daemon", || ended(pid));
}

#[test]
fn root_needs_a_user() {
    if !am_root() {
        return;
    }
    let must = (Some(64), "must add '-u root' to start as root\n".to_owned());
    assert_eq!(fails(bare_command(&["-p", "-1"])), must);
    assert_eq!(fails(bare_command(&["-p", "-1", "-u", ""])), must);
    let unknown = "can't find the user no-such-user to switch to\n".to_owned();
    assert_eq!(fails(bare_command(&["-u", "no-such-user"])), (Some(67), unknown));
}

#[test]
fn root_becomes_the_user_before_anything_is_opened() {
    if !am_root() {
        return;
    }
    let Some(nobody) = oxcached::sys::user::find_account(b"nobody") else { return };
    let scratch = Scratch::new();
    let path = scratch.path("sock");
    let mut server =
        Process { child: Some(bare_command(&["-s", path.to_str().unwrap(), "-u", "nobody"]).spawn().unwrap()) };
    server.up("unix socket", || UnixStream::connect(&path).is_ok());
    assert_eq!(fs::metadata(&path).unwrap().uid(), nobody.uid);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        line[name.len()..].split_ascii_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<u32>>()
    };
    assert_eq!((field("Uid:"), field("Gid:")), (vec![nobody.uid; 4], vec![nobody.gid; 4]));
    assert_eq!(field("Groups:"), Vec::<u32>::new());
    assert_eq!(server.stop("TERM"), quiet());
}

#[test]
fn the_descriptor_limit_is_the_connection_limit() {
    let scratch = Scratch::new();
    let server = Process::start(&scratch, &["-p", "-1", "-c", "321", "-r"]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|l| l.starts_with(name)).unwrap();
        let mut words = line[name.len()..].split_ascii_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    };
    assert_eq!(limit("Max open files"), ("321".to_owned(), "321".to_owned()));
    let (soft, hard) = limit("Max core file size");
    assert_eq!(soft, hard);
    assert_eq!(server.stop("TERM"), quiet());
    assert_eq!(fails(command(&["-p", "-1", "-c", "5"])).0, Some(1));
}

#[test]
fn large_pages_are_used_or_refused() {
    const STATE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    let there = fs::read_to_string(STATE).is_ok_and(|text| !text.contains("[never]"));
    if there {
        let scratch = Scratch::new();
        let server = Process::start(&scratch, &["-L", "-p", "-1", "-l", "127.0.0.1"]);
        let port = ports(&scratch)["TCP INET"][0];
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        ask(&mut client, "set a 0 0 1\r\nx", "STORED");
        server.signal("TERM");
        assert_eq!(server.end().0.code(), Some(0));
    } else {
        let (code, text) = fails(command(&["-L", "-p", "0"]));
        assert_eq!(code, Some(1));
        assert!(text.starts_with("Transparent huge pages support "), "{text}");
        assert!(text.contains("\nWill use default page size.\nCannot enable large pages on this system\n"), "{text}");
    }
}

#[test]
fn signals_end_the_server_with_code_0() {
    let graceful = "Gracefully stopping\n";
    let threads = "stopped assoc\nasking workers to stop\nasking background threads to stop\nstopped lru crawler\n\
                   stopped maintainer\nstopped slab mover\nstopped logger thread\nstopped idle timeout thread\n\
                   closing connections\nreaping worker threads\nall background threads stopped\n";
    let both = format!("{graceful}{threads}");
    for (verbose, name, said) in [
        (false, "INT", ""),
        (true, "INT", "Exiting normally\n"),
        (false, "TERM", ""),
        (true, "TERM", "Exiting normally\n"),
        (false, "USR1", graceful),
        (true, "USR1", &both),
    ] {
        let scratch = Scratch::new();
        let args: &[&str] = if verbose { &["-p", "-1", "-v"] } else { &["-p", "-1"] };
        let server = Process::start(&scratch, args);
        let port = ports(&scratch)["TCP INET"][0];
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(server.stop(name), (Some(0), said.to_owned()), "{name}, verbose: {verbose}");
        // The client sees the end of its connection, in any form.
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let end = client.read(&mut [0; 16]);
        assert!(matches!(&end, Ok(0)) || end.as_ref().is_err_and(|e| e.kind() == ConnectionReset), "{end:?}");
    }
}

#[test]
fn sighup_changes_nothing_visible() {
    let scratch = Scratch::new();
    let server = Process::start(&scratch, &["-p", "-1", "-v"]);
    let port = ports(&scratch)["TCP INET"][0];
    for _ in 0..3 {
        server.signal("HUP");
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
    assert_eq!(server.stop("TERM"), (Some(0), "Exiting normally\n".to_owned()));
}

#[test]
fn sigpipe_is_ignored() {
    let scratch = Scratch::new();
    let server = Process::start(&scratch, &["-p", "-1"]);
    server.signal("PIPE");
    assert_eq!(server.stop("TERM"), quiet());
}

#[test]
fn a_port_in_use_is_code_71() {
    let scratch = Scratch::new();
    let server = Process::start(&scratch, &["-p", "-1", "-l", "127.0.0.1"]);
    let tcp = ports(&scratch)["TCP INET"][0].to_string();
    // Not a second server: two datagram sockets with SO_REUSEADDR may share a port.
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = datagrams.local_addr().unwrap().port().to_string();
    for (args, what) in [
        (vec!["-p", &tcp, "-l", "127.0.0.1"], "one of interface(s) 127.0.0.1".to_owned()),
        (vec!["-p", "0", "-U", &udp, "-l", "127.0.0.1"], "one of interface(s) 127.0.0.1".to_owned()),
        (vec!["-l", &format!("127.0.0.1:{tcp}")], format!("one of interface(s) 127.0.0.1:{tcp}")),
    ] {
        let said = format!("failed to listen on {what}: Address already in use\n");
        assert_eq!(fails(command(&args)), (Some(71), said));
    }
    assert_eq!(server.stop("TERM"), quiet());

    // A given port is held on every family, so that none is left for the second server.
    let port = free_port();
    let server = Process::start(&scratch, &["-p", &port.to_string()]);
    let said = format!("failed to listen on TCP port {port}: Address already in use\n");
    assert_eq!(fails(command(&["-p", &port.to_string()])), (Some(71), said));
    assert_eq!(server.stop("TERM"), quiet());
}

#[test]
fn a_bad_listen_list_is_code_71() {
    for (list, complaint) in [
        ("[::1", "Invalid IPV6 address: \"[::1\""),
        ("[::1]:x", "Invalid port number: \"x\"\n"),
        ("proto[ascii:127.0.0.1", "Invalid protocol spec: \"[ascii:127.0.0.1\"\n"),
        ("proto[proxy]:127.0.0.1", "Server not built with proxy: \"proto[proxy\"\n"),
        ("tag[123456789]:127.0.0.1", "Listener tags must be between 1 and 8 characters: \"123456789\"\n"),
        ("notls:127.0.0.1", "'notls' option is valid only when SSL is enabled\n"),
        ("mtls:127.0.0.1", "'otls' option is valid only when SSL is enabled\n"),
    ] {
        let said = format!("{complaint}failed to listen on one of interface(s) {list}: Success\n");
        assert_eq!(fails(command(&["-p", "-1", "-l", list])), (Some(71), said));
    }
    let why = "Cannot assign requested address";
    let said = format!("bind(): {why}\nfailed to listen on one of interface(s) 203.0.113.9: {why}\n");
    assert_eq!(fails(command(&["-p", "-1", "-l", "203.0.113.9"])), (Some(71), said));
}

#[test]
fn verbose_twice_lists_slab_classes_and_listeners() {
    let scratch = Scratch::new();
    let server =
        Process::start(&scratch, &["-p", "-1", "-U", "-1", "-t", "2", "-l", "127.0.0.1;proto[ascii]:127.0.0.1", "-vv"]);
    let (code, text) = server.stop("TERM");
    assert_eq!(code, Some(0));
    assert!(text.starts_with("slab class   1: chunk size        96 perslab "), "{text}");
    assert!(text.contains("\nslab class  39: chunk size    524288 perslab       "), "{text}");
    let words: Vec<&str> = text.lines().filter_map(|l| l.split_once(" server listening ")).map(|(_, w)| w).collect();
    let mut expected = vec!["(auto-negotiate)", "(ascii)"];
    expected.extend(["(udp)"; 4]);
    assert_eq!(words, expected, "{text}");
    // A worker may take its datagram sockets only after the signal.
    assert!(text.contains(" send buffer was ") && text.contains("Exiting normally\n"), "{text}");
}

/// Sends a line and reads the reply, up to its last line `end`.
fn ask(stream: &mut TcpStream, line: &str, end: &str) -> String {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    let (mut reply, mut bytes) = (String::new(), [0; 4096]);
    while !reply.ends_with(&format!("{end}\r\n")) {
        let length = stream.read(&mut bytes).unwrap();
        assert_ne!(length, 0, "closed after {reply:?}");
        reply.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    reply
}

#[test]
fn the_verbosity_command_starts_and_stops_connection_lines() {
    let scratch = Scratch::new();
    let err = scratch.path("err");
    let child = command(&["-l", "127.0.0.1", "-p", "-1", "-U", "0"])
        .env("MEMCACHED_PORT_FILENAME", scratch.path("ports"))
        .stderr(fs::File::create(&err).unwrap())
        .spawn();
    let mut server = Process { child: Some(child.unwrap()) };
    server.up("port file", || scratch.path("ports").exists());
    let port = ports(&scratch)["TCP INET"][0];
    let said = || fs::read_to_string(&err).unwrap();

    let count = |admin: &mut TcpStream| {
        let stats = ask(admin, "stats", "END");
        stats.lines().find(|line| line.starts_with("STAT curr_connections ")).unwrap().to_owned()
    };
    let mut admin = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let alone = count(&mut admin);
    assert_eq!(said(), "");
    ask(&mut admin, "verbosity 2", "OK");
    // A separate thread writes log lines.
    until("the reply", || said().ends_with(" OK\n"));
    let reply = said();
    let me = reply.strip_prefix('>').and_then(|line| line.strip_suffix(" OK\n")).expect(&reply);

    let mut guest = TcpStream::connect(("127.0.0.1", port)).unwrap();
    ask(&mut guest, "get a", "END");
    drop(guest);
    until("end of the guest", || said().ends_with(" connection closed.\n"));
    let guests = said()[reply.len()..].to_owned();
    let fd = guests.strip_prefix('<').and_then(|line| line.split_once(' ')).expect(&guests).0;
    let lines = [
        format!("<{fd} new auto-negotiating client connection"),
        format!("{fd}: Client using the ascii protocol"),
        format!("<{fd} get a"),
        format!(">{fd} END"),
        format!("<{fd} connection closed."),
    ];
    assert_eq!(guests.lines().collect::<Vec<_>>(), lines);

    ask(&mut admin, "verbosity 0", "OK");
    until("the last command", || said().ends_with(" verbosity 0\n"));
    let before = said();
    assert_eq!(before, format!("{reply}{guests}<{me} verbosity 0\n"), "the reply is no longer told");
    let mut guest = TcpStream::connect(("127.0.0.1", port)).unwrap();
    ask(&mut guest, "get a", "END");
    drop(guest);
    until("end of the second guest", || count(&mut admin) == alone);
    assert_eq!(said(), before);
}

#[test]
fn no_key_forges_a_line_of_the_log() {
    let scratch = Scratch::new();
    let err = scratch.path("err");
    let child = command(&["-l", "127.0.0.1", "-p", "-1", "-t", "1", "-vvv"])
        .env("MEMCACHED_PORT_FILENAME", scratch.path("ports"))
        .stderr(fs::File::create(&err).unwrap())
        .spawn();
    let mut server = Process { child: Some(child.unwrap()) };
    server.up("port file", || scratch.path("ports").exists());
    let mut client = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    // x CR LF EN CR LF
    ask(&mut client, "mg eA0KRU4NCg== b v", "EN");
    ask(&mut client, "ms eA0KRU4NCg== 1 b\r\n1", "HD");
    ask(&mut client, "mg eA0KRU4NCg== b v k", "1");
    ask(&mut client, "verbosity 3", "OK");
    let said = || fs::read_to_string(&err).unwrap();
    until("the last reply", || said().ends_with(" OK\n"));
    for line in [r"> NOT FOUND x\r\nEN\r\n", r"> FOUND KEY x\r\nEN\r\n"] {
        assert_eq!(said().lines().filter(|said| *said == line).count(), 1, "{line} in {}", said());
    }
    assert!(!said().contains('\r') && said().lines().all(|line| line != "EN"), "{}", said());
    server.signal("TERM");
    assert_eq!(server.child.as_mut().unwrap().wait().unwrap().code(), Some(0));
}

#[test]
fn memory_beyond_short_handles_is_used_or_refused() {
    let scratch = Scratch::new();
    let server = Process::start(&scratch, &["-m", "200000", "-p", "-1", "-l", "127.0.0.1"]);
    let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    assert_eq!(ask(&mut stream, "set key 0 0 5\r\nvalue", "STORED"), "STORED\r\n");
    assert_eq!(ask(&mut stream, "get key", "END"), "VALUE key 0 5\r\nvalue\r\nEND\r\n");
    assert!(ask(&mut stream, "stats", "END").contains("STAT limit_maxbytes 209715200000\r\n"));
    assert_eq!(ask(&mut stream, "cache_memlimit 250000", "OK"), "OK\r\n");
    server.stop("INT");
    let (code, text) = fails(command(&["-m", "50000000", "-p", "0", "-s", &scratch.text("socket")]));
    assert_eq!((code, text.as_str()), (Some(1), "Failed to reserve address space for item memory\n"));
    let image = scratch.text("image");
    let (code, text) = fails(command(&["-m", "200000", "-e", &image, "-p", "0", "-s", &scratch.text("socket")]));
    assert!(code == Some(1) && text.contains("a memory file has 128 GB at most"), "{text}");
}

/// `command` under a limit of the shell's `ulimit`.
fn limited(limit: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "sh"]).arg(command.get_program());
    shell.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.env_remove("MEMCACHED_PORT_FILENAME").env_remove("RUST_LOG");
    shell
}

/// Sends `count` values of 50,000 bytes; returns how many were stored.
fn fill(stream: &mut TcpStream, count: u32) -> usize {
    let value = "x".repeat(50_000);
    let mut set = |number| ask(stream, &format!("set key{number} 0 0 {}\r\n{value}", value.len()), "");
    (0..count).filter(|&number| set(number) == "STORED\r\n").count()
}

#[test]
fn limited_address_space_is_shared_with_the_rest_of_the_process() {
    let scratch = Scratch::new();
    // Limits between powers of two, of which an arena might leave only a part that is too small; in megabytes.
    for (limit, of) in [("-v", 300), ("-v", 450), ("-v", 560), ("-v", 1100), ("-v", 4200), ("-d", 300), ("-d", 1100)] {
        let limit = format!("{limit} {}", of * 1024);
        let command = command(&["-m", "64", "-p", "-1", "-l", "127.0.0.1"]);
        let server = Process::start_by(&scratch, limited(&limit, &command));
        let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
        assert_eq!(fill(&mut stream, 600), 600, "{limit}");
        let stats = ask(&mut stream, "stats", "END");
        assert!(
            stats.contains("STAT curr_items 600\r\n") && stats.contains("STAT evictions 0\r\n"),
            "{limit}: {stats}"
        );
        assert_eq!(server.stop("TERM"), quiet(), "{limit}");
    }
}

#[test]
fn a_small_stack_is_enough() {
    let scratch = Scratch::new();
    let command = command(&["-m", "64", "-p", "-1", "-l", "127.0.0.1"]);
    let server = Process::start_by(&scratch, limited("-s 256", &command));
    let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    assert_eq!(fill(&mut stream, 10), 10);
    assert!(ask(&mut stream, "stats", "END").contains("STAT curr_items 10\r\n"));
    assert_eq!(server.stop("TERM"), quiet());
}

#[test]
fn a_memory_limit_beyond_the_address_space_is_reduced() {
    let scratch = Scratch::new();
    let command = command(&["-m", "4096", "-p", "-1", "-l", "127.0.0.1"]);
    let server = Process::start_by(&scratch, limited("-v 600000", &command));
    let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    assert_eq!(fill(&mut stream, 8000), 8000, "items make room for each other");
    let stats = ask(&mut stream, "stats", "END");
    assert!(stats.contains("STAT limit_maxbytes 4294967296\r\n") && !stats.contains("STAT evictions 0\r\n"), "{stats}");
    let (code, text) = server.stop("TERM");
    let warned = text.starts_with("warning: address space for ") && text.ends_with(" MB of the 4096 MB of -m only\n");
    assert!(code == Some(0) && warned, "{text}");
    let (code, text) = fails(limited("-v 90000", &self::command(&["-p", "-1"])));
    assert_eq!((code, text.as_str()), (Some(1), "Failed to reserve address space for item memory\n"));
}

#[test]
fn a_memory_file_beyond_the_address_space_is_refused_with_the_reason() {
    let (mut served, mut refused) = (0, 0);
    for megabytes in [40, 70, 100, 130, 160, 200, 250, 300, 450] {
        let scratch = Scratch::new();
        let image = scratch.text("image");
        let mut command = limited(
            &format!("-v {}", megabytes * 1024),
            &command(&["-e", &image, "-m", "64", "-t", "1", "-p", "-1", "-l", "127.0.0.1"]),
        );
        command.env("MEMCACHED_PORT_FILENAME", scratch.path("ports"));
        let mut server = Process { child: Some(command.spawn().unwrap()) };
        let mut status = None;
        until("port file or end", || {
            status = server.child.as_mut().unwrap().try_wait().unwrap();
            status.is_some() || scratch.path("ports").exists()
        });
        if status.is_none() {
            let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
            assert_eq!(fill(&mut stream, 600), 600, "{megabytes} MB");
            assert_eq!(server.stop("TERM").0, Some(0), "{megabytes} MB");
            served += 1;
        } else {
            let (status, text) = server.end();
            assert_eq!(status.code(), Some(1), "{megabytes} MB: {status}: {text}");
            let reasons = [
                "/image: failed to mmap, aborting: Cannot allocate memory\n",
                "Failed to reserve address space for item memory\n",
            ];
            assert!(reasons.iter().any(|reason| text.ends_with(reason)), "{megabytes} MB: {text}");
            refused += 1;
        }
    }
    assert!(served > 0 && refused > 0, "{served} served, {refused} refused");
}

#[test]
fn the_server_runs_unlocked_if_locking_is_not_permitted() {
    let scratch = Scratch::new();
    let mut command = bare_command(&["-k", "-m", "64", "-p", "-1", "-l", "127.0.0.1"]);
    if am_root() {
        command.args(["-u", "nobody"]);
    }
    let server = Process::start_by(&scratch, limited("-l 8192", &command));
    let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    assert_eq!(fill(&mut stream, 600), 600);
    let (code, text) = server.stop("TERM");
    assert_eq!(text, "warning: -k invalid, mlockall() failed: Cannot allocate memory\n");
    assert_eq!(code, Some(0));
}

#[test]
fn memory_is_locked_or_a_warning_is_printed() {
    let scratch = Scratch::new();
    let server = Process::start(&scratch, &["-k", "-m", "64", "-p", "-1", "-l", "127.0.0.1"]);
    // The port file is written before memory is locked, replies come after.
    let mut stream = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    ask(&mut stream, "mn", "MN");
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let locked: u64 = line.trim_end_matches("kB").trim().parse().unwrap();
    let (code, text) = server.stop("TERM");
    assert_eq!(code, Some(0));
    // The pages for items alone take more than 64 MB.
    assert!((locked > 64 << 10) != text.starts_with("warning: -k invalid, mlockall() failed: "), "{locked} kB, {text}");
}

#[test]
fn a_stalled_reader_of_standard_error_delays_no_client() {
    let scratch = Scratch::new();
    let mut server = Process::start(&scratch, &["-p", "-1", "-l", "127.0.0.1", "-t", "1", "-vv"]);
    let mut client = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    // The pipe takes 64 KB, the queue 1 MB: each request logs a line for itself and for its reply.
    let key = "k".repeat(240);
    let requests = format!("get {key}\r\n").repeat(100);
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    for _ in 0..60 {
        client.write_all(requests.as_bytes()).unwrap();
        client.read_exact(&mut [0; 500]).unwrap();
    }
    let dropped = |client: &mut TcpStream| {
        let stats = ask(client, "stats", "END");
        let row = stats.lines().find_map(|line| line.strip_prefix("STAT log_lines_dropped ")).map(str::to_owned);
        row.expect("lines were dropped").parse::<u64>().unwrap()
    };
    assert!(dropped(&mut client) > 0);
    // Once read, lines are whole and in order, with the number of dropped ones in their place.
    ask(&mut client, "verbosity 0", "OK");
    let all = dropped(&mut client);
    let mut text = String::new();
    let mut reader = BufReader::new(server.child.as_mut().unwrap().stderr.take().unwrap());
    let mut told = 0;
    while told < all {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "{text}");
        let lost = line.strip_suffix(" lines dropped here: standard error was not read\n");
        told += lost.map_or(0, |count| count.parse::<u64>().unwrap());
        text.push_str(&line);
    }
    let mut lines = text.lines().skip_while(|line| !line.contains(" get k"));
    let mut before = "";
    while let Some(line) = lines.next().filter(|line| !line.contains("dropped")) {
        let (is_request, was_request) = (line.starts_with('<'), before.starts_with('<'));
        assert!(is_request != was_request || before.is_empty(), "{before}\n{line}");
        assert!(line.ends_with(if is_request { key.as_str() } else { " END" }), "{line}");
        before = line;
    }
    assert_eq!(told, all);
    server.signal("TERM");
    assert_eq!(server.child.as_mut().unwrap().wait().unwrap().code(), Some(0));
}

#[test]
fn a_server_ends_with_unread_log_lines() {
    let scratch = Scratch::new();
    let mut server = Process::start(&scratch, &["-p", "-1", "-l", "127.0.0.1", "-vv"]);
    let mut client = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
    for _ in 0..100 {
        client.write_all(format!("get {}\r\n", "k".repeat(240)).repeat(10).as_bytes()).unwrap();
        client.read_exact(&mut [0; 50]).unwrap();
    }
    let unread = server.child.as_mut().unwrap().stderr.take();
    server.signal("TERM");
    until("the end", || server.child.as_mut().unwrap().try_wait().unwrap().is_some());
    assert_eq!(server.child.as_mut().unwrap().wait().unwrap().code(), Some(0));
    drop(unread);
}

/// A server that panics once, at `place`.
#[cfg(debug_assertions)]
fn with_trap(scratch: &Scratch, place: &str, args: &[&str]) -> (Process, u16) {
    let args = [&["-p", "-1", "-l", "127.0.0.1", "-t", "1"], args].concat();
    let mut command = command(&args);
    command.env("OXCACHED_TRAP", place).env("MEMCACHED_PORT_FILENAME", scratch.path("ports"));
    let _ = fs::remove_file(scratch.path("ports"));
    let mut server = Process { child: Some(command.spawn().unwrap()) };
    server.up("port file", || scratch.path("ports").exists());
    let port = ports(scratch)["TCP INET"][0];
    (server, port)
}

/// Reads up to the connection's end.
#[cfg(debug_assertions)]
fn read_to_end(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let end = stream.read_to_end(&mut Vec::new());
    assert!(end.is_ok() || end.as_ref().is_err_and(|e| e.kind() == ConnectionReset), "{end:?}");
}

#[cfg(debug_assertions)]
#[test]
fn a_contained_panic_costs_its_unit_of_work_and_is_counted() {
    let scratch = Scratch::new();
    let line = format!("{}\n", oxcached::auth::hash_line("user", b"password", 4096).unwrap());
    fs::write(scratch.path("users"), line).unwrap();
    let users = scratch.text("users");
    let login = "set auth 0 0 13\r\nuser password";
    for (place, thread, args, request) in [
        ("turn", "mc-worker", vec![], "foo"),
        ("logger", "mc-log", vec![], "watch"),
        ("auth", "mc-auth", vec!["-Y", &users], login),
    ] {
        let (server, port) = with_trap(&scratch, place, &args);
        let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut other, mut client) = (connect(), connect());
        if place != "auth" {
            ask(&mut other, "set a 0 0 1\r\nx", "STORED");
        }
        client.write_all(format!("{request}\r\n").as_bytes()).unwrap();
        if place == "auth" {
            assert_eq!(ask(&mut client, "", "logins").lines().next(), Some("SERVER_ERROR too many logins"));
            ask(&mut other, login, "STORED");
        } else {
            read_to_end(&mut client);
            assert_eq!(ask(&mut connect(), request, if place == "turn" { "ERROR" } else { "OK" }).lines().count(), 1);
        }
        assert!(ask(&mut other, "stats", "END").contains("STAT thread_panics 1\r\n"), "{place}");
        let (code, text) = server.stop("TERM");
        assert_eq!(code, Some(0), "{place}: {text}");
        assert!(text.starts_with(&format!("thread '{thread}' panicked at src/")), "{text}");
        assert!(text.contains(&format!(": the trap `{place}`\n")), "{text}");
    }
}

#[cfg(debug_assertions)]
#[test]
fn an_uncontained_panic_ends_the_process_with_a_core() {
    for (place, thread, request, why) in [
        ("locked", "mc-worker", "stats reset", "a lock of the store is held"),
        ("worker", "mc-worker", "", "the thread cannot go on"),
        ("chores", "mc-assocmaint", "", "the thread cannot go on"),
        ("mover", "mc-slabmaint", "", "the thread cannot go on"),
        ("main", "main", "", "the thread cannot go on"),
    ] {
        let scratch = Scratch::new();
        let args = ["-p", "-1", "-l", "127.0.0.1", "-v"];
        let mut command = command(&args);
        command.env("OXCACHED_TRAP", place).env("MEMCACHED_PORT_FILENAME", scratch.path("ports"));
        let mut server = Process { child: Some(command.spawn().unwrap()) };
        // A background thread may be faster than the port file.
        until("port file or end", || {
            scratch.path("ports").exists() || server.child.as_mut().unwrap().try_wait().unwrap().is_some()
        });
        let port = scratch.path("ports").exists().then(|| ports(&scratch)["TCP INET"][0]);
        if let Some(Ok(mut client)) = port.map(|port| TcpStream::connect(("127.0.0.1", port)))
            && client.write_all(format!("{request}\r\n").as_bytes()).is_ok()
        {
            read_to_end(&mut client);
        }
        let (status, text) = server.end();
        assert_eq!(status.signal(), Some(6), "{place}: {text}");
        let said = text.find(&format!("thread '{thread}' panicked at src/")).expect(&text);
        assert!(text[said..].contains(&format!(": the trap `{place}`\n")), "{text}");
        assert!(text.ends_with(&format!("oxcached ends: {why}\n")), "{text}");
    }
}

/// A pipe with no space, or with less than the message of the panic.
#[cfg(debug_assertions)]
#[test]
fn a_panic_ends_the_process_while_standard_error_is_not_read() {
    const PAGE: usize = 4096;
    for free in [0, PAGE] {
        let (mut unread, stderr) = std::io::pipe().unwrap();
        // The pipe again, opened so that writes do not wait.
        let again = format!("/proc/self/fd/{}", stderr.as_raw_fd());
        let mut filler = fs::File::options().write(true).custom_flags(libc::O_NONBLOCK).open(again).unwrap();
        while filler.write(&[b'x'; PAGE]).is_ok() {}
        drop(filler);
        unread.read_exact(&mut [0; PAGE][..free]).unwrap();
        let scratch = Scratch::new();
        let mut command = command(&["-p", "-1", "-l", "127.0.0.1", "-t", "1"]);
        command.env("OXCACHED_TRAP", "locked").env("RUST_BACKTRACE", "full").stderr(stderr);
        let mut server = Process::start_by(&scratch, command);
        let mut client = TcpStream::connect(("127.0.0.1", ports(&scratch)["TCP INET"][0])).unwrap();
        client.write_all(b"stats reset\r\n").unwrap();
        until("the end", || server.child.as_mut().unwrap().try_wait().unwrap().is_some());
        assert_eq!(server.child.as_mut().unwrap().wait().unwrap().signal(), Some(6));
        let mut text = String::new();
        unread.read_to_string(&mut text).unwrap();
        let said = text.trim_start_matches('x');
        assert!(said.len() == free && (free == 0 || said.starts_with("thread 'mc-worker' panicked at")), "{said}");
    }
}
