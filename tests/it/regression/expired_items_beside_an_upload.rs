//! While an upload was pending, the memory of expired items was not reclaimed.

use crate::engine::policy::{LEN, Story};
use crate::support::Client;

#[test]
fn a_pending_upload_does_not_prevent_reclaiming_expired_items() {
    let mut story = Story::new("-m 8 -o temporary_ttl=100");
    let mut slow = Client::new(&story.shared);
    slow.feed(format!("set slow 0 0 {LEN}\r\n").as_bytes());
    let value = "v".repeat(LEN);
    let mut stored = 0_u32;
    while story.ask(&format!("set k{stored} 0 50 {LEN}\r\n{value}\r\n")) == "STORED\r\n" {
        stored += 1;
    }
    story.later(51);
    (0..stored).for_each(|n| story.set(&format!("next{n}"), 90));
    assert_eq!((story.row("evicted"), story.row("reclaimed")), (0, stored.into()));
    assert_eq!(slow.ask(format!("{value}\r\n").as_bytes()), b"STORED\r\n");
    story.finish();
}
