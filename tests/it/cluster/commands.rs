//! The commands, in every cutting, with the option and without it.

use super::{FILE, client, shared};
use crate::binary::packet::{Packet, all, err, req, res};
use crate::support::script::in_every_cut;
use crate::support::{self, Client, answer};
use oxcached::net::Answerer;
use oxcached::proto::{CloseReason, Session};

const VALUE: &str = "12\na.example.net|10.0.0.1|11211 b.example.net||11212\n";

fn script(script: &str) {
    in_every_cut(client, |talk| talk.script(script));
}

#[test]
fn config_get_names_the_nodes() {
    script(
        r"
        > config get cluster
        CONFIG cluster 0 53
        12\x0aa.example.net|10.0.0.1|11211 b.example.net||11212\x0a
        END
        > config get cluster |
        CONFIG cluster 0 53
        12\x0aa.example.net|10.0.0.1|11211 b.example.net||11212\x0a
        END
        > config get other
        END
        > config get cluster noreply
        > mn
        MN
    "
        .replace("cluster |", "cluster ")
        .as_str(),
    );
}

#[test]
fn the_file_owns_the_configuration() {
    script(
        r"
        > config set cluster 0 5
        > 13\x0aa|
        CLIENT_ERROR the configuration comes from cluster_file
        > config set cluster 0 5 noreply
        > stats
        > config delete cluster
        CLIENT_ERROR the configuration comes from cluster_file
        > config incr cluster 1
        CLIENT_ERROR the configuration comes from cluster_file
        > config set cluster 0 x
        CLIENT_ERROR bad command line format
        > config set cluster 0
        CLIENT_ERROR bad command line format
        > config get
        CLIENT_ERROR bad command line format
        > config get cluster other
        CLIENT_ERROR bad command line format
        > config
        CLIENT_ERROR bad command line format
        > mn
        MN
    ",
    );
}

#[test]
fn a_get_of_the_old_key_names_the_nodes_unless_it_is_stored() {
    script(
        r"
        > get AmazonElastiCache:cluster
        VALUE AmazonElastiCache:cluster 0 53
        12\x0aa.example.net|10.0.0.1|11211 b.example.net||11212\x0a
        END
        > set x 0 0 1
        > y
        STORED
        > gets no AmazonElastiCache:cluster AmazonElastiCache:clusteR
        VALUE AmazonElastiCache:cluster 0 53 12
        12\x0aa.example.net|10.0.0.1|11211 b.example.net||11212\x0a
        END
        > gat 0 AmazonElastiCache:cluster
        END
        > mg AmazonElastiCache:cluster v
        EN
        > set AmazonElastiCache:cluster 7 0 3
        > own
        STORED
        > get AmazonElastiCache:cluster
        VALUE AmazonElastiCache:cluster 7 3
        own
        END
    ",
    );
}

#[test]
fn without_the_option_nothing_differs_from_memcached() {
    support::script::run(
        "",
        r"
        > config get cluster
        ERROR
        > config set cluster 0 3
        ERROR
        > abc
        ERROR
        > config get cluster noreply
        > get AmazonElastiCache:cluster
        END
        > gets AmazonElastiCache:cluster
        END
    ",
    );
    in_every_cut(
        || Client::new(&support::shared("")),
        |talk| {
            for opcode in 0x60..=0x68 {
                talk.expect(&[req(opcode).key("cluster")], &[err(opcode, 0x81)]);
                talk.expect(&[req(opcode).u32(1).value("a value")], &[err(opcode, 0x81)]);
            }
            talk.expect(&[req(0x00).key("AmazonElastiCache:cluster")], &[err(0x00, 0x01)]);
        },
    );
}

/// A reply with the configuration.
fn hit(opcode: u8, key: &str) -> Packet {
    res(opcode).cas(12).u32(0).key(key).value(VALUE)
}

#[test]
fn packets_name_the_nodes() {
    in_every_cut(client, |talk| {
        talk.expect(&[req(0x60).key("cluster")], &[hit(0x60, "")]);
        talk.expect(&[req(0x61).key("cluster")], &[hit(0x61, "")]);
        talk.expect(&[req(0x62).key("cluster")], &[hit(0x62, "cluster")]);
        talk.expect(&[req(0x63).key("cluster")], &[hit(0x63, "cluster")]);
        talk.expect(&[req(0x60).key("other")], &[err(0x60, 0x01)]);
        talk.expect(&[req(0x62).key("other")], &[res(0x62).status(0x01).key("other")]);
        talk.expect(&[req(0x61).key("other"), req(0x63).key("other"), req(0x0a)], &[res(0x0a)]);
        let key = "AmazonElastiCache:cluster";
        talk.expect(&[req(0x00).key(key), req(0x09).key(key)], &[hit(0x00, ""), hit(0x09, "")]);
        talk.expect(&[req(0x0c).key(key)], &[hit(0x0c, key)]);
        talk.expect(&[req(0x1c).u32(0).key(key)], &[err(0x1c, 0x01)]);
        for opcode in 0x64..=0x68 {
            talk.expect(&[req(opcode).u32(0).key("cluster").value("13")], &[err(opcode, 0x81)]);
        }
    });
}

#[test]
fn packets_with_other_lengths_end_the_connection() {
    for packet in [req(0x60), req(0x60).u32(0).key("cluster"), req(0x63).key("cluster").value("x")] {
        in_every_cut(client, |talk| {
            let opcode = packet.bytes()[1];
            talk.expect(std::slice::from_ref(&packet), &[err(opcode, 0x04)]);
            talk.expect_end();
            assert_eq!(talk.peer().reason, Some(CloseReason::Error));
        });
    }
}

#[test]
fn datagrams_name_the_nodes() {
    let shared = shared("", FILE);
    let head = [0, 7, 0, 0, 0, 1, 0, 0];
    let ask = |request: &[u8]| {
        let mut answerer: Answerer<Session> = Answerer::default();
        answer(&mut answerer, &shared, &[&head[..], request].concat())
    };
    let text = format!("CONFIG cluster 0 53\r\n{VALUE}\r\nEND\r\n");
    assert_eq!(ask(b"config get cluster\r\n"), [[&head[..], text.as_bytes()].concat()]);
    let packet = all(&[hit(0x60, "")]);
    assert_eq!(ask(&req(0x60).key("cluster").bytes()), [[&head[..], &packet].concat()]);
}

#[test]
fn a_login_comes_first() {
    use oxcached::auth::{Auth, Credentials, Format, Seed};
    let users = Credentials::parse(b"u:p", Format::Tokens, &Seed::from_bytes(&[1; 32])).unwrap();
    let plain = shared("-Y users", FILE);
    let Ok(plain) = std::sync::Arc::try_unwrap(plain) else { panic!("it is shared") };
    let auth = Some(Auth::of(Some(users), None).unwrap());
    let shared = std::sync::Arc::new(oxcached::proto::Shared { auth, ..plain });
    let mut client = Client::new(&shared);
    assert_eq!(client.ask(b"config get cluster\r\n"), b"CLIENT_ERROR unauthenticated\r\n");
}

#[test]
fn stats_count_changes() {
    let shared = shared("", FILE);
    let rows = String::from_utf8(Client::new(&shared).ask(b"stats\r\n")).unwrap();
    let expected = "STAT cluster_config_version 12\r\nSTAT cluster_config_nodes 2\r\n\
                    STAT cluster_config_changes 0\r\nSTAT cluster_config_errors 0\r\n";
    assert!(rows.contains(expected), "{rows}");
}
