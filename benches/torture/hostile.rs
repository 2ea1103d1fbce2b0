//! Owns the hostile clients: one thread that drives many of them, none of which waits for the server.
//!
//! Each client draws a conversation (`kinds`), how its bytes are sent, whether it reads, whether an urgent byte
//! interrupts, and how and when it disconnects: so every state meets every way to leave it. A second thread sends
//! datagrams, and a third floods the server with `flush_all`. Called by `main` and `ends`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use socket2::{Domain, Socket, Type};

use crate::admin::Admin;
use crate::chores::Counts;
use crate::kinds::{Door, KINDS, Kind, datagram};
use crate::server::Server;
use crate::{Outcome, Phase, Run};

/// Maximum lifetime of a client, and of one after its half-close.
const STAY: Duration = Duration::from_millis(800);
const HALF_CLOSED: Duration = Duration::from_millis(400);

/// Connections that are made and closed at once.
const STORM: u32 = 40;

/// Receive buffer in bytes: unread replies should wait in the server.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// Counts of one kind of conversation.
#[derive(Clone, Copy, Default)]
pub struct Row {
    connections: u64,
    bytewise: u64,
    urgent: u64,
    resets: u64,
    half_closes: u64,
    closes: u64,
    /// Connections that the server ended or refused.
    ended: u64,
    sent: u64,
    read: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Whole,
    Pieces,
    Bytes,
}

#[derive(Clone, Copy)]
enum Parting {
    Reset,
    Close,
    HalfClose,
}

/// One hostile client.
struct Client {
    socket: Socket,
    kind: usize,
    words: Vec<u8>,
    sent: usize,
    pace: Pace,
    reads: bool,
    /// Offset in `words` before which an urgent byte is sent.
    urgent: Option<usize>,
    parting: Parting,
    half_closed: bool,
    leaves: Instant,
    due: Instant,
}

/// Doors of the servers under attack; a door without port is left out.
pub type Doors = [(Door, Option<u16>); 4];

pub fn doors(server: &Server, guarded: Option<&Server>) -> Doors {
    [
        (Door::Plain, Some(server.port())),
        (Door::Login, guarded.map(Server::port)),
        (Door::Tls, guarded.and_then(|server| server.port_of(1))),
        (Door::Admin, server.admin_port()),
    ]
}

pub fn port(doors: &Doors, kind: &Kind) -> Option<u16> {
    doors.iter().find(|(door, _)| *door == kind.door)?.1
}

/// Connects from a source address of its own, so that ports never run out. Blocks until connected.
pub fn connect(port: u16, number: u64) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source = Ipv4Addr::new(127, 0, (number / 250 % 250) as u8, (number % 250 + 1) as u8);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether `TORTURE_KINDS` selects this kind: the name must contain one of its words; without words every kind is
/// selected.
pub fn wanted(name: &str) -> bool {
    let words = std::env::var("TORTURE_KINDS").unwrap_or_default();
    words.is_empty() || words.split(',').any(|word| name.contains(word))
}

/// Drives `count` clients in hostile slices; returns their counts.
pub fn attack(run: &Run, doors: &Doors, count: usize, seed: u64) -> [Row; KINDS.len()] {
    let chosen: Vec<usize> = (0..KINDS.len()).filter(|&kind| wanted(KINDS[kind].name)).collect();
    let mut crowd = Crowd { doors, chosen, rng: Rng::with_seed(seed), rows: [Row::default(); KINDS.len()], made: 0 };
    let mut clients: Vec<Client> = Vec::new();
    while run.phase() != Phase::End {
        if run.phase() != Phase::Hostile {
            clients.clear();
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let now = Instant::now();
        clients.retain_mut(|client| client.due > now || crowd.step(client, now));
        // Retries refused connections a little later.
        while clients.len() < count
            && let Some(client) = crowd.come()
        {
            clients.push(client);
        }
        thread::sleep(Duration::from_millis(2));
    }
    crowd.rows
}

struct Crowd<'a> {
    doors: &'a Doors,
    chosen: Vec<usize>,
    rng: Rng,
    rows: [Row; KINDS.len()],
    made: u64,
}

impl Crowd<'_> {
    fn come(&mut self) -> Option<Client> {
        let rng = &mut self.rng;
        let kind = *rng.choice(&self.chosen)?;
        let port = port(self.doors, &KINDS[kind])?;
        let words = (KINDS[kind].words)(rng);
        let storm = words.is_empty() && rng.bool();
        for _ in 0..if storm { STORM } else { 0 } {
            self.made += 1;
            let row = &mut self.rows[kind];
            match connect(port, self.made) {
                Ok(socket) => {
                    row.connections += 1;
                    let reset = self.made.is_multiple_of(2);
                    let _ = reset.then(|| socket.set_linger(Some(Duration::ZERO)));
                    *if reset { &mut row.resets } else { &mut row.closes } += 1;
                }
                Err(_) => row.ended += 1,
            }
        }
        self.made += 1;
        let row = &mut self.rows[kind];
        let Ok(socket) = connect(port, self.made) else {
            row.ended += 1;
            return None;
        };
        row.connections += 1;
        let pace = match rng.u32(..6) {
            0 if words.len() < 2000 => Pace::Bytes,
            1 | 2 => Pace::Pieces,
            _ => Pace::Whole,
        };
        row.bytewise += u64::from(pace == Pace::Bytes);
        let now = Instant::now();
        Some(Client {
            socket,
            kind,
            sent: 0,
            pace,
            reads: rng.u32(..3) == 0,
            urgent: (rng.u32(..6) == 0).then(|| rng.usize(..words.len() + 1)),
            words,
            parting: [Parting::Reset, Parting::Close, Parting::HalfClose][rng.usize(..3)],
            half_closed: false,
            leaves: now + STAY.mul_f64(rng.f64()),
            due: now,
        })
    }

    /// One step of a client; false once it has disconnected.
    fn step(&mut self, client: &mut Client, now: Instant) -> bool {
        let row = &mut self.rows[client.kind];
        if client.reads || client.half_closed {
            match client.read(row) {
                Ok(true) => {}
                Ok(false) | Err(_) => {
                    row.ended += u64::from(!client.half_closed);
                    return false;
                }
            }
        }
        if now >= client.leaves {
            return !client.half_closed && client.part(row, now);
        }
        if !client.half_closed && client.write(row, &mut self.rng).is_err() {
            row.ended += 1;
            return false;
        }
        client.due = now + Duration::from_millis(if client.sent < client.words.len() { 2 } else { 20 });
        true
    }
}

