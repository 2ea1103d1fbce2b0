//! Packets, built part by part.

/// A request or reply under construction.
#[derive(Clone, Debug)]
pub struct Packet {
    magic: u8,
    opcode: u8,
    status: u16,
    opaque: u32,
    cas: u64,
    extras: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
}

const OPAQUE: u32 = 0xdead_beef;

pub fn req(opcode: u8) -> Packet {
    let (extras, key, value) = (Vec::new(), Vec::new(), Vec::new());
    Packet { magic: 0x80, opcode, status: 0, opaque: OPAQUE, cas: 0, extras, key, value }
}

pub fn res(opcode: u8) -> Packet {
    Packet { magic: 0x81, ..req(opcode) }
}

/// An error reply: number and text.
pub fn err(opcode: u8, status: u16) -> Packet {
    let text = match status {
        0x01 => "Not found",
        0x02 => "Data exists for key.",
        0x03 => "Too large.",
        0x04 => "Invalid arguments",
        0x05 => "Not stored.",
        0x06 => "Non-numeric server-side value for incr or decr",
        0x20 => "Auth failure.",
        0x81 => "Unknown command",
        0x82 => "Out of memory",
        _ => panic!("no such status"),
    };
    res(opcode).status(status).value(text)
}

/// Request of the `set` family: flags, expiry time, key, value.
pub fn store(opcode: u8, key: &str, flags: u32, exptime: u32, value: &str) -> Packet {
    req(opcode).u32(flags).u32(exptime).key(key).value(value)
}

pub fn set(key: &str, value: &str) -> Packet {
    store(0x01, key, 0, 0, value)
}

pub fn get(key: &str) -> Packet {
    req(0x00).key(key)
}

/// Request of the `incr` family.
pub fn arith(opcode: u8, key: &str, delta: u64, initial: u64, exptime: u32) -> Packet {
    req(opcode).u64(delta).u64(initial).u32(exptime).key(key)
}

/// A hit without key.
pub fn hit(opcode: u8, cas: u64, flags: u32, value: &str) -> Packet {
    res(opcode).cas(cas).u32(flags).value(value)
}

impl Packet {
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn cas(mut self, cas: u64) -> Self {
        self.cas = cas;
        self
    }

    pub fn opaque(mut self, opaque: u32) -> Self {
        self.opaque = opaque;
        self
    }

    pub fn u32(mut self, n: u32) -> Self {
        self.extras.extend(n.to_be_bytes());
        self
    }

    pub fn u64(mut self, n: u64) -> Self {
        self.extras.extend(n.to_be_bytes());
        self
    }

    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = key.as_ref().to_vec();
        self
    }

    pub fn value(mut self, value: impl AsRef<[u8]>) -> Self {
        self.value = value.as_ref().to_vec();
        self
    }

    /// Adds a body of one big-endian number.
    pub fn number(self, n: u64) -> Self {
        self.value(n.to_be_bytes())
    }

    pub fn bytes(&self) -> Vec<u8> {
        let body = (self.extras.len() + self.key.len() + self.value.len()) as u32;
        let mut bytes = vec![self.magic, self.opcode];
        bytes.extend((self.key.len() as u16).to_be_bytes());
        bytes.extend([self.extras.len() as u8, 0]);
        bytes.extend(self.status.to_be_bytes());
        bytes.extend(body.to_be_bytes());
        bytes.extend(self.opaque.to_be_bytes());
        bytes.extend(self.cas.to_be_bytes());
        bytes.extend(&self.extras);
        bytes.extend(&self.key);
        bytes.extend(&self.value);
        bytes
    }
}

/// Concatenated packets.
pub fn all(packets: &[Packet]) -> Vec<u8> {
    packets.iter().flat_map(Packet::bytes).collect()
}

/// Key and value of each reply in `bytes`.
pub fn rows(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<24>() {
        let key = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let extras = usize::from(header[4]);
        let body = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        rows.push((text(&rest[extras..extras + key]), text(&rest[extras + key..body])));
        bytes = &rest[body..];
    }
    rows
}
