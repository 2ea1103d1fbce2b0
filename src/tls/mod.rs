//! TLS configurations: certificates and protocol parameters, ready for use and replaceable.
//!
//! Owns the loaded configurations, their refresh, and the counters of TLS. Must not know sockets or connections: `net`
//! asks for the configuration of each new connection and carries the bytes. `server` loads it before the change of user
//! (only root may be able to read the key); sessions and SIGHUP refresh it.
//!
//! A refresh rebuilds everything and then swaps one pointer. Established connections keep their parameters, and files
//! that cannot be used change nothing. The session cache is replaced with its configuration, so that no client resumes
//! a session that predates a change of the required client certificates.

mod ciphers;
mod clients;
mod load;
mod reader;

use crate::settings::{Settings, Transport};
use clients::CountedSessions;
use load::Files;
use parking_lot::Mutex;
use reader::Reader;
use rustls::ServerConfig;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Counters of rare TLS events; each is the `stats` row of the same name with the prefix `ssl_`.
#[derive(Debug, Default)]
pub struct TlsCounters {
    /// Failed handshakes: no common version or suite, a certificate refused by either side, too slow.
    pub handshake_errors: AtomicU64,
    /// Bytes that are not TLS, and protocol violations after the handshake.
    pub proto_errors: AtomicU64,
    /// New sessions that a client may resume.
    pub new_sessions: AtomicU64,
}

impl TlsCounters {
    /// Clears the counters, for `stats reset`.
    pub fn reset(&self) {
        for counter in [&self.handshake_errors, &self.proto_errors, &self.new_sessions] {
            counter.store(0, Relaxed);
        }
    }
}

/// One configuration for each TLS listener kind.
struct Configs {
    usual: Arc<ServerConfig>,
    no_peer: Arc<ServerConfig>,
    peer: Arc<ServerConfig>,
}

/// The TLS state of a server.
pub struct Tls {
    files: Files,
    /// Refreshes requested.
    asked: AtomicU64,
    /// Number of the refresh that built the configurations, and the configurations.
    current: Mutex<(u64, Arc<Configs>)>,
    refreshed: AtomicU32,
    counters: Arc<TlsCounters>,
    /// Reads the files; empty = the caller of a refresh does.
    reader: OnceLock<Reader>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("ssl", &self.files.ssl).finish_non_exhaustive()
    }
}

impl Tls {
    /// Loads what `settings` name; `None` without `-Z`.
    ///
    /// # Errors
    /// The line for the operator, without a line feed.
    pub fn load(settings: &Settings) -> Result<Option<Self>, String> {
        let ssl = &settings.ssl;
        if !ssl.enabled {
            return Ok(None);
        }
        let counters = Arc::new(TlsCounters::default());
        let files = Files { ssl: ssl.clone(), directory: settings.directory.clone() };
        let configs = configs(&files, &counters)?;
        Ok(Some(Self {
            files,
            asked: AtomicU64::new(0),
            current: Mutex::new((0, Arc::new(configs))),
            // The clock starts above 0, so 0 means no refresh.
            refreshed: AtomicU32::new(0),
            counters,
            reader: OnceLock::new(),
        }))
    }

    /// Loads the files again at relative time `now`, for new connections.
    ///
    /// # Errors
    /// The line for the requester; nothing changes.
    pub fn refresh(&self, now: u32) -> Result<(), String> {
        self.reader.get().map_or_else(|| self.load_again(now), |reader| reader.refresh(now))
    }

    /// Starts a thread that reads the files from now on. A sandbox forbids workers to open files.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start_reader(self: &Arc<Self>) -> io::Result<()> {
        let tls = Arc::downgrade(self);
        let refresh = move |now| tls.upgrade().map_or(Ok(()), |tls| tls.load_again(now));
        // Fails only if there is a reader.
        let _ = self.reader.set(Reader::start(refresh)?);
        Ok(())
    }

    fn load_again(&self, now: u32) -> Result<(), String> {
        // Of concurrent refreshes the latest request wins, whichever reads its files faster.
        let number = self.asked.fetch_add(1, Relaxed) + 1;
        let configs = Arc::new(configs(&self.files, &self.counters)?);
        let mut current = self.current.lock();
        if number > current.0 {
            let before = std::mem::replace(&mut *current, (number, configs));
            drop(current);
            drop(before);
            self.refreshed.store(now, Relaxed);
        }
        Ok(())
    }

    /// Configuration of a new connection to a listener of this kind; `None` for plain ones.
    pub fn config(&self, transport: Transport) -> Option<Arc<ServerConfig>> {
        let (_, configs) = &*self.current.lock();
        let config = match transport {
            Transport::Plain => return None,
            Transport::Tls => &configs.usual,
            Transport::TlsNoPeer => &configs.no_peer,
            Transport::TlsPeer => &configs.peer,
        };
        Some(Arc::clone(config))
    }

    /// Maximum plain text that is encrypted before it is sent.
    pub fn write_size(&self) -> usize {
        (self.files.ssl.wbuf_size as usize).max(crate::limits::TLS_WRITE_MIN)
    }

    /// Relative time of the last refresh; 0 = none.
    pub fn refreshed(&self) -> u32 {
        self.refreshed.load(Relaxed)
    }

    /// The counters.
    pub fn counters(&self) -> &Arc<TlsCounters> {
        &self.counters
    }
}

fn configs(files: &Files, counters: &Arc<TlsCounters>) -> Result<Configs, String> {
    let ssl = &files.ssl;
    let versions = load::versions(ssl.min_version)?;
    let mut provider = rustls::crypto::ring::default_provider();
    let certified = files.certified_key(&provider)?;
    let roots = files.roots()?;
    if let Some(list) = &ssl.ciphers {
        provider.cipher_suites = ciphers::select(list, &provider.cipher_suites)
            .map_err(|complaint| format!("Error setting the provided cipher(s): {list} : {complaint}"))?;
    }
    let provider = Arc::new(provider);
    let config = |mode| {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|e| format!("Error setting the TLS versions: {e}"))?
            .with_client_cert_verifier(clients::verifier(mode, &roots, &provider)?)
            .with_cert_resolver(Arc::clone(&certified) as _);
        config.session_storage = CountedSessions::storage(ssl.session_cache, counters);
        Ok::<_, String>(Arc::new(config))
    };
    Ok(Configs {
        usual: config(ssl.verify_mode)?,
        no_peer: config(crate::settings::VerifyMode::Nothing)?,
        peer: config(crate::settings::VerifyMode::Require)?,
    })
}
