//! Owns the run of a datagram case: the same datagrams to both servers, and their answers side by side. Called by
//! `drive`.
//!
//! Answers arrive in the order of the requests, so an exchange ends with the answer to a last `version` (the
//! sentinel). A server that does not answer the sentinel gets it again: it may have taken it as the rest of an
//! earlier request.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use crate::cas::Ids;
use crate::compare::Compare;
use crate::drive::{Binaries, Difference};
use crate::known;
use crate::server::{At, Server};
use crate::stream::{CONNECTIONS, Case, Exchange, Transport};

/// Request ids from here on are those of sentinels.
pub const SENTINELS: u16 = 0xf000;

/// Silence after which a sentinel counts as lost, and the number of attempts.
const PATIENCE: Duration = Duration::from_millis(400);
const TRIES: usize = 3;

/// Length of a datagram's header: id, sequence, total, reserved.
const HEADER: usize = 8;

/// Runs a case on new servers; `None` if all answers were equal.
pub fn run(binaries: &Binaries, case: &Case) -> Option<Difference> {
    let servers = [&binaries.ours, &binaries.reference];
    let servers = servers.map(|binary| Server::start(binary, Transport::Udp, &case.flags));
    let sockets = [(); CONNECTIONS].map(|()| servers.each_ref().map(connect));
    let mut cas = Ids::default();
    let mut sentinels = SENTINELS;
    for (at, exchange) in case.exchanges.iter().enumerate() {
        let mut sent = Vec::new();
        for command in &exchange.commands {
            let mut datagram = Vec::new();
            command.parts.iter().for_each(|part| cas.fill(part, &mut datagram));
            sockets[exchange.connection].iter().for_each(|socket| drop(socket.send(&datagram)));
            sent.extend_from_slice(datagram.get(HEADER..).unwrap_or(b""));
        }
        let mut answers = sockets[exchange.connection].each_ref().map(|socket| receive(socket, &mut sentinels));
        if !sent.windows(4).any(|word| word == b"quit") {
            answers.iter_mut().for_each(|answers| answers.retain(|answer| !is_empty(answer)));
        }
        let bodies = answers.each_ref().map(|answers| bodies(answers));
        cas.learn_lines(&bodies[1]);
        answers[1].iter().for_each(|answer| cas.learn_packets(&answer[HEADER..]));
        let [ours, reference] = [0, 1].map(|n| essence(exchange, &answers[n], &bodies[n]));
        if ours != reference && known::explain(&sent, &ours, &reference).is_none() {
            return Some(Difference { at, what: "different answers".to_owned(), ours, reference });
        }
    }
    None
}

fn connect(server: &Server) -> UdpSocket {
    let At::Udp(address) = server.at() else { unreachable!("a server of datagrams") };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// All datagrams before the answer to the sentinel; if there is no such answer, the last one says so.
fn receive(socket: &UdpSocket, sentinels: &mut u16) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let mut buffer = vec![0; 65536];
    for _ in 0..TRIES {
        *sentinels = (*sentinels + 1) | SENTINELS;
        let id = sentinels.to_be_bytes();
        drop(socket.send(&[&id, b"\0\0\0\x01\0\0version\r\n".as_slice()].concat()));
        loop {
            match socket.recv(&mut buffer) {
                Ok(count) if buffer[..2] == id && count > HEADER => return answers,
                // A late answer to an earlier attempt.
                Ok(count) if count >= HEADER && buffer[..2] >= SENTINELS.to_be_bytes()[..] => {}
                Ok(count) => answers.push(buffer[..count].to_vec()),
                Err(problem) if matches!(problem.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(_) => {}
            }
        }
    }
    answers.push(b"------ no answer to version\r\n".to_vec());
    answers
}

/// The text of answers, without their headers.
fn bodies(answers: &[Vec<u8>]) -> Vec<u8> {
    answers.iter().flat_map(|answer| answer.get(HEADER..).unwrap_or(b"")).copied().collect()
}

/// Headers and bodies. The length of a body with clock values depends on them.
fn essence(exchange: &Exchange, answers: &[Vec<u8>], bodies: &[u8]) -> Vec<u8> {
    let mut kept = exchange.compare.essence(bodies);
    for answer in answers {
        match exchange.compare {
            Compare::Exact => kept.extend(format!("{:?} {}\r\n", &answer[..HEADER], answer.len()).bytes()),
            Compare::Meta => kept.extend(format!("{:?}\r\n", &answer[..HEADER]).bytes()),
            _ => {}
        }
    }
    kept
}

/// A header that states that it belongs to no datagram. It has meaning only as the answer to `quit`; memcached sends
/// it for many requests without a reply (docs/compat.md).
fn is_empty(answer: &[u8]) -> bool {
    answer.len() == HEADER && answer[4..6] == [0, 0]
}
