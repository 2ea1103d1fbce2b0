//! Setup of the server's own process: descriptor and core limits, identity, daemon, locked memory.
//!
//! Knows no settings and prints nothing: it returns errors and `server` reports them. `server` calls it while the
//! process still has one thread.
#![allow(unsafe_code)]

use super::user::Account;
use std::fs::OpenOptions;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

fn limit(resource: Resource) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writing one rlimit.
    check(unsafe { libc::getrlimit(resource, &mut limit) })?;
    Ok(limit)
}

fn set_limit(resource: Resource, soft: libc::rlim_t, hard: libc::rlim_t) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is a valid rlimit that the call only reads.
    check(unsafe { libc::setrlimit(resource, &limit) })
}

/// Sets both the soft and the hard limit of open descriptors to `count`.
pub fn limit_open_files(count: u64) -> io::Result<()> {
    set_limit(libc::RLIMIT_NOFILE, count, count)
}

/// The same open file under a descriptor of at least `least`; as it was if none is left there.
pub fn move_descriptor(file: OwnedFd, least: u32) -> OwnedFd {
    // SAFETY: the descriptor is open while `file` lives; the call takes numbers.
    let moved = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, libc::c_long::from(least)) };
    // SAFETY: a descriptor that the call has just made belongs to nothing else.
    if moved < 0 { file } else { unsafe { OwnedFd::from_raw_fd(moved) } }
}

/// The machine's host name; empty if it has none.
pub fn host_name() -> Vec<u8> {
    let mut name = vec![0_u8; 1025];
    // SAFETY: the buffer is live and one byte longer than the length given, so that it ends in a zero.
    if unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0 {
        return Vec::new();
    }
    let end = memchr::memchr(0, &name).unwrap_or(0);
    name.truncate(end);
    name
}

/// Raises the core file limit to infinity, or else to the hard limit. `false` if core files would still be empty.
pub fn allow_core_files() -> bool {
    if let Ok(old) = limit(libc::RLIMIT_CORE)
        && set_limit(libc::RLIMIT_CORE, libc::RLIM_INFINITY, libc::RLIM_INFINITY).is_err()
    {
        let _ = set_limit(libc::RLIMIT_CORE, old.rlim_max, old.rlim_max);
    }
    limit(libc::RLIMIT_CORE).is_ok_and(|now| now.rlim_cur != 0)
}

/// Replaces all supplementary groups by `groups`.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the list has as many ids as the count says.
    check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
}

/// Switches to `account`, group first: without root the group could no longer be changed.
pub fn become_user(account: Account) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::setgid(account.gid) })?;
    // SAFETY: plain numbers.
    check(unsafe { libc::setuid(account.uid) })
}

/// Continues as a background process: the parent exits with status 0, the child leads a new session. `keep_cwd` stays
/// in the current directory (core files are written there) instead of `/`; `keep_std` keeps stdin, stdout and stderr
/// as they are. The parent calls `before_exit` with the child's process id.
///
/// Must be called while the process has one thread: other threads would not exist in the child.
pub fn daemonize(keep_cwd: bool, keep_std: bool, before_exit: impl FnOnce(u32)) -> io::Result<()> {
    // SAFETY: the process has one thread (contract above), so no lock can be held by a thread that does not exist in
    // the child.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        child => {
            before_exit(child.cast_unsigned());
            // SAFETY: exits at once without running anything that the child will run as well.
            unsafe { libc::_exit(0) }
        }
    }
    // SAFETY: takes nothing.
    if unsafe { libc::setsid() } == -1 {
        return Err(io::Error::last_os_error());
    }
    if !keep_cwd {
        std::env::set_current_dir("/")?;
    }
    if !keep_std && let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        for fd in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            // SAFETY: both are descriptors of this process; std never caches what 0, 1 and 2 refer to.
            if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Locks memory against swapping, pages as they are touched: the item arena reserves address space for its whole
/// limit, which must not be populated at once. Kernels before 4.4 can only lock everything. Future memory is locked
/// too, unless `RLIMIT_MEMLOCK` applies: each mapping beyond it would fail, those of buffers and stacks included.
pub fn lock_memory() -> io::Result<()> {
    let bounded = limit(libc::RLIMIT_MEMLOCK)
        .is_ok_and(|limit| limit.rlim_cur != libc::RLIM_INFINITY && !may_lock(limit.rlim_cur.saturating_add(1)));
    let flags = if bounded { libc::MCL_CURRENT } else { libc::MCL_CURRENT | libc::MCL_FUTURE };
    // SAFETY: takes flags only.
    let locked = check(unsafe { libc::mlockall(flags | libc::MCL_ONFAULT) });
    match locked {
        // SAFETY: takes flags only.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => check(unsafe { libc::mlockall(flags) }),
        other => other,
    }
}

