//! Changes of the wall clock, while the server runs and between two processes.

use crate::harness::{Client, Faulty, until};
use crate::plan::{Call, Fault};
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

/// A date that was given before follows too: it ends once the clock is set beyond it.
#[test]
fn dates_of_items_stored_before_follow_it() {
    let server = Faulty::start(&[]);
    let mut client = server.client();
    let date = unix() + 10_000;
    let value = "v".repeat(10_000);
    client
        .ask(&format!("set small 0 {date} 1\r\nx\r\nset large 0 {date} 10000\r\n{value}\r\n"), "STORED\r\nSTORED\r\n");
    client.ask("set life 0 10000 1\r\nx\r\n", "STORED\r\n");
    for ahead in [3600, -3600, 9000, -400 * 24 * 3600] {
        server.plan.set_wall_clock(ahead);
        until("the time", || (time(&mut client) - unix() - ahead).abs() <= 2);
        for key in ["small", "large"] {
            let (left, expected) = (left(&mut client, key), date - unix() - ahead);
            assert!((left - expected).abs() <= 3, "{key} after {ahead}: {left}, not {expected}");
        }
    }
    server.plan.set_wall_clock(10_010);
    until("the end of both", || client.ask("mg small v\r\nmg large v\r\nmn\r\n", "MN\r\n") == "EN\r\nEN\r\nMN\r\n");
    assert!((9_000..=10_000).contains(&left(&mut client, "life")));
    server.end();
}

/// A start with an hour less than the last process saw: after a kill the items stay, as if no time had passed; after
/// an orderly stop no time in them is valid.
#[test]
fn a_start_reports_that_the_clock_went_back() {
    let args = ["-e", "image", "-m", "8"];
    let start = |dir, ahead| {
        let mut server = Faulty::launch_in(dir, &args, &[(Call::WallClock, Fault::ahead(ahead))]);
        assert_eq!(server.outcome(), None, "{}", server.said());
        server
    };
    let server = Faulty::start(&args);
    server.client().ask("set key 0 1000 1\r\nx\r\n", "STORED\r\n");
    server.client().ask(&format!("set date 0 {} 1\r\nx\r\n", unix() + 1000), "STORED\r\n");
    let server = start(server.kill(), -3600);
    let said = server.said();
    let words = said.lines().find_map(|line| line.strip_prefix("[restart] the clock is ")).expect(&said);
    let (seconds, rest) = words.split_once(' ').unwrap();
    assert_eq!(rest, "seconds before the end of the last process: no time has passed for its items");
    // The first process may have lived for some seconds, and the next one starts some later.
    assert!((3500..=3600).contains(&seconds.parse::<u32>().unwrap()), "{said}");
    let left = self::left(&mut server.client(), "key");
    assert!((900..=1000).contains(&left), "{left}");
    let left = self::left(&mut server.client(), "date");
    assert!((4500..=4600).contains(&left), "{left}");

    let server = start(server.end_by("USR1").0, -7200);
    let said = server.said();
    let expected = "[restart] restart incompatible due to setting for [stop_time] [old value: ";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("\n[restart] failed to validate metadata, starting with a clean cache\n"), "{said}");
    assert_eq!(server.client().ask("get key\r\n", "END\r\n"), "END\r\n");
    server.end();
}
