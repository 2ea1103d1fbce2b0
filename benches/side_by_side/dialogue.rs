//! Owns the fixed dialogues: one blocking client that sends the same batches of the same keys in each run, so that
//! counts of instructions and of system calls repeat. Called by `instructions` and `calls`.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::Outcome;
use crate::form::{self, FORMS, Form, Reply, Request};
use crate::server::{Door, Duplex, Server, Target};
use crate::template::{Keys, Template};
use crate::tls::Tls;
use crate::wire;

/// One dialogue.
pub struct Dialogue {
    pub name: &'static str,
    pub about: &'static str,
    form: &'static Form,
    depth: usize,
    /// A connection for each batch.
    pub churn: bool,
    pub tls: bool,
}

/// Keys of each dialogue: few, so that a run that a simulator makes fifty times longer stays short. Those of dialogues
/// that write lie behind those of the others, whose items so stay as popular as they are.
const KEYS: u32 = 2000;
pub const VALUE_SIZE: usize = 100;
/// Operations of a run; connections of one with `churn`.
const OPERATIONS: u64 = 2000;
const CONNECTIONS: u64 = 200;

static MGET: Form = Form {
    name: "mget50",
    request: Request::Text(
        "get @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @\r\n",
    ),
    ..form::PLAIN
};

const fn main_row(name: &'static str, form: &'static Form, depth: usize, about: &'static str) -> Dialogue {
    Dialogue { name, about, form, depth, churn: false, tls: false }
}

const fn tls_row(name: &'static str, form: &'static Form, depth: usize, about: &'static str) -> Dialogue {
    Dialogue { tls: true, ..main_row(name, form, depth, about) }
}

static MAIN: [Dialogue; 14] = [
    main_row("get1", &form::PLAIN, 1, "a get a write"),
    main_row("set1", &form::SET, 1, "a set a write"),
    main_row("pipe16", &form::PLAIN, 16, "16 gets a write"),
    main_row("pipe64", &form::PLAIN, 64, "64 gets a write"),
    main_row("crush50", &form::BLANK, 50, "50 gets a write, a blank before each line end"),
    main_row("mget50", &MGET, 1, "gets of 50 keys"),
    main_row("mg50", &form::META_GET, 50, "50 meta gets a write"),
    main_row("setpipe16", &form::SET, 16, "16 sets a write"),
    main_row("set64", &form::SET, 64, "64 sets a write"),
    Dialogue { churn: true, ..main_row("churn", &form::PLAIN, 1, "connect, get, close") },
    tls_row("tlsget1", &form::PLAIN, 1, "TLS, a get a write"),
    tls_row("tlspipe16", &form::PLAIN, 16, "TLS, 16 gets a write"),
    tls_row("tlsset1", &form::SET, 1, "TLS, a set a write"),
    Dialogue { churn: true, ..tls_row("tlschurn", &form::PLAIN, 1, "TLS, connect, get, close") },
];

/// The dialogues of these names, all for none. `forms` stands for those of the table of forms.
pub fn chosen(only: &[String]) -> Outcome<Vec<Dialogue>> {
    let of_form = |form: &'static Form| main_row(form.name, form, form.depth, form.about);
    let all = MAIN.iter().map(|row| Dialogue { ..*row }).chain(FORMS.iter().map(of_form)).collect::<Vec<_>>();
    let is_form = |row: &Dialogue| form::named(row.name).is_some();
    if let Some(name) = only.iter().find(|name| *name != "forms" && !all.iter().any(|row| row.name == **name)) {
        let names = all.iter().map(|row| row.name).collect::<Vec<_>>();
        return Err(format!("no dialogue {name}; there are: forms {}", names.join(" ")).into());
    }
    let asked = |row: &Dialogue| {
        only.is_empty() || only.iter().any(|name| row.name == name || (name == "forms" && is_form(row)))
    };
    Ok(all.into_iter().filter(asked).collect())
}

/// Starts a server for dialogues: its first port is plain, its second one speaks TLS where the program can. `memory`
/// is its `-m`, `descriptors` its `-c`.
pub fn start(target: &Target, core: Option<usize>, tls: &Tls, memory: &str, descriptors: &str) -> Outcome<Server> {
    let mut options = ["-m", memory, "-o", "hashpower=20", "-c", descriptors].map(str::to_owned).to_vec();
    if !target.speaks_tls() {
        return Server::start(target, core, &options);
    }
    options.extend(tls.options());
    Server::start_at(target, core, Door::Interfaces("notls:127.0.0.1,127.0.0.1"), &options)
}

