//! The modes of memcached-tool, side by side with the script where there are Perl and `MEMCACHED_SRC`.

use crate::harness::{Run, Server, ctl};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// memcached's script, if it can run here.
fn script() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("MEMCACHED_SRC")?).join("scripts/memcached-tool");
    let has_perl = Command::new("perl").args(["-MURI::Escape", "-e", "1"]).stderr(Stdio::null()).status();
    (path.exists() && has_perl.is_ok_and(|status| status.success())).then_some(path)
}

fn filled(server: &Server) {
    let mut client = server.client();
    client.set("a", 1, 0, b"12345");
    client.set("b:%41", 4_294_967_295, 5000, b"\x00\r\nx");
    (0..50).for_each(|n| client.set(&format!("many:{n}"), 0, 0, &vec![b'v'; n * 397]));
}

/// Lines in one order. Those of times and of the clients' own commands differ from run to run.
fn stable(text: &[u8], sorted: bool) -> Vec<Vec<u8>> {
    const CHANGING: [&str; 12] = [
        "rusage_user",
        "rusage_system",
        "bytes_read",
        "bytes_written",
        "total_connections",
        "time",
        "uptime",
        "curr_connections",
        "lru_maintainer_juggles",
        "lru_crawler_starts",
        "crawler_items_checked",
        "crawler_reclaimed",
    ];
    let lines = text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_owned);
    let changes = |line: &Vec<u8>| {
        let text = String::from_utf8_lossy(line);
        text.split_whitespace().next().is_some_and(|name| CHANGING.contains(&name))
    };
    let mut lines: Vec<_> = lines.filter(|line| !changes(line)).collect();
    if sorted {
        lines.sort();
    }
    lines
}

#[test]
fn every_mode_prints_what_the_script_prints() {
    let Some(script) = script() else { return println!("skipped: no Perl script to compare with") };
    for server in Server::each(&[]) {
        filled(&server);
        let address = server.address();
        // Items and keys come in an order of their own; ages are those of one moment.
        let modes = ["", "display", "stats", "settings", "sizes", "dump", "keys", "keys -u", "move 6 7"];
        for mode in modes {
            crate::harness::until(mode, || {
                let by_script = Command::new("perl").arg(&script).arg(&address).args(mode.split_whitespace()).output();
                let by_script = Run::of(by_script.unwrap());
                let own = Run::of(ctl(&format!("{address} {mode}")).output().unwrap());
                assert_eq!((own.code, &own.err), (by_script.code, &by_script.err), "{mode}");
                let sorted = mode.starts_with("dump") || mode.starts_with("keys");
                let (own, by_script) = (stable(&own.out, sorted), stable(&by_script.out, sorted));
                let shown = |lines: &[Vec<u8>]| String::from_utf8_lossy(&lines.concat()).into_owned();
                if own != by_script {
                    println!("{mode}:\n{}\n{}", shown(&own), shown(&by_script));
                }
                own.len() > 1 && own == by_script
            });
        }
        // The script counts a line OK among the keys.
        for mode in ["keys 1", "keys 2", "keys 5", "keys 1000"] {
            let lines = |run: &Run| run.out.iter().filter(|&&byte| byte == b'\n').count();
            let by_script = Command::new("perl").arg(&script).arg(&address).args(mode.split_whitespace()).output();
            let by_script = Run::of(by_script.unwrap());
            let own = Run::of(ctl(&format!("{address} {mode}")).output().unwrap());
            assert_eq!((lines(&own), &own.err), (lines(&by_script), &by_script.err), "{mode}");
        }
    }
}

#[test]
fn modes_have_the_form_of_the_script() {
    for server in Server::each(&[]) {
        filled(&server);
        let run = |mode: &str| Run::of(ctl(&format!("{} {mode}", server.address())).output().unwrap());
        let display = run("").text();
        let mut lines = display.lines();
        assert_eq!(lines.next(), Some("  #  Item_Size  Max_age   Pages   Count   Full?  Evicted Evict_Time OOM"));
        let row = lines.next().unwrap();
        assert!(row.len() == 70 && row.ends_with("        0        0    0"), "{row:?}");
        assert_eq!(run("move 6 7").text().lines().next(), display.lines().next());
        let stats = run("stats").text();
        assert!(stats.starts_with(&format!("#{:<22} Field         Value\n", server.address())));
        assert!(stats.contains(&format!("\n{:>29} {:>14}\n", "curr_items", "52\r")), "{stats}");
        let settings = run("settings").text();
        assert!(settings.starts_with(&format!("#{:<17} Field       Value\n", server.address())));
        assert!(settings.contains(&format!("\n{:>24} {:>12}\n", "num_threads", "1\r")), "{settings}");
        assert!(run("sizes").text().contains(&format!("\n{:>24} {:>12}\n", "sizes_status", "disabled\r")));
        assert_eq!(run("keys").text().lines().count(), 52);
        assert!(run("keys").text().contains("key=b%3A%2541 exp=") || run("keys").text().contains("key=b:%2541 exp="));
        assert!(run("keys -u 53").text().contains("key=b:%41 exp="));
        // The line OK counts.
        assert_eq!(run("keys 3").text().lines().count(), 2);
        // As JSON.
        let classes = run("display --json").json();
        assert!(classes.as_array().unwrap().iter().any(|class| class["pages"] == 1 && class["oom"] == 0));
        assert_eq!(run("stats --json").json()["curr_items"], 52);
        let first = String::from_utf8(run("keys 2 --json").out).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&first).unwrap()["key"].is_string());
    }
}
