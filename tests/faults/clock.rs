//! Changes of the wall clock while the server runs.

use crate::harness::{Client, Faulty, until};
use std::time::{SystemTime, UNIX_EPOCH};

fn unix() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// `STAT time`.
fn time(client: &mut Client) -> i64 {
    let rows = client.ask("stats\r\n", "END\r\n");
    rows.lines().find_map(|row| row.strip_prefix("STAT time ")).unwrap_or_else(|| panic!("{rows}")).parse().unwrap()
}

/// Seconds to live of `key`.
fn left(client: &mut Client, key: &str) -> i64 {
    let reply = client.ask(&format!("mg {key} t\r\n"), "\r\n");
    reply.trim_end().strip_prefix("HD t").unwrap_or_else(|| panic!("{key}: {reply}")).parse().unwrap()
}

#[test]
fn absolute_times_follow_it_and_lifetimes_do_not() {
    let server = Faulty::start(&[]);
    let mut client = server.client();
    client.ask("set before 0 1000 1\r\nx\r\n", "\r\n");
    for ahead in [3600, -3600, 400 * 24 * 3600, 0] {
        server.plan.set_wall_clock(ahead);
        // The next tick sees the change.
        until("the time", || (time(&mut client) - unix() - ahead).abs() <= 2);
        let request = format!("set date 0 {} 1\r\nx\r\nset life 0 100 1\r\nx\r\n", unix() + ahead + 100);
        client.ask(&request, "STORED\r\nSTORED\r\n");
        for (key, seconds) in [("date", 100), ("life", 100), ("before", 1000)] {
            let left = left(&mut client, key);
            assert!(left <= seconds + 2 && left > seconds - 60, "{key} after {ahead}: {left}");
        }
        client.ask(&format!("set past 0 {} 1\r\nx\r\n", unix() + ahead - 10), "\r\n");
        assert_eq!(client.ask("get past\r\n", "END\r\n"), "END\r\n", "after {ahead}");
    }
    server.end();
}
