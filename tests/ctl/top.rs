//! top: its lines of JSON, its refusal without a terminal. The drawing has unit tests in `src/bin/oxctl/top/`.

use crate::harness::{Run, Server, answering, ctl};

#[test]
fn lines_of_json_have_rates_and_counts() {
    for server in Server::each(&[]) {
        server.client().set("a", 0, 0, b"12345");
        let lines = server.ctl("top --json --interval 0.02 --count 3").text();
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        for line in lines {
            assert_eq!((&line["items"], &line["limit_bytes"]), (&1.into(), &67_108_864.into()));
            assert_eq!(line["sets_per_second"], 0.0);
            // The looks themselves are traffic.
            assert!(line["bytes_written_per_second"].as_f64().unwrap() > 0.0, "{line}");
            assert_eq!(line["server"], server.address());
        }
    }
}

#[test]
fn top_needs_a_terminal_or_json() {
    Run::of(ctl("top 127.0.0.1:1").output().unwrap()).fails(1, "top needs a terminal");
    Run::of(ctl(&format!("--json top {}", answering("ERROR\r\n"))).output().unwrap())
        .fails(2, "refuses 'stats': ERROR");
    Run::of(ctl(&format!("--json top {}", answering("\r\n"))).output().unwrap())
        .fails(1, "does not answer as memcached");
}
