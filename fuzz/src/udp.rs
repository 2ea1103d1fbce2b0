//! Datagrams, one a part of the input, with their headers.
//!
//! Promises: what is not one whole request is not answered; answers carry the request's id, are framed and numbered
//! and of the largest size that may be; how much is answered is bounded by what was asked; datagrams have nothing to do
//! with each other but the items.

use super::support::{Client, answer};
use super::text::ITEMS;
use super::{contains, framing, parts, server};
use oxcached::net::{Answerer, DATAGRAM_HEADER, DATAGRAM_MAX};
use oxcached::proto::Session;

/// More than any reply to one command that shows no items: `stats settings` is the longest.
const REPORT_MAX: usize = 24 * 1024;

/// Runs one input.
pub fn run(input: &[u8]) {
    let shared = server::start(server::ROOMY);
    Client::new(&shared).feed(ITEMS);
    let mut answerer = Answerer::<Session>::default();
    // No value can be longer than all that was ever sent.
    let value_max = input.len() + ITEMS.len();
    for part in parts(input) {
        let answers = answer(&mut answerer, &shared, part);
        check(part, &answers, value_max);
    }
    let version = answer(&mut answerer, &shared, b"\x12\x34\0\0\0\x01\0\0version\r\n");
    assert_eq!(version, [b"\x12\x34\0\0\0\x01\0\0VERSION 1.6.45\r\n"], "the next datagram is served");
    server::stop(&shared);
}

fn check(request: &[u8], answers: &[Vec<u8>], value_max: usize) {
    if request.len() <= DATAGRAM_HEADER || request[4..6] != [0, 1] {
        assert!(answers.is_empty(), "an answer to what is no request");
        return;
    }
    let body = &request[DATAGRAM_HEADER..];
    let number = |at: usize, bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let (mut next, mut in_all, mut replies) = (0, 0, Vec::new());
    for (index, answer) in answers.iter().enumerate() {
        assert!((DATAGRAM_HEADER..=DATAGRAM_MAX).contains(&answer.len()));
        assert!(answer[..2] == request[..2] && answer[6..8] == [0, 0], "header of another request");
        let (sequence, total) = (number(2, answer), number(4, answer));
        if total == 0 {
            let last = index + 1 == answers.len();
            assert!(last && next == in_all && answer.len() == DATAGRAM_HEADER, "an empty answer says farewell");
            continue;
        }
        if next == in_all {
            (next, in_all) = (0, total);
        }
        assert_eq!((sequence, total), (next, in_all), "the series goes on");
        next += 1;
        let full = answer.len() == DATAGRAM_MAX;
        assert!(full || (next == in_all && answer.len() > DATAGRAM_HEADER), "only the last may be short");
        replies.extend_from_slice(&answer[DATAGRAM_HEADER..]);
    }
    assert_eq!(next, in_all, "the last series is whole");
    let problem = framing::replies(body, &replies);
    if let Some(problem) = problem.filter(|_| body[0] == 0x80 || !contains(body, b" b")) {
        panic!("{problem}\nin {:?}", replies.escape_ascii().to_string());
    }
    let commands = 1 + body.iter().filter(|byte| **byte == b'\n').count() + body.len() / 24;
    let keys = body.len() / 2 + 1;
    let most = commands * REPORT_MAX + keys * (value_max + 400);
    assert!(replies.len() <= most, "{} bytes in answer to {}", replies.len(), body.len());
}
