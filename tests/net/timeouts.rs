//! The idle timeout, by a clock moved by hand.

use crate::harness::{Server, settings, tcp, until};
use crate::script::Script;
use oxcached::clock::Clock;
use oxcached::proto::ConnState;
use oxcached::settings::Settings;
use oxcached::stats::Counter;

#[test]
fn r4_1_idle_clients_are_kicked_after_the_limit_and_busy_ones_are_not() {
    let settings = Settings { idle_timeout: 3, ..settings() };
    let server = Server::start::<Script>(settings, vec![tcp()], Clock::manual(0));
    let (mut idle, mut half, mut busy, mut upload) =
        (server.client(), server.client(), server.client(), server.client());
    for client in [&mut idle, &mut half, &mut busy, &mut upload] {
        assert_eq!(client.ask("echo a"), "a");
    }
    server.shared.clock.advance(3);
    assert_eq!(busy.ask("echo b"), "b");
    upload.send("upload 3\r\n");
    until("upload", || server.in_state(ConnState::Nread) == 1);
    half.send("echo ha");
    assert_eq!(server.counter(Counter::IdleKicks), 0);
    server.shared.clock.advance(1);
    idle.expect_end();
    half.expect_end();
    assert_eq!(server.counter(Counter::IdleKicks), 2);
    assert_eq!(busy.ask("echo c"), "c");
    // A value on its way is not idle, however long it takes; the client is again once it has come.
    server.shared.clock.advance(100);
    busy.expect_end();
    upload.send("abc");
    assert_eq!(upload.line(), "sum 294");
    server.shared.clock.advance(1);
    upload.expect_end();
    assert_eq!(server.counter(Counter::IdleKicks), 4);
}
