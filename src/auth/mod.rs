//! Authentication: files of users, SASL mechanisms, and password checks.
//!
//! Owns the credentials in force and their reload, the thread of slow checks, and the log of failed logins. Must not
//! know connections or protocols: a session asks it and writes the replies. `server` loads it after the change of user,
//! so that a reload can read what the start could; SIGHUP reloads it.
//!
//! Clients cannot learn which users exist: an unknown name takes the same path as a known one, with a salt and keys
//! made from the name and a secret of the process.

mod check;
mod conf;
mod cram;
mod credentials;
mod failures;
mod hashed;
mod queue;
mod sasl;
mod scram;
mod seed;

use crate::settings::Settings;
use crate::sys::error_text;
use crate::sys::process::host_name;
use failures::Failures;
use parking_lot::Mutex;
use queue::Queue;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use check::{Answer, Check};
pub use credentials::{Credentials, Format, Malformed};
pub use hashed::{ITERATIONS_DEFAULT, Verifier, hash_line};
pub use queue::{CheckDone, Source as CheckSource, Ticket};
pub use sasl::{Exchange, Mechanism, Outcome};
pub use seed::Seed;

/// One file of users and its current credentials.
struct UserSource {
    /// `None` if the credentials did not come from a file.
    file: Option<File>,
    format: Format,
    current: Mutex<Arc<Credentials>>,
}

struct File {
    /// As the operator wrote it, for error texts.
    given: PathBuf,
    /// Resolved against the directory of the start, whatever the current directory has become.
    path: PathBuf,
}

impl UserSource {
    fn new(file: Option<File>, credentials: Credentials) -> Self {
        Self { file, format: credentials.format(), current: Mutex::new(Arc::new(credentials)) }
    }

    fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.current.lock())
    }

    /// Reads the file again; the current credentials stay if it cannot be used.
    fn reload(&self, seed: &Seed) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let credentials = Arc::new(read(file, self.format, seed)?);
        let before = std::mem::replace(&mut *self.current.lock(), credentials);
        drop(before); // a long list is freed outside the lock
        Ok(())
    }
}

/// Authentication state of a server.
pub struct Auth {
    /// `-Y`: users of text connections.
    tokens: Option<UserSource>,
    /// `-S`: users of the binary protocol.
    sasl: Option<UserSource>,
    /// Enabled mechanisms, by `mech_list`.
    mechanisms: Vec<Mechanism>,
    seed: Seed,
    queue: Queue,
    failures: Failures,
}

impl Auth {
    /// Loads what `settings` and the environment name; `None` without `-S` and `-Y`.
    ///
    /// # Errors
    /// The line for the operator, without a line feed.
    pub fn load(settings: &Settings, env: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, String> {
        if !settings.sasl && settings.auth_file.is_none() {
            return Ok(None);
        }
        let mut auth = Self::none()?;
        if settings.sasl {
            auth.mechanisms = conf::mechanisms(&env)?;
            auth.sasl = Some(open_sasl(settings, &env, &auth.seed)?);
        }
        if let Some(path) = &settings.auth_file {
            auth.tokens = Some(open(path, settings, Format::Tokens, &auth.seed)?);
        }
        Ok(Some(auth))
    }

    /// The same from given credentials; a reload changes nothing.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn of(tokens: Option<Credentials>, sasl: Option<Credentials>) -> Result<Self, String> {
        let source = |credentials| UserSource::new(None, credentials);
        Ok(Self { tokens: tokens.map(source), sasl: sasl.map(source), ..Self::none()? })
    }

    fn none() -> Result<Self, String> {
        let seed = Seed::random().map_err(|_| "No random numbers from the system")?;
        Ok(Self {
            tokens: None,
            sasl: None,
            mechanisms: Mechanism::ALL.to_vec(),
            seed,
            queue: Queue::default(),
            failures: Failures::default(),
        })
    }

    /// Reads the files again. Returns a line for the operator for each file that cannot be used; its credentials stay
    /// in force.
    pub fn reload(&self) -> Vec<String> {
        let sources = [&self.tokens, &self.sasl].into_iter().flatten();
        sources.filter_map(|source| source.reload(&self.seed).err()).collect()
    }

    /// Users of text connections; `None` = no login needed.
    pub fn tokens(&self) -> Option<Arc<Credentials>> {
        self.tokens.as_ref().map(UserSource::current)
    }

    /// Users of the binary protocol; `None` = no login needed.
    pub fn sasl(&self) -> Option<Arc<Credentials>> {
        self.sasl.as_ref().map(UserSource::current)
    }

