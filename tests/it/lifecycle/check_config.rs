//! `--check-config` from outside: it reports what a start reports, and leaves no trace. Runs the real binary.

use crate::support::{DEADLINE, until};
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

fn am_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a command line that must end by itself: exit code, standard output, standard error.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxcached"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    let mut child = command.spawn().unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("{args:?} does not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (child.wait().unwrap().code(), out, err)
}

/// The arguments, and `-u root` where it is needed.
fn with_user<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let user: &[&str] = if am_root() { &["-u", "root"] } else { &[] };
    [args, user].concat()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

/// A start that fails, and the check of the same options, report the same.
#[test]
fn the_check_reports_what_a_start_reports() {
    let folder = Folder::new();
    let (users, token) = (folder.write("users", "no colon\n"), folder.write("token", "short\n"));
    let certificate = folder.write("chain.pem", "no certificate\n");
    let conf = folder.write("a.conf", "-d\n-l 127.0.0.1:x\n");
    let missing = folder.path("missing");
    let below_a_file = format!("{users}/memory");
    let ssl = format!("ssl_chain_cert={certificate},ssl_key={missing}");
    let nodes = format!("cluster_file={}", folder.write("nodes", "12\na|1\n"));
    let admin_token = format!("admin_token_file={token}");
    let cluster = format!("cluster_file={missing}");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["-Y", &missing], 1, "Could not open authfile"),
        (&["-Y", &users], 1, "malformed entry"),
        (&["-Y", &users, "-U", "5"], 64, "Cannot use UDP with ascii authentication enabled"),
        (&["-o", &nodes], 1, "line 2: a node must be host|ip|port"),
        (&["-Z", "-o", &ssl], 64, "chain.pem"),
        (&["-l", "notls:127.0.0.1"], 71, "'notls' option is valid only when SSL is enabled"),
        (&["-o", &cluster], 1, "missing"),
        (&["--config", &conf], 71, "left out, -d and -h"),
        (&["--config", &missing], 64, "cannot read the configuration file"),
        (&["--admin=0.0.0.0:0"], 64, "Other machines reach the admin address"),
        (&["--admin=no such name:0"], 71, "failed to listen on admin address"),
        (&["--admin=0", "-o", &admin_token], 1, "admin token"),
        (&["-e", &below_a_file], 1, "failed to open file for mmap: Not a directory"),
        (&["-e", folder.0.path().to_str().unwrap()], 1, "failed to open file for mmap: Is a directory"),
        (&["-e", &folder.path("none/memory")], 1, "failed to open file for mmap: No such file"),
        (&["-e", &folder.path("memory"), "-m", "140000"], 1, "a memory file has 128 GB at most"),
        (&["-o", "hashpower=12"], 1, "Hash table power size"),
        (&["-m", "0"], 64, "1/2 of memory max"),
        (&["-c", "0"], 1, "Maximum connections must be greater than 0"),
    ];
    for (args, code, complaint) in cases {
        // A start that nevertheless succeeds must not take a port that others use.
        let args = with_user(&[&["-p", "-1"], *args].concat());
        let started = run(&args);
        assert!(started.2.contains(complaint), "{args:?}: {started:?}");
        assert_eq!(started.0, Some(*code), "{args:?}: {started:?}");
        let checked = run(&[&args[..], &["--check-config"]].concat());
        assert_eq!(checked, started, "{args:?}");
    }
    if am_root() {
        for user in [&[][..], &["-u", "no such user"]] {
            assert_eq!(run(&[user, &["--check-config"]].concat()), run(user));
        }
    }
}

#[test]
fn a_check_leaves_no_trace() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (memory, pid, socket) = (folder.path("memory"), folder.path("pid"), folder.path("socket"));
    let text = format!("-l 127.0.0.1\n-p {port}\n-e {memory}\n-P {pid}\n--daemon\nlogfile x\n");
    let conf = folder.write("a.conf", &text);
    let (code, out, err) = run(&with_user(&["--config", &conf, "--check-config"]));
    assert_eq!((code, err), (Some(0), format!("WARNING: {conf}:6: left out, it begins with no dash: logfile x\n")));
    let expected = [
        ("-l 127.0.0.1", 1),
        (&format!("-p {port}"), 2),
        (&format!("-e {memory}"), 3),
        (&format!("-P {pid}"), 4),
        ("-d", 5),
    ];
    for ((text, line), listed) in expected.iter().zip(out.lines()) {
        let (option, place) = listed.split_once("  # ").unwrap();
        assert_eq!((option.trim_end(), place), (*text, format!("{conf}:{line}").as_str()));
    }
    let (code, _, _) = run(&with_user(&["-s", &socket, "--admin", &folder.path("admin"), "--check-config"]));
    assert_eq!(code, Some(0));
    let names: Vec<_> = fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a.conf"]);
}

/// The memory file of a server that runs can be checked beside it.
#[test]
fn a_check_beside_the_server() {
    let folder = Folder::new();
    let (memory, ports) = (folder.path("memory"), folder.path("ports"));
    let conf = folder.write("a.conf", &format!("-p -1\n-l 127.0.0.1\n-m 8\n-e {memory}\n-o idle_timeout=7\n"));
    let args = with_user(&["--config", &conf]);
    let mut server = Command::new(env!("CARGO_BIN_EXE_oxcached"));
    let mut server = server.args(&args).env("MEMCACHED_PORT_FILENAME", &ports).stderr(Stdio::null()).spawn().unwrap();
    until("port file", || fs::exists(&ports).unwrap());
    let checked = run(&[&args[..], &["--check-config"]].concat());
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!((checked.0, checked.2.as_str()), (Some(0), ""));
    assert!(checked.1.contains("-o idle_timeout=7"), "{}", checked.1);
}
