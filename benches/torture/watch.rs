//! Owns listening clients: watchers, fast and slow ones, and dump readers that are slow and vanish. Called by
//! `chores`, one thread each.

use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::chores::Chore;
use crate::{Outcome, Phase};

/// Maximum duration of one conversation.
const CONVERSATION: Duration = Duration::from_secs(4);

/// Watches until the run ends, periodically on a new connection.
pub fn watch(mut chore: Chore<'_>, slow: bool) {
    repeat(&mut chore, |chore| {
        let classes = ["fetchers", "mutations", "evictions", "deletions", "connevents", "fetchers mutations evictions"];
        let class = classes[chore.rng.usize(..classes.len())];
        let mut stream = say(chore, &format!("watch {class}\r\n"))?;
        let lines = listen(chore, &mut stream, slow, |line, first| match first {
            // Hostile clients take watcher slots too.
            true => line == b"OK" || line.starts_with(b"WATCHER_TOO_MANY "),
            // Dropped lines leave a `skipped=` line.
            false => line.starts_with(b"ts=") || line.starts_with(b"skipped="),
        })?;
        chore.counts.add("watch", 1);
        chore.counts.add("lines watched", lines);
        Ok(())
    });
}

/// Requests dumps, reads a little, and disconnects.
pub fn dump_slowly(mut chore: Chore<'_>) {
    repeat(&mut chore, |chore| {
        let commands = ["metadump all", "metadump hash", "mgdump all", "mgdump hash"];
        let command = commands[chore.rng.usize(..commands.len())];
        let mut stream = say(chore, &format!("lru_crawler {command}\r\n"))?;
        listen(chore, &mut stream, true, |_, _| true)?;
        chore.counts.add("slow dumps", 1);
        Ok(())
    });
}

fn repeat(chore: &mut Chore<'_>, mut one: impl FnMut(&mut Chore<'_>) -> Outcome<()>) {
    while chore.run.phase() != Phase::End {
        if !chore.run.chores_go_on() {
            thread::sleep(Duration::from_millis(5));
        } else if let Err(problem) = one(chore) {
            chore.run.fault(format!("a client that listens: {problem}"));
            return;
        }
    }
}

fn say(chore: &Chore<'_>, command: &str) -> Outcome<TcpStream> {
    use std::io::Write as _;
    let mut stream = chore.server.connect()?;
    stream.write_all(command.as_bytes())?;
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    Ok(stream)
}

/// Reads for a while; every whole line must satisfy `known`. Returns the number of lines.
fn listen(
    chore: &mut Chore<'_>,
    stream: &mut TcpStream,
    slow: bool,
    known: impl Fn(&[u8], bool) -> bool,
) -> Outcome<u64> {
    let until = Instant::now() + CONVERSATION.mul_f64(chore.rng.f64());
    let (mut buffer, mut text, mut lines) = (vec![0; if slow { 512 } else { 65_536 }], Vec::new(), 0);
    while Instant::now() < until && chore.run.chores_go_on() {
        match stream.read(&mut buffer) {
            // After its end a dump leaves the connection open or closed.
            Ok(0) => break,
            Ok(n) => text.extend_from_slice(&buffer[..n]),
            Err(problem) if problem.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(problem) => return Err(problem.into()),
        }
        while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let line = line.trim_ascii_end();
            if !known(line, lines == 0) {
                return Err(format!("{:?}", String::from_utf8_lossy(line)).into());
            }
            lines += 1;
        }
        if slow {
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(lines)
}
