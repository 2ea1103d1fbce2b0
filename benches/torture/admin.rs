//! Owns an operator's connection: one command, its whole reply. Called by `chores`, `watch` and `sums`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::server::Server;
use crate::{Outcome, wire};

pub struct Admin {
    stream: TcpStream,
    replies: BufReader<TcpStream>,
}

impl Admin {
    pub fn new(server: &Server) -> Outcome<Self> {
        let stream = server.connect()?;
        Ok(Self { replies: BufReader::new(stream.try_clone()?), stream })
    }

    pub fn send(&mut self, command: &str) -> Outcome<()> {
        Ok(self.stream.write_all(format!("{command}\r\n").as_bytes())?)
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> Outcome<String> {
        let mut line = Vec::new();
        self.replies.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err("the server closed the connection".into());
        }
        line.pop_if(|last| *last == b'\r');
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Runs a command with a one-line reply.
    pub fn ask(&mut self, command: &str) -> Outcome<String> {
        self.send(command)?;
        self.line()
    }

    /// Runs a command with a reply that ends with `END`; returns its lines.
    pub fn ask_for_lines(&mut self, command: &str) -> Outcome<Vec<String>> {
        self.send(command)?;
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            match line.as_str() {
                "END" => return Ok(lines),
                _ if line.contains("ERROR") || line.starts_with("BUSY") => {
                    return Err(format!("{command}: {line}").into());
                }
                _ => lines.push(line),
            }
        }
    }

    pub fn stats(&mut self) -> Outcome<HashMap<String, String>> {
        wire::stats(&mut self.stream)
    }
}
