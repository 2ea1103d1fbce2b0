//! The table of system calls that a confined thread may make.
//!
//! Owns which thread may make which call, with which arguments, and why. Found by running the test suite under
//! `strace`, with the GNU C library on x86-64; the rows of musl and arm64 follow from musl's sources and from the calls
//! that arm64 lacks. `docs/sandbox.md` has the table, generated from here. Read by `filter`.

use super::Role;

/// Restriction of one argument of a call, as 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Any arguments.
    None,
    /// The argument is one of these.
    OneOf(u8, &'static [u32]),
    /// The argument has none of these bits.
    Without(u8, u32),
    /// The argument is this process.
    OwnProcess(u8),
}

/// A call that some threads may make.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// Threads that may make it.
    pub roles: &'static [Role],
    /// Threads for which it fails with `EACCES`.
    pub refused: &'static [Role],
    /// With `relaxed_privileges` all threads may make it.
    pub is_for_tests: bool,
    /// The arguments that it may have; empty for any.
    pub with: &'static str,
    /// What needs it.
    pub why: &'static str,
    /// `None` if this processor has no such call.
    pub(super) number: Option<i64>,
    pub(super) limit: Limit,
}

impl Call {
    /// Whether a thread of `role` may make it.
    pub(super) fn is_allowed(&self, role: Role, relaxed: bool) -> bool {
        self.roles.contains(&role) || (relaxed && self.is_for_tests)
    }

    /// Whether it fails for a thread of `role` that may not make it, instead of ending the process.
    pub(super) fn is_refused(&self, role: Role, relaxed: bool) -> bool {
        self.refused.contains(&role) && !self.is_allowed(role, relaxed)
    }

    /// Fails for `roles`: libraries try it, and do without.
    const fn refused(mut self, roles: &'static [Role]) -> Self {
        self.refused = roles;
        self
    }

    /// Also for memcached's test program.
    const fn for_tests(mut self) -> Self {
        self.is_for_tests = true;
        self
    }

    const fn with(mut self, limit: Limit, with: &'static str) -> Self {
        (self.limit, self.with) = (limit, with);
        self
    }
}

/// Every allowed call.
pub fn calls() -> impl Iterator<Item = &'static Call> {
    [EVENTS, SOCKETS, MEMORY, THREADS, FILES].into_iter().flatten()
}

const fn call(name: &'static str, number: Option<i64>, roles: &'static [Role], why: &'static str) -> Call {
    Call { name, roles, refused: &[], is_for_tests: false, with: "", why, number, limit: Limit::None }
}

/// A call by its name and its number's constant.
macro_rules! call {
    ($name:literal, $number:ident, $roles:expr, $why:literal) => {
        call($name, Some(libc::$number), $roles, $why)
    };
}

/// A call that newer processors do not have: there another one takes its place.
macro_rules! old_call {
    ($name:literal, $number:ident, $roles:expr, $why:literal) => {{
        #[cfg(target_arch = "x86_64")]
        let number = Some(libc::$number);
        #[cfg(not(target_arch = "x86_64"))]
        let number = None;
        call($name, number, $roles, $why)
    }};
}

const ALL: &[Role] = &[Role::Worker, Role::Admin, Role::Main];
const CLIENTS: &[Role] = &[Role::Worker, Role::Admin];
const ACCEPTING: &[Role] = &[Role::Admin, Role::Main];
const MAIN: &[Role] = &[Role::Main];

const EXECUTABLE: u32 = libc::PROT_EXEC.cast_unsigned();
/// Signals whose actions a thread may change: those of an abort and of the report of a fault.
const FAULTS: &[u32] = &[libc::SIGABRT.cast_unsigned(), libc::SIGSEGV.cast_unsigned(), libc::SIGBUS.cast_unsigned()];
const DESCRIPTOR_COMMANDS: &[u32] = &[
    libc::F_GETFD.cast_unsigned(),
    libc::F_SETFD.cast_unsigned(),
    libc::F_GETFL.cast_unsigned(),
    libc::F_DUPFD_CLOEXEC.cast_unsigned(),
];

/// Questions for the bytes that the kernel holds of a socket.
const QUEUES: &[u32] = &[libc::FIONREAD as u32, libc::TIOCOUTQ as u32];

/// Waiting, waking, time.
const EVENTS: &[Call] = &[
    old_call!("epoll_wait", SYS_epoll_wait, ALL, "event loops, with the GNU C library"),
    call!("epoll_pwait", SYS_epoll_pwait, ALL, "event loops, with musl and on arm64"),
    call!("epoll_ctl", SYS_epoll_ctl, ALL, "sockets that come and go"),
    call!("futex", SYS_futex, ALL, "locks, threads that sleep"),
    old_call!("poll", SYS_poll, ALL, "watchers' sockets; the last message of a process"),
    call!("ppoll", SYS_ppoll, ALL, "the same on arm64"),
    call!("clock_gettime", SYS_clock_gettime, ALL, "time, where the vDSO has no clock"),
    call!("restart_syscall", SYS_restart_syscall, ALL, "a wait that SIGSTOP and SIGCONT interrupt"),
    call!("sched_yield", SYS_sched_yield, ALL, "locks that are waited for"),
];

