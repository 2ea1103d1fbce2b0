//! A handler that does what each line requests, so that tests can drive every step of a session.

use oxcached::maint::WatchSink;
use oxcached::net::{Handler, Remote};
use oxcached::proto::{CloseReason, ConnState, Cx, Input, Output, Protocol, Shared, Step};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Suspended connections by the name in their line.
static LATER: Mutex<Option<HashMap<String, Remote>>> = Mutex::new(None);

/// Takes the handle of the connection suspended under `name`, once it is.
pub fn later(name: &str) -> Option<Remote> {
    LATER.lock().unwrap().as_mut().and_then(|all| all.remove(name))
}

/// A stalled worker's side of its [`Stall`]: reports its arrival, then waits until the other side is dropped.
type Stalled = (Sender<()>, Receiver<()>);

/// Prepared stalls, by the name in the line.
static STALLS: Mutex<Option<HashMap<String, Stalled>>> = Mutex::new(None);

/// Stalls the whole worker of a connection: the line `stall NAME` does not return while this lives.
pub struct Stall {
    reached: Receiver<()>,
    end: Option<Sender<()>>,
}

impl Stall {
    pub fn new(name: &str) -> Self {
        let ((reach, reached), (end, ended)) = (channel(), channel());
        STALLS.lock().unwrap().get_or_insert_default().insert(name.to_owned(), (reach, ended));
        Self { reached, end: Some(end) }
    }

    /// Waits until the worker is stalled.
    pub fn reached(&self) {
        self.reached.recv().unwrap();
    }

    /// Resumes the worker.
    pub fn end(mut self) {
        self.end = None;
    }
}

#[derive(Default)]
pub struct Script {
    upload: Vec<u8>,
    arrived: usize,
    name: String,
    logged_in: bool,
    spins: bool,
}

impl Script {
    fn command(&mut self, line: &str, out: &mut Output) -> Step {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "echo" => out.put(rest.as_bytes()),
            "big" => out.put(&vec![b'b'; rest.parse().unwrap()]),
            "multi" => {
                for word in rest.split(' ') {
                    out.put(word.as_bytes());
                    out.put(b"\r\n");
                    out.end_of_reply();
                }
                return Step::Read;
            }
            "none" => return Step::Read,
            "upload" => {
                self.upload = vec![0; rest.parse().unwrap()];
                self.arrived = 0;
                return Step::Read;
            }
            "flush" => {
                out.put(b"flushed\r\n");
                return Step::Flush;
            }
            "stall" => {
                let (reach, ended) = STALLS.lock().unwrap().as_mut().unwrap().remove(rest).unwrap();
                reach.send(()).unwrap();
                let _ = ended.recv();
                return Step::Read;
            }
            "login" => {
                self.logged_in = true;
                out.put(b"welcome");
            }
            "spin" => {
                self.spins = true;
                return Step::Flush;
            }
            "later" => {
                self.name = rest.to_owned();
                return Step::Suspend;
            }
            "away" => return Step::HandOver,
            "panic" => panic!("as asked"),
            "last" => {
                out.put(rest.as_bytes());
                out.put(b"\r\n");
                return Step::Close(CloseReason::Error);
            }
            "bye" => {
                out.put(&vec![b'b'; rest.parse().unwrap()]);
                return Step::Close(CloseReason::Normal);
            }
            "abort" => return Step::Abort(CloseReason::Error),
            "quit" => {
                out.end_of_reply();
                return Step::Close(CloseReason::Normal);
            }
            other => out.put(format!("what is {other}?").as_bytes()),
        }
        out.put(b"\r\n");
        out.end_of_reply();
        Step::Read
    }
}

impl Handler for Script {
    fn new(_: Protocol) -> Self {
        Self::default()
    }

    fn run(&mut self, _: &mut Cx<'_>, input: &mut Input, out: &mut Output, budget: &mut u32) -> Step {
        if self.spins {
            return Step::Flush;
        }
        loop {
            if !self.upload.is_empty() {
                let n = input.bytes().len().min(self.upload.len() - self.arrived);
                self.upload[self.arrived..self.arrived + n].copy_from_slice(&input.bytes()[..n]);
                input.consume(n);
                self.arrived += n;
                if self.arrived < self.upload.len() {
                    return Step::Read;
                }
                let sum: u64 = self.upload.iter().map(|byte| u64::from(*byte)).sum();
                out.put(format!("sum {sum}\r\n").as_bytes());
                self.upload = Vec::new();
            }
            let Some(end) = input.bytes().iter().position(|byte| *byte == b'\n') else { return Step::Read };
            if *budget == 0 {
                return Step::Yield;
            }
            if out.is_full() {
                return Step::Flush;
            }
            *budget -= 1;
            let line = String::from_utf8_lossy(&input.bytes()[..end]).trim_end().to_owned();
            input.consume(end + 1);
            match self.command(&line, out) {
                Step::Read => {}
                step => return step,
            }
        }
    }

    fn upload_target(&mut self) -> Option<&mut [u8]> {
        (self.arrived < self.upload.len()).then(|| &mut self.upload[self.arrived..])
    }

    fn uploaded(&mut self, n: usize) {
        self.arrived += n;
    }

    fn suspended(&mut self, _: &Shared, _: Option<SocketAddr>, remote: Remote) {
        LATER.lock().unwrap().get_or_insert_default().insert(self.name.clone(), remote);
    }

    fn peer_ended(&self) {}

    fn resume(&mut self, reply: &[u8], out: &mut Output) {
        out.put(reply);
    }

    fn hand_over(&mut self, mut socket: Box<dyn WatchSink>) {
        let _ = socket.write(b"handed over\r\n");
    }

    fn waiting_state(&self) -> ConnState {
        if self.upload.is_empty() { ConnState::Read } else { ConnState::Nread }
    }

    fn mid_request(&self) -> bool {
        !self.upload.is_empty()
    }

    fn awaits_login(&self, shared: &Shared) -> bool {
        shared.auth.is_some() && !self.logged_in
    }

    fn refuse_late(&mut self, _: &Shared, out: &mut Output) {
        out.put(b"too late\r\n");
    }
}
