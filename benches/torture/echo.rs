//! Owns the baseline of the machine: a round trip between two threads of this program over loopback, at the pace of a
//! single connection. Latency here is independent of any server. Called by `main`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::{Outcome, Phase, ROWS, Run};

const REST: Duration = Duration::from_micros(400);

/// Round trips by phase, until the run ends.
pub fn measure(run: &Run) -> Outcome<[Histogram; ROWS]> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut stream = TcpStream::connect(listener.local_addr()?)?;
    stream.set_nodelay(true)?;
    let (mut other, _) = listener.accept()?;
    other.set_nodelay(true)?;
    let mut latency: [Histogram; ROWS] = std::array::from_fn(|_| Histogram::new());
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0];
            while other.read_exact(&mut byte).and_then(|()| other.write_all(&byte)).is_ok() {}
        });
        while run.phase() != Phase::End {
            let phase = run.phase();
            let begun = Instant::now();
            let mut byte = [0];
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            if let Some(row) = phase.measured().filter(|_| run.phase() == phase) {
                latency[row].record(begun.elapsed().as_nanos() as u64);
            }
            thread::sleep(REST);
        }
        drop(stream);
        Ok(latency)
    })
}
