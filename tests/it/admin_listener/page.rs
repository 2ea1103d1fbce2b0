//! The files of the dashboard.

use super::harness::{Host, Reply};
use std::collections::BTreeSet;

fn get(host: &Host, path: &str, fields: &str) -> Reply {
    let mut peer = host.connect();
    peer.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
    peer.reply()
}

/// Paths of the files that a text names in quotes.
fn names(text: &str) -> BTreeSet<String> {
    let quoted = text.split(['"', '\'']).skip(1).step_by(2);
    quoted.filter(|name| name.starts_with("assets/")).map(|name| format!("/{name}")).collect()
}

#[test]
fn the_page_and_what_it_names_are_served() {
    let host = Host::new("");
    let page = get(&host, "/", "");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'self';"));
    assert_eq!(page.head.to_ascii_lowercase().matches("cache-control:").count(), 1);
    let names = names(&page.body);
    assert!(names.len() >= 5, "{names:?}");
    for path in &names {
        let file = get(&host, path, "");
        assert_eq!((file.status, file.header("x-content-type-options")), (200, "nosniff"), "{path}");
        assert!(file.header("content-type").contains(if path.ends_with("css") {
            "text/css"
        } else if path.ends_with("js") {
            "text/javascript"
        } else {
            "image/svg+xml"
        }));
    }
    for path in ["/assets/", "/assets/nothing.js", "/assets/../index.html", "/index.html", "/assets/app.js/"] {
        assert_eq!(get(&host, path, "").status, 404, "{path}");
    }
    host.stop();
}

#[test]
fn a_browser_that_has_a_file_is_not_sent_it_again() {
    let host = Host::new("");
    let (page, script) = (get(&host, "/", ""), get(&host, "/assets/app.js", ""));
    let (tag, other) = (page.header("etag"), script.header("etag"));
    assert!(tag != other && tag.starts_with('"'), "{tag} {other}");
    for fields in [tag.to_owned(), format!("\"x\", {tag}"), format!("W/{tag}")] {
        let again = get(&host, "/", &format!("If-None-Match: {fields}\r\n"));
        assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", tag), "{fields}");
    }
    for fields in ["\"x\"", other] {
        assert_eq!(get(&host, "/", &format!("If-None-Match: {fields}\r\n")).body, page.body, "{fields}");
    }
    host.stop();
}

#[test]
fn the_page_needs_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "0123456789abcdef").unwrap();
    let host = Host::new(&format!("-o admin_token_file={}", path.display()));
    for path in ["/", "/assets/app.js"] {
        let refused = get(&host, path, "");
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.header("www-authenticate").starts_with("Basic "), "a browser asks its user");
        assert_eq!(get(&host, path, "Authorization: Bearer 0123456789abcdef\r\n").status, 200, "{path}");
    }
    host.stop();
}