/// Bytes of clients, and of standard error.
const SOCKETS: &[Call] = &[
    call!("read", SYS_read, ALL, "wake-ups, open files, requests"),
    call!("readv", SYS_readv, CLIENTS, "requests"),
    call!("recvfrom", SYS_recvfrom, ALL, "requests, wake-ups by signals"),
    call!("write", SYS_write, ALL, "wake-ups, standard error, files"),
    call!("writev", SYS_writev, ALL, "replies"),
    call!("sendto", SYS_sendto, ALL, "replies, datagrams, lines for watchers, wake-ups by signals"),
    call!("close", SYS_close, ALL, "clients that leave"),
    call!("shutdown", SYS_shutdown, CLIENTS, "the end of an HTTP connection, -o drain"),
    call!("ioctl", SYS_ioctl, &[Role::Worker], "-o drain").with(Limit::OneOf(1, QUEUES), "FIONREAD, TIOCOUTQ"),
    call!("accept4", SYS_accept4, ACCEPTING, "new clients"),
    call!("getsockopt", SYS_getsockopt, ALL, "errors of sockets, -N"),
    call!("setsockopt", SYS_setsockopt, ALL, "closing by a reset, options of new clients, probes of watchers"),
    call!("fcntl", SYS_fcntl, ALL, "checks of descriptors, descriptors of the admin listener, open() of musl")
        .with(Limit::OneOf(1, DESCRIPTOR_COMMANDS), "F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC"),
    call!("listen", SYS_listen, MAIN, "the pause of accepting without descriptors"),
    call!("socket", SYS_socket, MAIN, "a probe for a free descriptor")
        .with(Limit::OneOf(0, &[libc::AF_UNIX.cast_unsigned()]), "AF_UNIX")
        .for_tests(),
];

/// Memory of items, buffers, stacks.
const MEMORY: &[Call] = &[
    call!("mmap", SYS_mmap, ALL, "memory").with(Limit::Without(2, EXECUTABLE), "not PROT_EXEC"),
    call!("mprotect", SYS_mprotect, ALL, "heaps of threads").with(Limit::Without(2, EXECUTABLE), "not PROT_EXEC"),
    call!("munmap", SYS_munmap, ALL, "memory, stacks of threads that end"),
    call!("mremap", SYS_mremap, ALL, "buffers that grow"),
    call!("madvise", SYS_madvise, ALL, "huge pages, memory that is given back"),
    call!("brk", SYS_brk, ALL, "heaps"),
    call!("mlock", SYS_mlock, ALL, "-k"),
    call!("mlock2", SYS_mlock2, ALL, "-k"),
    call!("munlock", SYS_munlock, ALL, "-k"),
    call!("getrusage", SYS_getrusage, ALL, "stats"),
    call!("getrandom", SYS_getrandom, ALL, "TLS, logins, hash tables"),
];

/// Threads, signals, the end.
const THREADS: &[Call] = &[
    call!("rt_sigprocmask", SYS_rt_sigprocmask, ALL, "threads that end, abort"),
    call!("rt_sigreturn", SYS_rt_sigreturn, ALL, "the end of a signal handler"),
    call!("rt_sigaction", SYS_rt_sigaction, ALL, "abort, the report of a fault")
        .with(Limit::OneOf(0, FAULTS), "SIGABRT, SIGSEGV, SIGBUS"),
    call!("sigaltstack", SYS_sigaltstack, ALL, "threads that end"),
    call!("sched_getaffinity", SYS_sched_getaffinity, ALL, "the number of heaps"),
    call!("getpid", SYS_getpid, ALL, "stats, abort"),
    call!("gettid", SYS_gettid, ALL, "abort"),
    call!("tgkill", SYS_tgkill, ALL, "abort, with the GNU C library").with(Limit::OwnProcess(0), "this process"),
    call!("tkill", SYS_tkill, ALL, "abort, with musl")
        .with(Limit::OneOf(1, &[libc::SIGABRT.cast_unsigned()]), "SIGABRT"),
    call!("exit", SYS_exit, ALL, "the end of a thread"),
    call!("exit_group", SYS_exit_group, ALL, "the end of the process"),
    call!("getcwd", SYS_getcwd, ALL, "backtraces of panics"),
];

/// Files: reloads, the memory file, files that go at the end. Threads that may open none are refused, not stopped: the
/// C library and backtraces try to read files of /proc and /sys, and do without.
const FILES: &[Call] = &[
    call!("openat", SYS_openat, MAIN, "reloads, the memory file").refused(CLIENTS).for_tests(),
    old_call!("open", SYS_open, MAIN, "the same with musl").refused(CLIENTS).for_tests(),
    call!("lseek", SYS_lseek, MAIN, "reloads").for_tests(),
    call!("statx", SYS_statx, ACCEPTING, "reloads, unix sockets at the end"),
    call!("fstat", SYS_fstat, ACCEPTING, "the same with musl"),
    call!("newfstatat", SYS_newfstatat, ACCEPTING, "the same with musl"),
    old_call!("stat", SYS_stat, ACCEPTING, "the same with musl"),
    old_call!("lstat", SYS_lstat, ACCEPTING, "the same with musl"),
    old_call!("unlink", SYS_unlink, ACCEPTING, "pid file and unix sockets at the end"),
    call!("unlinkat", SYS_unlinkat, ACCEPTING, "the same on arm64"),
    old_call!("rename", SYS_rename, MAIN, "the memory file's metadata"),
    call!("renameat", SYS_renameat, MAIN, "the same on arm64"),
    call!("fsync", SYS_fsync, MAIN, "the memory file"),
    call!("msync", SYS_msync, MAIN, "the memory file"),
    call!("uname", SYS_uname, MAIN, "the host's name in SASL, at reloads"),
    call!("mkdirat", SYS_mkdirat, &[], "coverage of test builds").for_tests(),
    call!("faccessat", SYS_faccessat, &[], "coverage of test builds").for_tests(),
];