/// Stores what dialogues ask for, and reads it in several seconds: a server notes reads by the second or the minute,
/// and what it does for an item depends on what it has noted.
pub fn prepare(server: &Server) -> Outcome<()> {
    fill(&mut server.connect()?, 2 * KEYS, VALUE_SIZE)?;
    let warm = main_row("warm", &MGET, 1, "");
    for _ in 0..WARM_SECONDS {
        let begun = Instant::now();
        Client::new(&warm, server, None)?.run()?;
        thread::sleep(Duration::from_millis(1100).saturating_sub(begun.elapsed()));
    }
    Ok(())
}

/// Seconds in which the items are read beforehand; a popular item has three marks.
const WARM_SECONDS: u32 = 4;

/// Stores the keys that the forms name.
pub fn fill(stream: &mut (impl Read + Write), keys: u32, value_size: usize) -> Outcome<()> {
    wire::fill(stream, 0, keys, value_size)?;
    let number = format!("set % 0 0 8 noreply\r\n{}\r\n", crate::template::NUMBER);
    for line in [number.as_str(), "ms & # b q\r\n$\r\n"] {
        const AT_ONCE: u32 = 500;
        let mut batch = Template::new(form::LINE, value_size);
        batch.push_lines(line, AT_ONCE.min(keys) as usize);
        let mut order = Keys::counted(0..keys);
        for _ in 0..keys.div_ceil(AT_ONCE) {
            batch.draw(&mut order);
            stream.write_all(&batch.bytes)?;
        }
        wire::sync(stream)?;
    }
    Ok(())
}

/// A client in a dialogue.
pub struct Client<'a> {
    dialogue: &'a Dialogue,
    server: &'a Server,
    tls: Option<&'a Tls>,
    stream: Option<Box<dyn Duplex>>,
    batch: Template,
    keys: Keys,
    buffer: Vec<u8>,
}

impl<'a> Client<'a> {
    /// Connects, unless each batch does.
    pub fn new(dialogue: &'a Dialogue, server: &'a Server, tls: Option<&'a Tls>) -> Outcome<Client<'a>> {
        let form = dialogue.form;
        let batch = Template::batch(form.request, form.tail, form.reply, dialogue.depth, VALUE_SIZE);
        let keys = Keys::shuffled(if form.reads() { 0..KEYS } else { KEYS..2 * KEYS });
        let mut client = Client { dialogue, server, tls, stream: None, batch, keys, buffer: vec![0; 1 << 20] };
        if !dialogue.churn {
            client.stream = Some(client.connect()?);
        }
        Ok(client)
    }

    fn connect(&self) -> Outcome<Box<dyn Duplex>> {
        if !self.dialogue.tls {
            return Ok(Box::new(self.server.connect()?));
        }
        Ok(Box::new(self.tls.ok_or("no certificate")?.connect(self.server, 1)?))
    }

    /// Sends every key to the server, as often as it takes to make a run. Returns the operations, or the connections.
    pub fn run(&mut self) -> Outcome<u64> {
        let churn = self.dialogue.churn;
        let (unit, least) = if churn { (1, CONNECTIONS) } else { (self.batch.operations, OPERATIONS) };
        let batches = least.div_ceil(unit);
        for _ in 0..batches {
            if churn {
                self.stream = Some(self.connect()?);
            }
            self.turn()?;
        }
        self.stream = self.stream.take().filter(|_| !churn);
        Ok(batches * unit)
    }

    /// One batch and its replies.
    fn turn(&mut self) -> Outcome<()> {
        self.batch.draw(&mut self.keys);
        let stream = self.stream.as_mut().ok_or("no connection")?;
        stream.write_all(&self.batch.bytes)?;
        stream.flush()?;
        let (mut size, mut seen) = (0, 0);
        while seen < self.batch.expected {
            let count = stream.read(&mut self.buffer[size..])?;
            if count == 0 {
                return Err("the server closed the connection".into());
            }
            size += count;
            seen = match self.batch.reply {
                Reply::Mark(mark) => memmem::find_iter(&self.buffer[..size], mark).count() as u64,
                Reply::Bytes { .. } => size as u64,
            };
        }
        if seen > self.batch.expected {
            let start = String::from_utf8_lossy(&self.buffer[..size.min(200)]).into_owned();
            return Err(format!("{}: more replies than requests, which begin {start:?}", self.dialogue.name).into());
        }
        Ok(())
    }
}
