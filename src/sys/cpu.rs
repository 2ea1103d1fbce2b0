//! Cost of the calling thread: processor time, without the time in which it was descheduled, and page faults.
//!
//! Owns two system calls; only with the feature `lock-times`. Called by `store/slab/class_lock` and `benches/holds`.
#![allow(unsafe_code)]

/// Nanoseconds of processor time; 0 if the kernel does not report it.
pub fn thread_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills in.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    if failed { 0 } else { time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 }
}

/// Page faults, in each of which the kernel may have cleared a page; 0 if the kernel does not report them.
pub fn thread_faults() -> u64 {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live structure, which the call fills in.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) } != 0;
    if failed { 0 } else { usage.ru_minflt as u64 }
}
