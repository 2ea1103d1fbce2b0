//! Starting with TLS: option errors, rows of `stats`, and SIGHUP.

use super::harness::{Authority, Files, Host, settings, until};
use oxcached::server::Server;
use rustls::{ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

#[test]
fn unusable_options_are_code_64() {
    let files = Files::new();
    let dir = files.dir.path().display().to_string();
    files.write("other.pem", &Authority::new("other").sign("other").key);
    let (chain, key) = (format!("ssl_chain_cert={dir}/chain.pem"), format!("ssl_key={dir}/key.pem"));
    let good = format!("{chain},{key}");
    for (options, complaint) in [
        ("modern".to_owned(), "Error loading the certificate chain: -Z needs -o ssl_chain_cert=FILE"),
        (chain.clone(), "Error loading the key: -Z needs -o ssl_key=FILE"),
        (format!("ssl_chain_cert=/nowhere,{key}"), "Error loading the certificate chain: /nowhere : No such file"),
        (format!("{chain},ssl_key=/nowhere"), "Error loading the key: /nowhere : No such file or directory"),
        (
            format!("{chain},ssl_key={dir}/other.pem"),
            &format!("Error loading the key: {dir}/other.pem : key values mismatch"),
        ),
        (format!("{good},ssl_ca_cert=/nowhere"), "Error loading the CA certificate: /nowhere : No such file"),
        (
            format!("{good},ssl_ciphers=AES128-SHA"),
            "Error setting the provided cipher(s): AES128-SHA : selects none of the suites that exist here",
        ),
        (format!("{good},ssl_ciphers=ALL@X"), "Error setting the provided cipher(s): ALL@X : there is no @X"),
        (format!("{good},ssl_min_version=1"), "ssl_min_version: tlsv1.1 is not supported, the oldest is tlsv1.2 (2)"),
        (format!("{good},ssl_min_version=0"), "ssl_min_version: tlsv1.0 is not supported, the oldest is tlsv1.2 (2)"),
        (format!("{good},ssl_keyformat=3"), &format!("Error loading the key: {dir}/key.pem : ssl_keyformat 3 is not")),
        (format!("{good},ssl_keyformat=2"), &format!("Error loading the key: {dir}/key.pem : ")),
    ] {
        let error = Server::start(settings(&format!("-p -1 -l 127.0.0.1 -Z -o modern,{options}"))).err().unwrap();
        assert_eq!(error.code, 64, "{options}");
        assert!(error.message.starts_with(complaint), "{options}: {}", error.message);
    }
}

#[test]
fn a_key_may_be_der() {
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
    let host = Host::new("");
    let der = PrivateKeyDer::from_pem_slice(host.files.server.key.as_bytes()).unwrap();
    std::fs::write(host.files.path("key.der"), der.secret_der()).unwrap();
    let dir = host.files.dir.path().display();
    let options = format!("-Z -o ssl_chain_cert={dir}/chain.pem,ssl_key={dir}/key.der,ssl_keyformat=2");
    let server = Server::start(settings(&format!("-p -1 -l 127.0.0.1 {options}"))).unwrap();
    server.spawn().unwrap().shutdown().unwrap();
}

#[test]
fn stats_have_rows_of_tls() {
    let host =
        Host::new("ssl_session_cache,ssl_wbuf_size=32,ssl_verify_mode=3,ssl_min_version=3,ssl_ca_cert=DIR/ca.pem");
    let pair = host.files.authority.sign("client");
    let mut client = host.client_with(0, host.files.client_config(rustls::ALL_VERSIONS, Some(&pair))).unwrap();
    let ssl = |rows: Vec<(String, String)>| -> Vec<(String, String)> {
        rows.into_iter().filter(|(row, _)| row.contains("ssl") || row.contains("cert")).collect()
    };
    let file = |name: &str| host.files.path(name).display().to_string();
    let expected = [
        ("ssl_enabled", "yes"),
        ("ssl_chain_cert", &file("chain.pem")),
        ("ssl_key", &file("key.pem")),
        ("ssl_verify_mode", "7"),
        ("ssl_keyformat", "1"),
        ("ssl_ciphers", "NULL"),
        ("ssl_ca_cert", &file("ca.pem")),
        ("ssl_wbuf_size", "32768"),
        ("ssl_session_cache", "yes"),
        ("ssl_kernel_tls", "no"),
        ("ssl_min_version", "tlsv1.3"),
    ];
    assert_eq!(ssl(client.stats(" settings")), expected.map(|(row, value)| (row.to_owned(), value.to_owned())));
    let rows = ssl(client.stats(""));
    let names: Vec<&str> = rows.iter().map(|(row, _)| row.as_str()).collect();
    assert_eq!(
        names,
        ["ssl_new_sessions", "ssl_handshake_errors", "ssl_proto_errors", "time_since_server_cert_refresh"]
    );
    assert!((62..70).contains(&rows[3].1.parse::<u32>().unwrap()), "the age starts at 62");
    assert_ne!(host.counts(), (0, 0, 0));
    assert_eq!(client.ask("stats reset"), "RESET");
    assert_eq!(host.counts(), (0, 0, 0));
}

#[test]
fn a_refresh_without_tls_is_an_error() {
    let running = Server::start(settings("-p -1 -l 127.0.0.1")).unwrap().spawn().unwrap();
    let mut client = TcpStream::connect(running.addresses()[0]).unwrap();
    client.write_all(b"refresh_certs\r\nquit\r\n").unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "Error TLS not enabled\r\n");
    running.shutdown().unwrap();
}

