//! Owns the final checks: the server's counts against the clients', and whether items remain after a flush. Called by
//! `main` after every client has disconnected.

use std::thread;
use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::load::Sums;
use crate::server::Server;
use crate::{Outcome, Run, wire};

/// Maximum time until the crawler has removed all flushed items.
const PATIENCE: Duration = Duration::from_secs(60);

/// Compares counts. `others`: hostile clients also sent gets and sets, in unknown number.
pub fn check(run: &Run, server: &Server, asked: &Sums, others: bool) -> Outcome<()> {
    let mut admin = Admin::new(server)?;
    let stats = admin.stats()?;
    let expected = [
        ("cmd_get", asked.get_hits + asked.get_misses),
        ("get_hits", asked.get_hits),
        ("get_misses", asked.get_misses),
        ("cmd_touch", asked.touch_hits + asked.touch_misses),
        ("touch_hits", asked.touch_hits),
        ("touch_misses", asked.touch_misses),
        ("delete_hits", asked.delete_hits),
        ("delete_misses", asked.delete_misses),
        ("incr_hits", asked.incr_hits),
        ("incr_misses", asked.incr_misses),
        ("cmd_set", asked.cmd_set),
    ];
    for (name, expected) in expected {
        let told = wire::number(&stats, name)?;
        let more = others && told > expected && (name.starts_with("get_") || name.starts_with("cmd_"));
        if told != expected && !more {
            run.fault(format!("stats: {name} {told}, but the clients have counted {expected}"));
        }
    }
    for name in ["hash_power_level", "hash_bytes", "evictions", "slabs_moved", "slab_reassign_rescues", "curr_items"] {
        print!("{name} {}  ", stats.get(name).map_or("-", String::as_str));
    }
    println!();
    if run.memcached {
        thread::sleep(Duration::from_secs(2)); // memcached flushes only what is a second old
    }
    admin.ask("flush_all")?;
    let begun = Instant::now();
    let mut left = left(&mut admin)?;
    while !left.is_empty() && begun.elapsed() < PATIENCE {
        admin.ask("lru_crawler crawl all")?;
        thread::sleep(Duration::from_millis(100));
        left = self::left(&mut admin)?;
    }
    if !left.is_empty() {
        run.fault(format!("when all is flushed and crawled there is still: {}", left.join(", ")));
    }
    Ok(())
}

/// Rows that show remaining items.
fn left(admin: &mut Admin) -> Outcome<Vec<String>> {
    let mut left: Vec<String> = admin.ask_for_lines("stats slabs")?;
    left.retain(|line| line.contains(":used_chunks ") || line.contains(":mem_requested "));
    let stats = admin.stats()?;
    left.extend(["curr_items", "bytes"].iter().map(|name| format!("STAT {name} {}", stats[*name])));
    left.retain(|line| !line.ends_with(" 0"));
    Ok(left)
}
