//! Seccomp filters: compiled once, installed by each thread; and the report of a forbidden call.
//!
//! Knows the table of calls, not why a thread has its role. Called by `sandbox`.
#![allow(unsafe_code)]

use super::Role;
use super::calls::{Limit, calls};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};
use std::collections::BTreeMap;
use std::io;
use std::mem;

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// The filters of one kind of thread. The kernel takes the stricter answer of the two.
struct Pair {
    /// Stops at what the table does not have.
    allowing: BpfProgram,
    /// Refuses what the table refuses; `None` if that is nothing.
    refusing: Option<BpfProgram>,
}

/// The compiled filters, in the order of [`Role::ALL`].
pub(super) struct Filters([Pair; Role::ALL.len()]);

impl Filters {
    /// Compiles the table of calls.
    pub(super) fn compile(relaxed: bool) -> Self {
        Self(Role::ALL.map(|role| Pair { allowing: allowing(role, relaxed), refusing: refusing(role, relaxed) }))
    }

    /// Installs the filters of `role` on the calling thread.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn enter(&self, role: Role) -> io::Result<()> {
        let place = Role::ALL.iter().position(|other| *other == role).unwrap_or_default();
        let pair = &self.0[place];
        // The stricter one last: it forbids to install another.
        let mut programs = pair.refusing.iter().chain([&pair.allowing]);
        programs.try_for_each(|program| apply_filter(program)).map_err(|error| match error {
            seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
            other => io::Error::other(other.to_string()),
        })
    }
}

fn allowing(role: Role, relaxed: bool) -> BpfProgram {
    let passes = calls().filter(|call| call.is_allowed(role, relaxed) || call.is_refused(role, relaxed));
    let rules = passes.filter_map(|call| {
        let is_limited = call.roles.contains(&role);
        Some((call.number?, if is_limited { chain(call.limit) } else { Vec::new() }))
    });
    compile(rules.collect(), SeccompAction::Trap, SeccompAction::Allow)
}

fn refusing(role: Role, relaxed: bool) -> Option<BpfProgram> {
    let refused = calls().filter(|call| call.is_refused(role, relaxed));
    let rules: Rules = refused.filter_map(|call| Some((call.number?, Vec::new()))).collect();
    let action = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    (!rules.is_empty()).then(|| compile(rules, SeccompAction::Allow, action))
}

/// Rules of each call, by its number.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(rules: Rules, otherwise: SeccompAction, matching: SeccompAction) -> BpfProgram {
    let filter = SeccompFilter::new(rules, otherwise, matching, ARCH);
    // The table is constant, and a test compiles every program of it.
    filter.and_then(TryInto::try_into).expect("the table of calls makes a valid filter")
}

/// One rule for each value that the limited argument may have; none where the call is not limited.
fn chain(limit: Limit) -> Vec<SeccompRule> {
    let rule = |argument, operator, value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
        condition.and_then(|condition| SeccompRule::new(vec![condition])).expect("a system call has six arguments")
    };
    match limit {
        Limit::None => Vec::new(),
        Limit::OneOf(argument, values) => {
            values.iter().map(|value| rule(argument, SeccompCmpOp::Eq, u64::from(*value))).collect()
        }
        Limit::Without(argument, bits) => {
            vec![rule(argument, SeccompCmpOp::MaskedEq(u64::from(bits)), 0)]
        }
        Limit::OwnProcess(argument) => vec![rule(argument, SeccompCmpOp::Eq, u64::from(std::process::id()))],
    }
}

/// Whether the kernel has filters, and can stop a thread at a call that a filter forbids.
pub(super) fn is_supported() -> bool {
    let action: u32 = libc::SECCOMP_RET_TRAP;
    // SAFETY: the kernel reads one word, which outlives the call.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// Reports a forbidden call and ends the process with code 1, as memcached does.
pub(super) fn report_violations() {
    // SAFETY: all zero is a valid `sigaction`: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = violated as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `action` is valid, and its handler makes two calls, both of which a handler may make.
    unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
}

/// memcached's line; the call's number replaces the question marks.
const REPORT: &[u8] = b"Seccomp policy failure. Caught syscall ???. \
    This is either an exploit attempt, or your system is not supported yet.\n";
const NUMBER: usize = 39;

/// The part of `siginfo_t` that is filled for SIGSYS.
#[repr(C)]
struct SystemCall {
    header: [libc::c_int; 3],
    address: *const libc::c_void,
    number: libc::c_int,
}

extern "C" fn violated(_: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a filled structure, which for SIGSYS begins with these fields.
    let number = unsafe { (*info.cast::<SystemCall>()).number };
    let mut report = [0; REPORT.len()];
    report.copy_from_slice(REPORT);
    for (at, unit) in [100, 10, 1].into_iter().enumerate() {
        report[NUMBER + at] = b'0' + (number / unit % 10).unsigned_abs() as u8;
    }
    // SAFETY: the buffer is readable; `_exit` runs nothing of this process, which may be in any state.
    unsafe {
        libc::write(libc::STDERR_FILENO, report.as_ptr().cast(), report.len());
        libc::_exit(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_compiles_and_fits_the_kernel() {
        for relaxed in [false, true] {
            for pair in Filters::compile(relaxed).0 {
                assert!(pair.allowing.len() < 4096, "{}", pair.allowing.len());
            }
        }
    }

    #[test]
    fn the_report_has_room_for_a_number() {
        assert_eq!(&REPORT[NUMBER..NUMBER + 3], b"???");
    }
}