    /// Whether text connections must log in.
    pub fn wants_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Whether the binary protocol needs a login.
    pub fn wants_sasl(&self) -> bool {
        self.sasl.is_some()
    }

    /// Mechanisms that every user of `credentials` can log in with, in the order of `mech_list`, by default the
    /// strongest first.
    pub fn mechanisms(&self, credentials: &Credentials) -> impl Iterator<Item = Mechanism> {
        let hashed = credentials.has_hashed();
        self.mechanisms.iter().copied().filter(move |mechanism| !(hashed && *mechanism == Mechanism::CramMd5))
    }

    /// Runs `check` on the thread for slow checks, then calls `done`. If too many checks wait, calls `done` of one of
    /// them at once, without an answer. Dropping the ticket withdraws the check.
    pub fn submit(&self, check: Check, source: CheckSource, done: CheckDone) -> Ticket {
        self.queue.submit(check, source, done)
    }

    /// Starts the thread for slow checks now. A sandbox forbids a worker to start it with the first check.
    pub fn start_thread(&self) {
        self.queue.run();
    }

    /// Counts a login that failed at relative time `now`; logs failures periodically.
    pub fn failed(&self, now: u32, source: &dyn std::fmt::Display) {
        self.failures.note(now, source);
    }
}

/// Reads `path` at start.
fn open(path: &Path, settings: &Settings, format: Format, seed: &Seed) -> Result<UserSource, String> {
    let file = File { given: path.to_owned(), path: settings.locate(path) };
    let credentials = read(&file, format, seed)?;
    Ok(UserSource::new(Some(file), credentials))
}

fn open_sasl(settings: &Settings, env: impl Fn(&str) -> Option<OsString>, seed: &Seed) -> Result<UserSource, String> {
    let Some(path) = env("MEMCACHED_SASL_PWDB").filter(|path| !path.is_empty()) else {
        return Err("Error initializing sasl.\n\
                    MEMCACHED_SASL_PWDB must name a file of user:password lines, or of lines made by\n\
                    oxcached --hash-password; the database of saslpasswd2 (sasldb) is not read"
            .to_owned());
    };
    open(Path::new(&path), settings, Format::Pwdb, seed)
        .map_err(|complaint| format!("Error initializing sasl.\n{complaint}"))
}

fn read(file: &File, format: Format, seed: &Seed) -> Result<Credentials, String> {
    let shown = file.given.display();
    let what = match format {
        Format::Tokens => "authfile",
        Format::Pwdb => "sasl database",
    };
    let unreadable = |e: io::Error| {
        let reason = error_text(&e);
        format!("Could not open {what} [{shown}] for reading, error {reason}: {reason}")
    };
    let bytes = std::fs::read(&file.path).map_err(unreadable)?;
    let credentials = Credentials::parse(&bytes, format, seed).map_err(|Malformed { line, hashed }| {
        if hashed {
            format!("{what} [{shown}]: line {line} is no line of oxcached --hash-password")
        } else {
            format!("Authfile [{shown}] has a malformed entry. Should be 'user:password'")
        }
    })?;
    Ok(match format {
        Format::Tokens => credentials,
        Format::Pwdb => credentials.with_realm(&host_name()),
    })
}

#[cfg(test)]
mod tests {
    //! Logins through all parts, without connections.

    use super::*;

    fn auth(text: &str) -> Auth {
        let seed = Seed::from_bytes(&[7; 32]);
        Auth::of(None, Some(Credentials::parse(text.as_bytes(), Format::Pwdb, &seed).unwrap())).unwrap()
    }