/// Whether the process may lock `bytes` more. Privileges are no indication: those of a user namespace do not count
/// here.
fn may_lock(bytes: u64) -> bool {
    let Ok(bytes) = usize::try_from(bytes) else { return false };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_LOCKED;
    // SAFETY: a fresh mapping, which nothing can access, so that it takes no memory, and which is unmapped before its
    // address is known elsewhere.
    unsafe {
        let place = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
        place != libc::MAP_FAILED && libc::munmap(place, bytes) == 0
    }
}

/// Processors that the process may use, by its affinity and the CPU quota of its control group; at least 1.
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

/// Makes all threads allocate from one heap if the process's address space is limited: in glibc each thread would
/// otherwise reserve 64 MB and more for a heap of its own.
pub fn save_address_space() {
    #[cfg(target_env = "gnu")]
    if limit(libc::RLIMIT_AS).is_ok_and(|limit| limit.rlim_cur != libc::RLIM_INFINITY) {
        // SAFETY: takes numbers only.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// Gives free pages of the heaps back to the system: glibc keeps those below a block in use. Takes each heap's lock in
/// turn. Does nothing with another C library.
pub fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number only.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Whether reserved address space counts as memory at once (`vm.overcommit_memory` is 2).
pub fn reservations_count() -> bool {
    match std::fs::read("/proc/sys/vm/overcommit_memory") {
        Ok(mode) => mode.starts_with(b"2"),
        // Without /proc, or with the part of processes alone.
        Err(_) => !may_reserve(RESERVABLE),
    }
}

/// Address space that any kernel reserves unless it counts as memory: more than machines have, and a part of the space
/// that a process has.
const RESERVABLE: usize = 16 << 40;

/// Whether the process may reserve `bytes` of address space. False also under `ulimit -v`: then too, reserving much
/// leaves less for the rest of the process.
fn may_reserve(bytes: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping, which is unmapped untouched before its address is known elsewhere.
    unsafe {
        let place = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        place != libc::MAP_FAILED && libc::munmap(place, bytes) == 0
    }
}

/// Reason that memory advised to use huge pages gets none, if the kernel is configured so. `madvise` does not report
/// it.
pub fn large_pages_refused() -> Option<&'static str> {
    match std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled") {
        Ok(text) if text.contains("[never]") => Some("Transparent huge pages support disabled."),
        Ok(_) => None,
        Err(_) => Some("Transparent huge pages support not detected."),
    }
}

/// Whether a process `pid` exists that this one may signal.
pub fn is_running(pid: u32) -> bool {
    // SAFETY: signal 0 delivers nothing.
    unsafe { libc::kill(pid.cast_signed(), 0) == 0 }
}

/// Processor time that the process has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

/// Processor time used so far, for `rusage_user` and `rusage_system`.
pub fn usage() -> Usage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` has room for one rusage. The call cannot fail with these arguments; if it did the
    // zeroes, which are a valid rusage, would stay.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let duration = |t: libc::timeval| Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64);
    Usage { user: duration(usage.ru_utime), system: duration(usage.ru_stime) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_moved_descriptor_is_the_same_file() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let moved = move_descriptor(reader.into(), 300);
        assert!(moved.as_raw_fd() >= 300);
        writer.write_all(b"x").unwrap();
        let mut byte = [0];
        std::io::PipeReader::from(moved).read_exact(&mut byte).unwrap();
        let kept = move_descriptor(writer.into(), u32::MAX);
        std::io::PipeWriter::from(kept).write_all(b"y").unwrap_err();
        assert_eq!(byte, *b"x");
    }

    #[test]
    fn a_reservation_is_refused_where_it_counts_as_memory() {
        let counts = |mode: Vec<u8>| mode.starts_with(b"2");
        let counts = std::fs::read("/proc/sys/vm/overcommit_memory").is_ok_and(counts);
        let is_limited = limit(libc::RLIMIT_AS).is_ok_and(|limit| limit.rlim_cur != libc::RLIM_INFINITY);
        assert_eq!(may_reserve(RESERVABLE), !counts && !is_limited);
        assert!(!may_reserve(usize::MAX >> 1));
    }

    #[test]
    fn this_process_runs_and_uses_time() {
        assert!(is_running(std::process::id()));
        let before = usage();
        let mut x = 0u64;
        while usage().user == before.user && usage().system == before.system && x < 1 << 30 {
            x += 1;
        }
        assert!(usage().user + usage().system > before.user + before.system);
    }
}
