//! Datagrams: their framing, and the answer to one, turn by turn.

mod answer;
mod framing;
