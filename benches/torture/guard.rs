//! Owns the second server, which requires logins on its first listener and TLS on its second, and one client of it
//! that logs in and is served next to those that do not. Called by `main` and `ends`.

use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::admin::Admin;
use crate::server::{Server, Target};
use crate::{Outcome, Phase, Run, start_of};

const LOGIN: &str = "host welcome";

/// The server and its start files.
pub struct Guarded {
    pub server: Server,
    _files: TempDir,
}

impl Guarded {
    pub fn start(target: &Target) -> Outcome<Self> {
        let files = tempfile::tempdir()?;
        let path = |name: &str| files.path().join(name).display().to_string();
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        std::fs::write(path("chain.pem"), pair.cert.pem())?;
        std::fs::write(path("key.pem"), pair.signing_key.serialize_pem())?;
        std::fs::write(path("users"), LOGIN.replace(' ', ":") + "\n")?;
        let ssl = format!("ssl_chain_cert={},ssl_key={}", path("chain.pem"), path("key.pem"));
        let server =
            start_of(target, "notls:127.0.0.1,127.0.0.1", 64, &["-U", "0", "-Z", "-o", &ssl, "-Y", &path("users")])?;
        Ok(Self { server, _files: files })
    }

    /// A connection that has logged in.
    pub fn admin(&self) -> Outcome<Admin> {
        let mut admin = Admin::new(&self.server)?;
        match admin.ask(&format!("set login 0 0 {}\r\n{LOGIN}", LOGIN.len()))?.as_str() {
            "STORED" => Ok(admin),
            reply => Err(format!("a good login: {reply:?}").into()),
        }
    }

    /// Stores and reads until the run ends, periodically on a new connection; returns how often.
    pub fn use_it(&self, run: &Run) -> Outcome<u64> {
        let mut admin = self.admin()?;
        let mut number = 0_u64;
        while run.phase() != Phase::End {
            number += 1;
            if number.is_multiple_of(100) {
                admin = self.admin()?;
            }
            let text = number.to_string();
            let stored = admin.ask(&format!("set guarded 0 0 {}\r\n{text}", text.len()))?;
            let lines = admin.ask_for_lines("get guarded")?;
            if stored != "STORED" || lines.get(1) != Some(&text) {
                return Err(format!("set of {text}: {stored:?}, then {lines:?}").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(number)
    }
}