impl Client {
    /// Reads some received bytes; false at the end of the stream.
    fn read(&mut self, row: &mut Row) -> std::io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => row.read += n as u64,
            Err(problem) if problem.kind() == ErrorKind::WouldBlock => {}
            Err(problem) => return Err(problem),
        }
        Ok(true)
    }

    fn write(&mut self, row: &mut Row, rng: &mut Rng) -> std::io::Result<()> {
        let piece = match self.pace {
            Pace::Whole => usize::MAX,
            Pace::Pieces => rng.usize(1..5000),
            Pace::Bytes => 1,
        };
        let end = self.words.len().min(self.sent.saturating_add(piece));
        if self.urgent.is_some_and(|urgent| urgent <= end) {
            self.urgent = None;
            match self.socket.send_out_of_band(b"!") {
                Ok(_) => row.urgent += 1,
                Err(problem) if problem.kind() == ErrorKind::WouldBlock => {}
                Err(problem) => return Err(problem),
            }
        }
        match self.socket.write(&self.words[self.sent..end]) {
            Ok(n) => {
                self.sent += n;
                row.sent += n as u64;
            }
            Err(problem) if problem.kind() == ErrorKind::WouldBlock => {}
            Err(problem) => return Err(problem),
        }
        Ok(())
    }

    /// Disconnects; true if the client stays for a while after its half-close.
    fn part(&mut self, row: &mut Row, now: Instant) -> bool {
        match self.parting {
            Parting::Close => row.closes += 1,
            Parting::Reset => {
                row.resets += 1;
                let _ = self.socket.set_linger(Some(Duration::ZERO));
            }
            Parting::HalfClose => {
                row.half_closes += 1;
                let _ = self.socket.shutdown(Shutdown::Write);
                self.half_closed = true;
                self.leaves = now + HALF_CLOSED;
                return true;
            }
        }
        false
    }
}

/// Sends some hundreds of datagrams per second; ignores most answers. Returns the number sent.
pub fn noise(run: &Run, port: Option<u16>, seed: u64) -> Outcome<u64> {
    let Some(port) = port else { return Ok(0) };
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(("127.0.0.1", port))?;
    socket.set_nonblocking(true)?;
    let (mut rng, mut sent, mut answer) = (Rng::with_seed(seed), 0, [0; 2048]);
    while run.phase() != Phase::End {
        for _ in 0..if run.phase() == Phase::Hostile { 2 } else { 0 } {
            sent += u64::from(socket.send(&datagram(&mut rng)).is_ok());
            let _ = socket.recv(&mut answer);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(sent)
}

/// Sends many flushes at once, periodically. Records in the ledger which values they may have flushed.
pub fn flushes(run: &Run, server: &Server, counts: &Counts, seed: u64) -> Outcome<()> {
    let mut rng = Rng::with_seed(seed);
    let mut admin = Admin::new(server)?;
    while run.phase() != Phase::End {
        run.pass(Duration::from_millis(rng.u64(2000..8000)));
        for _ in 0..if run.phase() == Phase::Hostile { 30 } else { 0 } {
            let acknowledged = run.ledger.snapshot();
            admin.ask("flush_all")?;
            if !run.memcached {
                run.ledger.flushed(&acknowledged);
            }
            counts.add("flush_all in storms", 1);
        }
    }
    Ok(())
}

/// Prints the table of counts.
pub fn print(rows: &[Row; KINDS.len()]) {
    let names = ["made", "bytewise", "urgent", "resets", "half", "closes", "ended", "MB sent", "MB read"];
    print!("\n{:<22}", "hostile clients");
    names.iter().for_each(|name| print!(" {name:>9}"));
    let mut sums = [0; 9];
    for (kind, row) in KINDS.iter().zip(rows) {
        print!("\n{:<22}", kind.name);
        let r = row;
        let cells = [r.connections, r.bytewise, r.urgent, r.resets, r.half_closes, r.closes, r.ended, r.sent, r.read];
        for (number, (cell, sum)) in cells.iter().zip(&mut sums).enumerate() {
            *sum += cell;
            print!(" {:>9}", if number < 7 { *cell } else { cell / 1_000_000 });
        }
    }
    print!("\n{:<22}", "all");
    sums.iter().enumerate().for_each(|(number, sum)| print!(" {:>9}", if number < 7 { *sum } else { sum / 1_000_000 }));
    println!();
}