/// The program itself, killed at the end of the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn sighup_reloads_the_files() {
    let files = Files::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let arguments = format!("-u root -l 127.0.0.1 -p {port} {}", files.options("modern"));
    let mut command = crate::program();
    command.args(arguments.split_ascii_whitespace()).stderr(Stdio::piped());
    let mut program = Program(command.spawn().unwrap());
    let mut stderr = program.0.stderr.take().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    until("it listens", || TcpStream::connect(address).is_ok());
    let config = Arc::new(files.client_config(rustls::ALL_VERSIONS, None));
    let shown = || {
        let tls = ClientConnection::new(Arc::clone(&config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(tls, TcpStream::connect(address).unwrap());
        stream.write_all(b"version\r\n").unwrap();
        stream.read_exact(&mut [0; 16]).unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let hang_up = || {
        let pid = program.0.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    let first = shown();
    let renewed = files.authority.sign("renewed");
    files.write("key.pem", &renewed.key);
    hang_up();
    let mut complaint = [0; 100];
    let n = stderr.read(&mut complaint).unwrap();
    let complaint = String::from_utf8_lossy(&complaint[..n]);
    assert!(
        complaint.starts_with("Could not reload TLS certificates on SIGHUP: Error loading the key: "),
        "{complaint}"
    );
    assert_eq!(shown(), first);
    files.write("chain.pem", &renewed.cert);
    hang_up();
    until("the new certificate is shown", || shown() != first);
}

#[test]
fn a_daemon_finds_relative_certificates_again() {
    let files = Files::new();
    let options =
        "-d -u root -p -1 -l 127.0.0.1 -P pid -Z -o ssl_chain_cert=chain.pem,ssl_key=key.pem,ssl_ca_cert=ca.pem";
    let mut command = crate::program();
    command
        .args(options.split_ascii_whitespace())
        .current_dir(files.dir.path())
        .env("MEMCACHED_PORT_FILENAME", "ports");
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    // The pid file is written last.
    until("it has started", || files.path("pid").exists());
    let pid = std::fs::read_to_string(files.path("pid")).unwrap().trim().to_owned();
    let ports = std::fs::read_to_string(files.path("ports")).unwrap();
    let port: u16 = ports.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let config = Arc::new(files.client_config(rustls::ALL_VERSIONS, None));
    let tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(tls, TcpStream::connect(("127.0.0.1", port)).unwrap());
    let mut ask = |what: &str| {
        stream.write_all(what.as_bytes()).unwrap();
        let mut reply = [0; 100];
        let length = stream.read(&mut reply).unwrap();
        String::from_utf8_lossy(&reply[..length]).into_owned()
    };
    let found = ask("refresh_certs\r\n");
    std::fs::remove_file(files.path("key.pem")).unwrap();
    let lost = ask("refresh_certs\r\n");
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    until("it is gone", || !files.path("pid").exists());
    assert_eq!(found, "OK\r\n");
    assert_eq!(lost, "Error loading the key: key.pem : No such file or directory\r\n", "as it was given");
}
