//! Listening unix sockets and their files.
//!
//! Owns the rule by which an existing file is replaced: the socket of a server that has ended is; a socket that a
//! running server listens on, and any other file, stays and is an error. It must not know what the socket is for.
//! `net::bind` and `admin::bind` call it, at start only.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Metadata, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Maximum bytes of a path: `sun_path` of Linux has 108, and the path ends in a NUL.
pub const PATH_MAX: usize = 107;

/// Tries to lock the directory of a socket, and the pause between two. Another start holds it for microseconds.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Properties of a listening unix socket.
#[derive(Clone, Copy, Debug)]
pub struct UnixSocketOptions {
    /// Permission bits of the file.
    pub mode: u32,
    /// Group id of the file; `None` = as the system chooses.
    pub group: Option<u32>,
    /// Backlog passed to `listen`.
    pub backlog: i32,
}

/// Why a unix socket cannot listen.
#[derive(Debug)]
pub struct UnixSocketError {
    /// The system call that failed; `None` if the path was refused before.
    pub call: Option<&'static str>,
    /// The reason.
    pub error: io::Error,
}

impl UnixSocketError {
    fn refused(kind: ErrorKind, reason: String) -> Self {
        Self { call: None, error: io::Error::new(kind, reason) }
    }

    fn of(call: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self { call: Some(call), error }
    }
}

/// The file of a listening socket. Dropping it removes the file, unless another file has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Leaves the file where it is.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Listens on `path`.
///
/// # Errors
/// The path is too long, a running server listens on it, it is another kind of file, or the system's refusal.
pub fn listen(path: &Path, options: &UnixSocketOptions) -> Result<(Socket, SocketFile), UnixSocketError> {
    let length = path.as_os_str().as_bytes().len();
    if length > PATH_MAX {
        let reason = format!("its path has {length} bytes, the maximum is {PATH_MAX}");
        return Err(UnixSocketError::refused(ErrorKind::InvalidInput, reason));
    }
    let address = SockAddr::unix(path).map_err(UnixSocketError::of("bind()"))?;
    let socket =
        Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(UnixSocketError::of("socket()"))?;
    // Held until the socket listens: before that, another start would take its file for that of an ended server.
    let _lock = lock_directory(path);
    remove_stale(path, &address)?;
    socket.bind(&address).map_err(UnixSocketError::of("bind()"))?;
    let file = fs::symlink_metadata(path).map_err(UnixSocketError::of("lstat()"))?;
    let file = SocketFile { path: path.to_owned(), identity: identity(&file) };
    // Group and mode are set by path, and no client can connect before `listen`.
    if options.group.is_some() {
        std::os::unix::fs::lchown(path, None, options.group).map_err(UnixSocketError::of("chown()"))?;
    }
    let permissions = Permissions::from_mode(options.mode & 0o777);
    fs::set_permissions(path, permissions).map_err(UnixSocketError::of("chmod()"))?;
    socket.listen(options.backlog).map_err(UnixSocketError::of("listen()"))?;
    Ok((socket, file))
}

/// Locks the directory of `path` against other starts, which look at the same file. `None` if it cannot be opened, or
/// if something else holds its lock for a second.
fn lock_directory(path: &Path) -> Option<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(parent).ok()?;
    for _ in 0..LOCK_TRIES {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

/// Removes the socket of a server that has ended. Any other kind of file stays, and `bind` fails.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), UnixSocketError> {
    if !fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        return Ok(());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(UnixSocketError::of("socket()"))?;
    match probe.connect(address) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
            let _ = fs::remove_file(path);
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        // `EAGAIN`: its queue is full. `EPROTOTYPE`: it takes datagrams.
        Ok(()) => Err(in_use()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EPROTOTYPE)) => Err(in_use()),
        Err(e) => {
            let why = super::error_text(&e);
            let reason = format!("whether a running server listens on it cannot be checked: {why}");
            Err(UnixSocketError::refused(e.kind(), reason))
        }
    }
}

fn in_use() -> UnixSocketError {
    UnixSocketError::refused(ErrorKind::AddrInUse, "a running server listens on it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::sync::Barrier;

    const OPTIONS: UnixSocketOptions = UnixSocketOptions { mode: 0o700, group: None, backlog: 8 };

    fn reason(path: &Path) -> String {
        listen(path, &OPTIONS).unwrap_err().error.to_string()
    }

    #[test]
    fn the_file_has_its_mode_and_group_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let group = fs::metadata(directory.path()).unwrap().gid();
        let options = UnixSocketOptions { mode: 0o640, group: Some(group), ..OPTIONS };
        let (socket, file) = listen(&path, &options).unwrap();
        let seen = fs::metadata(&path).unwrap();
        assert_eq!((seen.permissions().mode() & 0o777, seen.gid()), (0o640, group));
        UnixStream::connect(&path).unwrap();
        drop((socket, file));
        assert!(!path.exists());

        let (_socket, file) = listen(&path, &OPTIONS).unwrap();
        file.keep();
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_has_taken_the_place_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (_socket, file) = listen(&path, &OPTIONS).unwrap();
        fs::rename(&path, directory.path().join("moved")).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn only_the_socket_of_an_ended_server_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let living = UnixListener::bind(&path).unwrap();
        assert_eq!(reason(&path), "a running server listens on it");
        UnixStream::connect(&path).unwrap();
        drop(living);
        listen(&path, &OPTIONS).unwrap();

        let datagrams = UnixDatagram::bind(&path).unwrap();
        assert_eq!(reason(&path), "a running server listens on it");
        drop(datagrams);
        fs::remove_file(&path).unwrap();

        // A queue of one connection, which is full.
        let (full, _file) = listen(&path, &UnixSocketOptions { backlog: 0, ..OPTIONS }).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        assert_eq!(reason(&path), "a running server listens on it");
        drop(full);

        for other in ["file", "directory"] {
            let path = directory.path().join(other);
            if other == "file" {
                fs::write(&path, "mine").unwrap()
            } else {
                fs::create_dir(&path).unwrap()
            }
            let refused = listen(&path, &OPTIONS).unwrap_err();
            assert_eq!((refused.call, refused.error.kind()), (Some("bind()"), ErrorKind::AddrInUse), "{other}");
            assert!(path.exists());
        }
    }

    #[test]
    fn of_starts_at_the_same_time_one_gets_a_stale_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        for _ in 0..20 {
            drop(UnixListener::bind(&path).unwrap());
            let (begin, kept) = (Barrier::new(4), Barrier::new(4));
            let start = || {
                begin.wait();
                let listening = listen(&path, &OPTIONS);
                kept.wait();
                listening.is_ok()
            };
            let won = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
            });
            assert_eq!(won, 1);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_path_beyond_the_bound_is_refused_and_one_at_it_works() {
        let directory = tempfile::tempdir().unwrap();
        let name = |total: usize| "n".repeat(total - directory.path().as_os_str().len() - 1);
        listen(&directory.path().join(name(PATH_MAX)), &OPTIONS).unwrap();
        let long = directory.path().join(name(PATH_MAX + 1));
        assert_eq!(reason(&long), "its path has 108 bytes, the maximum is 107");
        assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
    }
}
