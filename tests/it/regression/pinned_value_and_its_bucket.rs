//! A large value was taken for another one when another item of its bucket changed.

use crate::support::{self, Client};
use oxcached::settings::Settings;
use oxcached::store::Key;

#[test]
fn a_pinned_value_is_stable_during_changes_of_its_bucket() {
    let settings = Settings { hashpower_init: 1, ..support::settings("-m 64") };
    let shared = support::shared_with(settings);
    let mut client = Client::new(&shared);
    let (store, now) = (shared.cache.store, shared.clock.now());
    let version = |key: &str| store.visit(&Key::new(key.as_bytes()).unwrap(), now, |entry| entry.version());
    let large = format!("set large 0 0 5000\r\n{}\r\n", "v".repeat(5000));
    client.ask(large.as_bytes());
    let before = version("large");
    // More keys than buckets.
    for n in 0..100 {
        client.ask(format!("set k{n} 0 0 1\r\nx\r\n").as_bytes());
    }
    assert_eq!(version("large"), before);
    client.ask(b"get large\r\n");
    assert_eq!(version("large"), before);
    for change in ["touch large 100\r\n", "append large 0 0 1\r\nx\r\n", "md large I T90\r\n", &large] {
        let before = version("large");
        client.ask(change.as_bytes());
        assert_ne!(version("large"), before, "{change}");
    }
}
