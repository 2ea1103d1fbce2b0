//! What the fuzz targets do with an input, one module a target, and what must hold afterwards.
//!
//! A target's `run` panics when a promise is broken; it needs no fuzzer. `targets/*.rs` give it to libFuzzer,
//! `tests/it/fuzz_corpus.rs` includes this file and runs every input that is kept.

#![allow(clippy::unwrap_used, reason = "a test: what is not there fails it")]

pub mod auth;
pub mod binary;
mod conversation;
mod framing;
pub mod meta;
mod server;
pub mod session;
pub mod text;
pub mod udp;

#[path = "../../tests/support/mod.rs"]
mod support;

/// Has what a target complains of written to the file that `FUZZ_COMPLAINT` names: standard error is closed while a
/// fuzzer runs, and some faults show only after other inputs.
pub fn keep_complaints() {
    let Some(file) = std::env::var_os("FUZZ_COMPLAINT") else { return };
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = std::fs::write(&file, format!("{panic}\n"));
        before(panic);
    }));
}

/// A byte that is rare in conversations and tells the parts of an input apart: twice for a border (`udp`, `binary`), or
/// with the letter of an operation behind it (`session`).
const ESCAPE: u8 = 0xfa;

/// The parts of an input between borders.
fn parts(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let border = input.windows(2).position(|pair| pair == [ESCAPE, ESCAPE]);
        let (part, rest) = match border {
            Some(at) => (&input[..at], &input[at + 2..]),
            None => {
                ended = true;
                (input, &input[input.len()..])
            }
        };
        input = rest;
        Some(part)
    })
}

/// Random numbers that the same input draws again.
fn dice(input: &[u8]) -> fastrand::Rng {
    let mixed = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    fastrand::Rng::with_seed(mixed)
}

/// Whether `part` occurs in `whole`.
fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}
