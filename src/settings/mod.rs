//! Placeholder until the option table lands: the fields that the network layer reads.

/// Settings of one server; replaced by the option table.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Settings {
    pub maxbytes: u64,
    pub maxconns: u32,
    pub port: i32,
    pub udpport: i32,
    pub num_threads: u32,
    pub reqs_per_event: u32,
    pub backlog: i32,
    pub idle_timeout: i32,
    pub maxconns_fast: bool,
    pub read_buf_mem_limit: u32,
    pub socketpath: Option<String>,
    pub access: u32,
    pub verbose: i32,
    pub num_threads_per_udp: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            maxbytes: 64 << 20,
            maxconns: 1024,
            port: 11211,
            udpport: 0,
            num_threads: 4,
            reqs_per_event: 20,
            backlog: 1024,
            idle_timeout: 0,
            maxconns_fast: true,
            read_buf_mem_limit: 0,
            socketpath: None,
            access: 0o700,
            verbose: 0,
            num_threads_per_udp: 4,
        }
    }
}
