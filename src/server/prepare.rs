//! What comes before a server: files that only the first user can read, limits, the change of user, the background.
//!
//! Must run while the process has one thread. `main` calls the steps in their order.

use super::start_error::{FAILURE, OS_ERROR, StartError, USAGE};
use crate::auth::Auth;
use crate::cluster::ClusterWatch;
use crate::settings::{self, Settings};
use crate::sys::inherited::InheritedSocket;
use crate::sys::service_manager::ServiceManager;
use crate::sys::user::{Account, process_uids};
use crate::sys::{error_text, panics, process, say};
use crate::tls::Tls;

/// State read from files and the environment before the server starts.
#[derive(Default)]
pub struct Loaded {
    /// Certificates; see [`load_tls`].
    pub tls: Option<Tls>,
    /// Users; see [`load_auth`].
    pub auth: Option<Auth>,
    /// Nodes of the cluster; see [`load_cluster`].
    pub cluster: Option<ClusterWatch>,
    /// Sockets in place of those that the settings name.
    pub sockets: Vec<InheritedSocket>,
    /// The service manager that wants to know about the server.
    pub manager: Option<ServiceManager>,
}

/// Applies the process-wide part of `settings`: limits and the change of user, in memcached's order, so that
/// memcached's first error is reported. Must run while the process has one thread, and before
/// [`super::Server::start`], so that its sockets and memory belong to the new user.
pub fn prepare_process(settings: &Settings) -> Result<(), StartError> {
    if settings.large_pages
        && let Some(reason) = process::large_pages_refused()
    {
        say(format_args!("{reason}\nWill use default page size."));
        let complaint = "Cannot enable large pages on this system\n(There is no support as of this version)";
        return Err(StartError::new(FAILURE, complaint));
    }
    // Looked up first, since a low descriptor limit would make the user table unreadable; its error is reported in
    // memcached's order.
    let (uid, euid) = process_uids();
    let account = settings::check_user(uid, euid, settings);
    if settings.maxcore && !process::allow_core_files() {
        return Err(StartError::new(OS_ERROR, "failed to ensure corefile creation"));
    }
    if process::limit_open_files(descriptors(settings)).is_err() && !settings.sandbox.relaxed_privileges {
        return Err(StartError::new(
            OS_ERROR,
            "failed to set rlimit for open files. Try starting as root or requesting smaller maxconns value.",
        ));
    }
    if let Some(account) = account? {
        become_account(account, settings)?;
    }
    Ok(())
}

/// Descriptors of a process: of clients, and of the admin listener on top.
fn descriptors(settings: &Settings) -> u64 {
    u64::from(settings.maxconns) + u64::from(settings.admin_descriptors())
}

/// Daemonizes, after [`prepare_process`]. Between the two, files can be read with the rights of the new user while
/// error texts still reach the terminal. A service manager learns the new process id from the process that it started.
pub fn go_to_work(settings: &Settings, manager: Option<&mut ServiceManager>) -> Result<(), StartError> {
    if settings.sandbox.drop_privileges {
        // Not in the child: clients may connect once the parent has exited, and this can take half a second.
        panics::load_symbols();
    }
    let moved = |child| manager.into_iter().for_each(|manager| manager.moved_to(child));
    if settings.daemonize && process::daemonize(settings.maxcore, settings.verbose > 0, moved).is_err() {
        return Err(StartError::new(FAILURE, "failed to daemon() in order to daemonize"));
    }
    process::save_address_space();
    Ok(())
}

/// Locks the memory of a started server, for `-k`. If that fails, prints a warning and the server runs without.
pub fn lock_memory() {
    if let Err(e) = process::lock_memory() {
        say(format_args!("warning: -k invalid, mlockall() failed: {}", error_text(&e)));
    }
}

/// Loads the certificates that `settings` name. As in memcached, a process that changes its user must call this before
/// [`prepare_process`], because only root may be able to read the key.
pub fn load_tls(settings: &Settings) -> Result<Option<Tls>, StartError> {
    Tls::load(settings).map_err(|complaint| StartError::new(USAGE, complaint))
}

/// Loads the users that `settings` and the environment name. Must run after the change of user, so that a reload can
/// read the same files.
pub fn load_auth(settings: &Settings) -> Result<Option<Auth>, StartError> {
    settings::check_authfile(settings)?;
    let auth = Auth::load(settings, |name| std::env::var_os(name));
    let auth = auth.map_err(|complaint| StartError::new(FAILURE, complaint))?;
    if settings.sasl && settings.verbose > 0 {
        say(format_args!("Initialized SASL."));
    }
    Ok(auth)
}

/// Loads the nodes of the cluster that `settings` name. Must run after the change of user, as [`load_auth`].
pub fn load_cluster(settings: &Settings) -> Result<Option<ClusterWatch>, StartError> {
    ClusterWatch::load(settings).map_err(|complaint| StartError::new(FAILURE, complaint))
}

fn become_account(account: Account, settings: &Settings) -> Result<(), StartError> {
    // Without its group the new user could not give it the unix sockets.
    let groups: Vec<u32> = settings.unix_group.iter().map(|group| group.gid).collect();
    if let Err(e) = process::set_groups(&groups) {
        let words = format!("failed to drop supplementary groups: {}", error_text(&e));
        // EPERM: the process is already confined (a container), which is the goal.
        if e.raw_os_error() != Some(libc::EPERM) {
            return Err(StartError::new(OS_ERROR, words));
        }
        say(format_args!("{words}"));
    }
    process::become_user(account).map_err(|_| {
        let name = String::from_utf8_lossy(settings.username.as_deref().unwrap_or_default()).into_owned();
        StartError::new(OS_ERROR, format!("failed to assume identity of user {name}"))
    })
}
