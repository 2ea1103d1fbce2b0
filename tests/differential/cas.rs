//! Owns the cas ids that the reference has shown, for commands that use them. Called by `drive` and `datagrams`.

use std::collections::HashMap;

use crate::compare::packets;
use crate::stream::Part;

/// The last id shown, by key.
#[derive(Default)]
pub struct Ids(HashMap<Vec<u8>, Vec<u8>>);

impl Ids {
    /// Appends the bytes of a part that has any.
    pub fn fill(&self, part: &Part, bytes: &mut Vec<u8>) {
        match part {
            Part::Bytes(literal) => bytes.extend_from_slice(literal),
            Part::Cas(key) => bytes.extend_from_slice(self.0.get(key).map_or(b"1", Vec::as_slice)),
            Part::CasNumber(key) => {
                let text = self.0.get(key).map_or("1".into(), |cas| String::from_utf8_lossy(cas));
                bytes.extend_from_slice(&text.parse::<u64>().unwrap_or(1).to_be_bytes());
            }
            Part::Split | Part::Barrier => {}
        }
    }

    /// Learns ids from packets that carry a key.
    pub fn learn_packets(&mut self, reply: &[u8]) {
        for (header, body) in packets(reply) {
            let (key, extras) = (usize::from(u16::from_be_bytes([header[2], header[3]])), usize::from(header[4]));
            let cas = u64::from_be_bytes([16, 17, 18, 19, 20, 21, 22, 23].map(|at| header[at]));
            if header[0] == 0x81 && cas != 0 && key > 0 {
                let Some(key) = body.get(extras..extras + key) else { continue };
                self.0.insert(key.to_vec(), cas.to_string().into_bytes());
            }
        }
    }

    pub fn learn_lines(&mut self, reply: &[u8]) {
        for line in reply.split(|byte| *byte == b'\n') {
            let words = line.trim_ascii_end().split(|byte| *byte == b' ').collect::<Vec<_>>();
            if let [b"VALUE", key, _, _, cas] = words[..] {
                self.0.insert(key.to_vec(), cas.to_vec());
            }
        }
    }
}
