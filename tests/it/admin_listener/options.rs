//! The options: values, refusals, `-h`, rows of `stats settings`.

use crate::support::settings;
use oxcached::metric::{Metric, MetricSink};
use oxcached::settings::{Action, Runtime, Settings, parse};

/// Exit code and error text of a command line.
fn refusal(args: &str) -> (i32, String) {
    let words = std::iter::once("oxcached").chain(args.split_ascii_whitespace());
    let exit = parse(words.map(Into::into)).unwrap_err();
    (exit.code, exit.stderr)
}

fn rows(settings: &Settings) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut add = |metric: &Metric<'_>| rows.push((metric.name.to_owned(), metric.value.to_string()));
    settings.report(&Runtime::new(settings), &mut MetricSink::new(&mut add));
    rows.retain(|(name, _)| name.starts_with("admin"));
    rows
}

#[test]
fn values() {
    let admin = settings("--admin 127.0.0.1:1 -o admin_conns=7,admin_host=A.example,admin_host=b:8,admin_write").admin;
    assert_eq!((admin.conns, admin.write, admin.insecure), (7, true, false));
    assert_eq!(admin.hosts, ["a.example", "b:8"]);
    assert_eq!(settings("").admin.addr, None);
    assert_eq!(settings("--admin=1 --admin=2").admin.text.as_deref(), Some("2"), "the last one counts");
}

#[test]
fn refusals() {
    for (args, code, text) in [
        ("--admin=x", 64, "ERROR: Invalid address for --admin: \"x\"\n"),
        ("--admin=mtls:a:1", 64, "ERROR: The prefix of --admin needs -Z: \"mtls:a:1\"\n"),
        ("-o admin_conns", 1, "Missing numeric argument for admin_conns\n"),
        ("-o admin_conns=0", 1, "admin_conns must be a number from 1 to 1024\n"),
        ("-o admin_conns=1025", 1, "admin_conns must be a number from 1 to 1024\n"),
        ("-o admin_conns=5x", 1, "admin_conns must be a number from 1 to 1024\n"),
        ("-o admin_token_file", 1, "Missing admin_token_file argument\n"),
        ("-o admin_host=a/b", 1, "admin_host must be a name or an address, with :port if it has one\n"),
        ("-o admin_host=", 1, "admin_host must be a name or an address, with :port if it has one\n"),
    ] {
        assert_eq!(refusal(args), (code, text.to_owned()), "{args}");
    }
}

#[test]
fn abbreviations_stay_memcacheds() {
    assert_eq!(settings("--a /file").auth_file.as_deref(), Some("/file".as_ref()));
    assert_eq!(refusal("--adm=1"), (1, "Illegal argument \"?\"\n".to_owned()), "no such option, as in memcached");
}

#[test]
fn help_and_rows() {
    let words = ["oxcached", "-h"].map(Into::into);
    let Ok(Action::Print { text, .. }) = parse(words) else { panic!("no help") };
    assert!(text.contains("\n--admin=<addr>") && text.contains("admin_conns") && text.contains("(default: 64)"));
    assert_eq!(rows(&settings("-o admin_write,admin_conns=3")), []);
    let expected = [
        ("admin", "127.0.0.1:1"),
        ("admin_conns", "3"),
        ("admin_token_file", "/t"),
        ("admin_insecure", "no"),
        ("admin_write", "yes"),
    ];
    let found = rows(&settings("--admin=127.0.0.1:1 -o admin_write,admin_conns=3,admin_token_file=/t"));
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}
