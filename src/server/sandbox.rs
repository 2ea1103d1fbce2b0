//! The sandbox of a server's process, for `-o drop_privileges`.
//!
//! Owns which directories stay accessible: those of the files that options name. Must not know system calls, as `sys`
//! does. Called by `main` before the first thread starts.

use super::start_error::{FAILURE, StartError};
use crate::settings::{Settings, UsedFile};
use crate::sys::sandbox::{self, Access, Files, Folder, Role};
use crate::sys::say;
use std::path::{Path, PathBuf};

/// Symbolic links that are followed from one file to the next, as in the kernel.
const LINKS_MAX: usize = 40;

/// Prepares the sandbox that `settings` ask for; the threads enter it when they start, the main thread by
/// [`enter_sandbox`]. Must run after the change of user and after the fork of a daemon.
///
/// # Errors
/// The kernel has no seccomp filters.
pub fn make_sandbox(settings: &Settings) -> Result<(), StartError> {
    let options = &settings.sandbox;
    if !options.drop_privileges {
        return Ok(());
    }
    let files = settings.used_files(|name| std::env::var_os(name));
    let folders = folders(&files);
    let restricted = (!options.relaxed_privileges).then_some(&*folders);
    let made = sandbox::prepare(restricted, options.relaxed_privileges);
    let reach = made.map_err(|_| StartError::new(FAILURE, sandbox::complaint(Role::Main)))?;
    if settings.verbose > 0 && reach == Files::Open {
        say(format_args!("drop_privileges: files are not restricted, because the kernel has no landlock"));
    }
    Ok(())
}

/// Confines the main thread, if there is a sandbox, once everything is open.
pub fn enter_sandbox() {
    sandbox::confine(Role::Main);
}

/// The directories of `files`, and those that their symbolic links lead to: a file may be replaced by renaming, and a
/// link may be changed to another file beside the old one.
fn folders(files: &[UsedFile]) -> Vec<Folder> {
    let mut folders = Vec::<Folder>::new();
    for file in files {
        let access = if file.is_written { Access::Write } else { Access::Read };
        for path in parents(&file.path) {
            match folders.iter_mut().find(|folder| folder.path == path) {
                Some(folder) if file.is_written => folder.access = access,
                Some(_) => {}
                None => folders.push(Folder { path, access }),
            }
        }
    }
    folders
}

/// The directory of `path`, and of each file that it leads to as a symbolic link.
fn parents(path: &Path) -> Vec<PathBuf> {
    let (mut parents, mut place) = (Vec::new(), path.to_owned());
    for _ in 0..LINKS_MAX {
        let parent = match place.parent() {
            None => break,
            Some(parent) if parent == Path::new("") => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
        };
        let target = place.read_link().ok();
        place = parent.join(target.as_deref().unwrap_or(Path::new("")));
        parents.push(parent);
        if target.is_none() {
            break;
        }
    }
    parents
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_to_every_directory() {
        let base = tempfile::tempdir().unwrap();
        let place = |name: &str| base.path().join(name);
        for name in ["live", "archive"] {
            fs::create_dir(place(name)).unwrap();
        }
        fs::write(place("archive/cert2.pem"), "").unwrap();
        symlink("../archive/cert2.pem", place("live/cert.pem")).unwrap();
        symlink(place("live/cert.pem"), place("cert.pem")).unwrap();
        symlink("loop", place("loop")).unwrap();
        let found = parents(&place("cert.pem"));
        assert_eq!(found, [base.path().to_owned(), place("live"), place("live/../archive")]);
        assert_eq!(parents(&place("loop")).len(), LINKS_MAX);
        assert_eq!(parents(&place("none")), [base.path()]);
        assert_eq!(parents(Path::new("users")), [Path::new(".")]);
    }

    #[test]
    fn a_directory_has_the_wider_access() {
        let used = |path: &str, is_written| UsedFile { path: path.into(), is_written };
        let files = [used("/none/a", false), used("/none/b", true), used("/none/c", false)];
        assert_eq!(folders(&files), [Folder { path: "/none".into(), access: Access::Write }]);
    }
}
