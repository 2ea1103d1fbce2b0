//! The file of a running server: read at start, again when it changes and at SIGHUP.

use crate::support::{DEADLINE, settings, until};
use oxcached::cluster::ClusterConfig;
use oxcached::server::{Server, StartError};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const OPTIONS: &str = "-p -1 -l 127.0.0.1 -t 1 -o cluster_file=";

/// Reply to `request`, which `end` ends.
fn ask(address: SocketAddr, request: &str, end: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    while !reply.ends_with(end) {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        reply.push(char::from(byte[0]));
    }
    reply
}

fn config(address: SocketAddr) -> String {
    let reply = ask(address, "config get cluster\r\n", "END\r\n");
    reply.split_once("\r\n").unwrap().1.strip_suffix("\r\nEND\r\n").unwrap().to_owned()
}

/// Value of a row of `stats`.
fn stat(address: SocketAddr, name: &str) -> String {
    let rows = ask(address, "stats\r\n", "END\r\n");
    let row = rows.lines().find_map(|row| row.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
    row.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

#[test]
fn a_server_follows_its_file() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("nodes");
    fs::write(&path, "3\na||1\n").unwrap();
    let server = Server::start(settings(&format!("{OPTIONS}{}", path.display()))).unwrap().spawn().unwrap();
    let address = server.addresses()[0];
    assert_eq!(config(address), "3\na||1\n");
    fs::write(&path, "4\na||1 b||2\n").unwrap();
    until("a file that was written over is read", || config(address) == "4\na||1 b||2\n");
    fs::write(scratch.path().join("other"), "5\nb||2\n").unwrap();
    fs::rename(scratch.path().join("other"), &path).unwrap();
    until("a file that took the place of another is read", || config(address) == "5\nb||2\n");
    fs::write(&path, "6\nb||\n").unwrap();
    until("a bad file is counted", || stat(address, "cluster_config_errors") == "1");
    assert_eq!(config(address), "5\nb||2\n");
    fs::remove_file(&path).unwrap();
    until("a missing file is counted", || stat(address, "cluster_config_errors") == "2");
    fs::write(&path, "6\nc||3\n").unwrap();
    until("a file that is there again is read", || config(address) == "6\nc||3\n");
    assert_eq!(stat(address, "cluster_config_changes"), "3");
    server.shutdown().unwrap();
}

#[test]
fn a_bad_file_refuses_the_start() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("nodes");
    let refused = || Server::start(settings(&format!("{OPTIONS}{}", path.display()))).err();
    let shown = path.display();
    let because =
        |complaint: &str| Some(StartError { code: 1, message: format!("cluster_file [{shown}]: {complaint}") });
    assert_eq!(refused(), because("No such file or directory"));
    fs::write(&path, "# none\n").unwrap();
    assert_eq!(refused(), because("it names no node"));
    fs::write(&path, "1\n\na|1\n").unwrap();
    assert_eq!(refused(), because("line 3: a node must be host|ip|port: \"a|1\""));
}

/// A server's program, ended with its test.
struct Program(Child);

impl Program {
    fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.0.id())]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(directory: &Path, args: &[&str]) -> (Program, SocketAddr) {
    let ports = directory.join("ports");
    let mut command = crate::program();
    command.args(["-l", "127.0.0.1", "-p", "-1", "-t", "1"]).args(args).current_dir(directory);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.args(["-u", "root"]);
    }
    command.env("MEMCACHED_PORT_FILENAME", &ports).env_remove("RUST_LOG");
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("it starts", || {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        ports.exists()
    });
    let text = fs::read_to_string(&ports).unwrap();
    let port: u16 = text.lines().find_map(|line| line.strip_prefix("TCP INET: ")).unwrap().parse().unwrap();
    (Program(child), ([127, 0, 0, 1], port).into())
}

#[test]
fn sighup_reads_the_file_again_and_complaints_name_it() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("nodes");
    fs::write(&path, "3\na||1\n").unwrap();
    let (mut program, address) = start(scratch.path(), &["-v", "-o", "cluster_file=nodes"]);
    assert_eq!(config(address), "3\na||1\n");
    fs::write(&path, "4\nb\n").unwrap();
    until("the change is noticed once", || stat(address, "cluster_config_errors") == "1");
    // A file that has not changed is read at a signal alone.
    program.signal("HUP");
    until("the signal is obeyed", || stat(address, "cluster_config_errors") == "2");
    fs::write(&path, "4\nb||1\n").unwrap();
    program.signal("HUP");
    until("the new file is read", || config(address) == "4\nb||1\n");
    program.signal("TERM");
    let mut said = String::new();
    program.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(program.0.wait().unwrap().success());
    let complaint = "cluster_file [nodes]: line 2: a node must be host|ip|port: \"b\"; the nodes stay as they were\n";
    assert_eq!(said.matches(complaint).count(), 2, "{said}");
    assert!(said.contains("cluster: version 4 with 1 nodes\n"), "{said}");
}

/// Lines of `text` behind `head`, as long as they are indented deeper than it.
fn block<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = text.lines().skip_while(|line| line.trim() != head);
    let depth = indent(lines.next().unwrap());
    lines.take_while(|line| indent(line) > depth).map(str::trim).filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_example_for_kubernetes_is_one_that_a_server_takes() {
    let text = include_str!("../../../contrib/kubernetes/oxcached.yaml");
    let nodes = ClusterConfig::parse(block(text, "nodes: |").join("\n").as_bytes(), 1).unwrap();
    assert_eq!((nodes.version(), nodes.nodes()), (1, 3));
    assert!(text.contains("\n  replicas: 3\n"), "as many as nodes");
    let args: Vec<_> =
        block(text, "args:").iter().map(|line| line.strip_prefix("- ").unwrap().trim_matches('"')).collect();
    let settings = settings(&args.join(" "));
    assert_eq!(settings.cluster_file.as_deref(), Some(Path::new("/etc/oxcached/nodes")));
    assert!(settings.admin.insecure && settings.maxbytes == 1 << 30);
    oxcached::settings::check_start(&settings).unwrap();
}
