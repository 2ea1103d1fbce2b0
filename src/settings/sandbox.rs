//! Options of the sandbox: `drop_privileges`, `no_drop_privileges`, `relaxed_privileges`.
//!
//! Owns their values and help texts, and the list of files that a running server opens, which the sandbox must leave
//! open. Must not know what the kernel restricts: `server` makes the sandbox. The rows are read by `parse` and `help`,
//! through `options`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::listen::ListenPlace;
use super::row::Sub;
use super::{AdminAddr, Settings};

/// Settings of the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxOptions {
    /// `-o drop_privileges`: system calls and files are restricted once the server runs.
    pub drop_privileges: bool,
    /// `-o relaxed_privileges`: the start goes on where the limit of descriptors cannot be set, and threads may open
    /// files and sockets. Exists only in builds with `debug-commands`.
    pub relaxed_privileges: bool,
}

/// A file that a running server opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedFile {
    /// Where it is; relative only to the directory of the running process.
    pub path: PathBuf,
    /// It is written, replaced or removed, not just read.
    pub is_written: bool,
}

impl Settings {
    /// Files that the server opens, replaces or removes after its start: at a reload, at its end. `env` looks up
    /// variables of the environment.
    pub fn used_files(&self, env: impl Fn(&str) -> Option<OsString>) -> Vec<UsedFile> {
        let used = |path: &Path, is_written| UsedFile { path: self.locate(path), is_written };
        let sasl = env("MEMCACHED_SASL_PWDB").map(PathBuf::from).filter(|path| self.sasl && path != Path::new(""));
        let ssl = &self.ssl;
        let certificates = [&ssl.chain_cert, &ssl.key, &ssl.ca_cert].into_iter().filter(|_| ssl.enabled);
        let read = certificates.chain([&self.auth_file, &sasl, &self.admin.token_file, &self.cluster_file]);
        let admin = match &self.admin.addr {
            Some(AdminAddr::Unix(path)) => Some(path),
            _ => None,
        };
        let pid_file = self.pid_file.as_ref().filter(|_| self.daemonize);
        let sockets = self.listeners.iter().filter_map(|spec| match &spec.place {
            ListenPlace::Unix(path) => Some(path),
            ListenPlace::Network { .. } => None,
        });
        let written = [self.memory_file.as_ref(), pid_file, admin].into_iter().flatten().chain(sockets);
        let read = read.flatten().map(|path| used(path, false));
        read.chain(written.map(|path| used(path, true))).collect()
    }
}

/// The `-o` names of the sandbox, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[
    Sub::switch(
        "drop_privileges",
        "once the server runs, each thread may make the system\n\
         calls that it needs and no others, and open files only\n\
         beside those that options name",
        |settings| settings.sandbox.drop_privileges = true,
    ),
    Sub::switch("no_drop_privileges", "run without these restrictions, as by default", |settings| {
        settings.sandbox.drop_privileges = false;
    }),
    #[cfg(feature = "debug-commands")]
    Sub::switch("relaxed_privileges", "with drop_privileges, files and sockets may be opened", |settings| {
        settings.sandbox.relaxed_privileges = true;
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_those_that_have_a_use() {
        let path = |name: &str| Some(PathBuf::from(name));
        let mut settings = Settings { auth_file: path("/a/users"), pid_file: path("pid"), ..Settings::default() };
        settings.ssl.key = path("/c/key");
        let names = |settings: &Settings| -> Vec<String> {
            let env = |name: &str| (name == "MEMCACHED_SASL_PWDB").then(|| "sasl".into());
            let files = settings.used_files(env).into_iter();
            files.map(|file| format!("{} {}", file.path.display(), file.is_written)).collect()
        };
        settings.cluster_file = path("/n/nodes");
        assert_eq!(names(&settings), ["/a/users false", "/n/nodes false"]);
        (settings.daemonize, settings.sasl, settings.ssl.enabled) = (true, true, true);
        settings.directory = path("/base");
        settings.admin.addr = Some(AdminAddr::Unix("/run/admin".into()));
        assert_eq!(
            names(&settings),
            [
                "/c/key false",
                "/a/users false",
                "/base/sasl false",
                "/n/nodes false",
                "/base/pid true",
                "/run/admin true"
            ]
        );
    }
}