    /// Runs a check in place.
    fn settle(exchange: &mut Exchange, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Check(check) => {
                check.run();
                exchange.checked(check.answer().get().unwrap())
            }
            other => other,
        }
    }

    fn offered(text: &str) -> Vec<&'static str> {
        let auth = auth(text);
        auth.mechanisms(&auth.sasl().unwrap()).map(Mechanism::name).collect()
    }

    #[test]
    fn a_mechanism_that_needs_the_password_is_not_offered_when_one_is_hashed() {
        assert_eq!(offered("ann:x"), ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN"]);
        let mixed = format!("ann:x\n{}", hash_line("bob", b"y", 4096).unwrap());
        assert_eq!(offered(&mixed), ["SCRAM-SHA-256", "PLAIN"]);
        let mut exchange = Exchange::default();
        assert!(matches!(exchange.start(&auth(&mixed), b"CRAM-MD5", b""), Outcome::Denied));
    }

    #[test]
    fn plain() {
        let auth = auth("ann:x\nbob:a b");
        let try_it = |initial: &[u8]| {
            let mut exchange = Exchange::default();
            let outcome = exchange.start(&auth, b"plain", initial);
            matches!(settle(&mut exchange, outcome), Outcome::Granted)
        };
        assert!(try_it(b"\0ann\0x") && try_it(b"ann\0ann\0x") && try_it(b"\0bob\0a b"));
        for refused in
            [&b"\0ann\0y"[..], b"bob\0ann\0x", b"\0ann\0x\0", b"\0ann", b"ann", b"\0\0", b"\0\0x", b"\0eve\0x"]
        {
            assert!(!try_it(refused), "{refused:?}");
        }
        let mut exchange = Exchange::default();
        assert!(matches!(exchange.start(&auth, b"PLAIN", b""), Outcome::Continue(c) if c.is_empty()));
        let outcome = exchange.step(&auth, b"\0ann\0x");
        assert!(matches!(settle(&mut exchange, outcome), Outcome::Granted));
        assert!(matches!(exchange.step(&auth, b"\0ann\0x"), Outcome::Denied), "it is over");
    }

    #[test]
    fn cram_md5() {
        let auth = auth("ann:x\nann:z");
        for (password, right) in [("x", true), ("z", true), ("y", false)] {
            for user in ["ann", "eve"] {
                let mut exchange = Exchange::default();
                let Outcome::Continue(challenge) = exchange.start(&auth, b"CRAM-MD5", b"") else {
                    panic!("no challenge")
                };
                let digest = cram::digest(&challenge, password.as_bytes()).unwrap();
                let outcome = exchange.step(&auth, format!("{user} {digest}").as_bytes());
                assert_eq!(matches!(outcome, Outcome::Granted), right && user == "ann", "{user} {password}");
            }
        }
        let mut exchange = Exchange::default();
        assert!(matches!(exchange.start(&auth, b"CRAM-MD5", b"early"), Outcome::Denied));
    }

    #[test]
    fn scram_knows_plain_and_hashed_users_and_hides_which_exist() {
        let auth = auth(&format!("ann:x\n{}", hash_line("bob", b"y", 4096).unwrap()));
        for (user, password, right) in
            [("ann", "x", true), ("bob", "y", true), ("ann", "y", false), ("bob", "x", false), ("eve", "x", false)]
        {
            let mut exchange = Exchange::default();
            let mut client = scram::tests::Client::new(user, password);
            let outcome = exchange.start(&auth, b"SCRAM-SHA-256", client.first().as_bytes());
            let Outcome::Continue(first) = settle(&mut exchange, outcome) else { panic!("{user}: no challenge") };
            assert!(String::from_utf8(first.clone()).unwrap().ends_with(",i=4096"));
            match exchange.step(&auth, client.last(&first).as_bytes()) {
                Outcome::Continue(signature) => {
                    assert!(right && client.believes(&signature), "{user} {password}");
                    assert!(matches!(exchange.step(&auth, b""), Outcome::Granted));
                }
                outcome => assert!(!right && matches!(outcome, Outcome::Denied), "{user} {password}"),
            }
        }
    }

    #[test]
    fn a_reload_keeps_what_it_cannot_replace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::fs::write(&path, "ann:x\n").unwrap();
        let settings = Settings { auth_file: Some(path.clone()), ..Settings::default() };
        let auth = Auth::load(&settings, |_| None).unwrap().unwrap();
        let may = |password: &[u8]| auth.tokens().unwrap().check(b"ann", password);
        assert!(may(b"x"));
        std::fs::write(&path, "ann:y\n").unwrap();
        assert!(auth.reload().is_empty() && may(b"y") && !may(b"x"));
        std::fs::write(&path, "nonsense\n").unwrap();
        assert_eq!(auth.reload().len(), 1);
        assert!(may(b"y"));
        std::fs::remove_file(&path).unwrap();
        let complaints = auth.reload();
        assert!(complaints[0].starts_with("Could not open authfile ["), "{complaints:?}");
        assert!(may(b"y"));
    }

    #[test]
    fn sasl_without_users_says_what_to_do() {
        let settings = Settings { sasl: true, ..Settings::default() };
        let complaint = Auth::load(&settings, |_| None).err().unwrap();
        assert!(complaint.starts_with("Error initializing sasl.\nMEMCACHED_SASL_PWDB must name"), "{complaint}");
        let absent = |name: &str| (name == "MEMCACHED_SASL_PWDB").then(|| "/nonexistent".into());
        let complaint = Auth::load(&settings, absent).err().unwrap();
        assert!(
            complaint.starts_with("Error initializing sasl.\nCould not open sasl database [/nonexistent]"),
            "{complaint}"
        );
    }
}
