//! Datagrams: their framing, requests in them, and the answer to one, turn by turn.

mod answer;
mod framing;
mod requests;
