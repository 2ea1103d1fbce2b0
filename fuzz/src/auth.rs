//! Clients that have to log in. The first byte of an input chooses: a text connection of a server with tokens, packets of
//! one with SASL, or a file of users to be read.
//!
//! Promises: who does not say the password sees and changes nothing; replies are whole, and the same however the bytes
//! are cut; no memory is lost.

use super::conversation::{self, Outcome, arrivals};
use super::support::Client;
use super::text::ITEMS;
use super::{contains, dice, server};
use oxcached::auth::{Auth, Credentials, Format, Seed};
use oxcached::proto::Protocol;

/// Users of both servers; a password that no mutation guesses in part.
const USERS: &[u8] = b"user:open-sesame\nanother:open-barley\n";

const PASSWORDS: [&[u8]; 2] = [b"open-sesame", b"open-barley"];

/// Bytes of every item that is a value, none of which a client knows.
const VALUES: [&[u8]; 2] = [b"hello", b"0123456789"];

/// Mechanisms whose challenges are random.
const RANDOM: &[u8] = b"RAM-"; // SCRAM-SHA-256, CRAM-MD5

/// Runs one input.
pub fn run(input: &[u8]) {
    let Some((choice, sent)) = input.split_first() else { return };
    let protocol = match choice % 3 {
        0 => Protocol::Ascii,
        1 => Protocol::Binary,
        _ => return read_users(sent),
    };
    let whole = converse(protocol, sent, &[sent]);
    let (cuts, pieces) = arrivals(sent, &mut dice(input));
    let cut = converse(protocol, sent, &pieces);
    if !contains(sent, RANDOM) && (protocol == Protocol::Binary || !conversation::depends_on_cuts(sent)) {
        cut.assert_same(&whole, &cuts);
    }
}

fn converse(protocol: Protocol, sent: &[u8], arrivals: &[&[u8]]) -> Outcome {
    let open = server::start(server::ROOMY);
    Client::new(&open).feed(ITEMS);
    let store = open.cache.store;
    let before = (store.items(), store.bytes(), store.next_cas() + 1);
    let seed = Seed::from_bytes(&[1; 32]);
    let (format, binary) = match protocol {
        Protocol::Binary => (Format::Pwdb, true),
        _ => (Format::Tokens, false),
    };
    let users = Some(Credentials::parse(USERS, format, &seed).unwrap());
    let auth = if binary { Auth::of(None, users) } else { Auth::of(users, None) };
    let shared = server::start_with(server::ROOMY, Some(auth.unwrap()));
    let mut client = Client::speaking(&shared, protocol);
    arrivals.iter().for_each(|arrival| client.feed(arrival));
    let outcome = Outcome::of(&mut client);
    outcome.assert_whole(binary, sent);
    if !PASSWORDS.iter().any(|password| contains(sent, password)) {
        let shown = VALUES.iter().find(|value| !contains(sent, value) && outcome.shows(value));
        assert!(shown.is_none(), "a value is shown to a stranger");
        assert_eq!((store.items(), store.bytes(), store.next_cas()), before, "a stranger has changed something");
    }
    drop(client);
    server::stop(&shared);
    outcome
}

/// A file of users, read in both ways.
fn read_users(text: &[u8]) {
    let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
    for format in [Format::Tokens, Format::Pwdb] {
        match Credentials::parse(text, format, &Seed::from_bytes(&[1; 32])) {
            Ok(users) => assert!(users.len() <= lines),
            Err(malformed) => assert!((1..=lines).contains(&malformed.line)),
        }
    }
}
