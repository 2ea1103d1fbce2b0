//! A library that is preloaded into the server and makes its system calls fail by a plan: see `plan.rs`, which
//! compiles it and writes the plan.
//!
//! Owns the effect of each fault. The plan is a file of 64-bit words, mapped and shared with the test: a row per
//! call, in the order of [`Call`], each of [`ROW`] words. Must not know the server. Uses no crate but std, so that
//! `rustc` alone compiles it.

#![allow(non_camel_case_types, clippy::missing_safety_doc, clippy::undocumented_unsafe_blocks)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

type size_t = usize;
type ssize_t = isize;
type off_t = i64;

/// The rows of the plan.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Call {
    Accept,
    /// Reads from sockets.
    Receive,
    /// Writes to sockets.
    Send,
    /// Reads from any other descriptor except standard input.
    Load,
    /// Writes to event descriptors.
    Wake,
    /// Writes to any other descriptor except standard output and error.
    Write,
    EpollWait,
    EpollCtl,
    Eventfd,
    /// Mappings of at least a megabyte and the size in the row: std aborts if it cannot map a thread's signal stack.
    Mmap,
    Madvise,
    Open,
    Rename,
    Fsync,
    Allocate,
    Thread,
    Socket,
    Listen,
    /// Allocations of at least the size in the row.
    Memory,
    /// Not a call: the wall clock is ahead by the first word, in seconds.
    WallClock,
    Count,
}

/// Words of a row: effect, descriptor, chance, calls to skip, times left, calls seen, faults made, and the minimum
/// size.
const ROW: usize = 8;
const WHAT: usize = 0;
const FD: usize = 1;
const CHANCE: usize = 2;
const SKIP: usize = 3;
const LEFT: usize = 4;
const SEEN: usize = 5;
const MADE: usize = 6;
const LEAST: usize = 7;

/// Any descriptor.
const ANY: u64 = u64::MAX;

/// In `WHAT`: the call transfers at most the number of bytes in the low bits. Smaller words are error numbers.
const SHORT: u64 = 1 << 32;

const WORDS: usize = Call::Count as usize * ROW + 1;

static PLAN: AtomicUsize = AtomicUsize::new(0);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct iovec {
    base: *mut c_void,
    len: size_t,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn __errno_location() -> *mut c_int;
    fn getenv(name: *const c_char) -> *const c_char;
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut c_uint) -> c_int;
}

const RTLD_NEXT: *mut c_void = usize::MAX as *mut c_void;

/// Address of the real function of this name.
fn next(cache: &AtomicUsize, name: &CStr) -> usize {
    let known = cache.load(SeqCst);
    if known != 0 {
        return known;
    }
    let found = unsafe { dlsym(RTLD_NEXT, name.as_ptr()) } as usize;
    cache.store(found, SeqCst);
    found
}

macro_rules! real {
    ($name:ident as $type:ty) => {{
        static CACHE: AtomicUsize = AtomicUsize::new(0);
        const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!(),
        };
        unsafe { std::mem::transmute::<usize, $type>(next(&CACHE, NAME)) }
    }};
}

/// Maps the plan before any other code runs.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    let path = unsafe { getenv(c"FAULTS".as_ptr()) };
    if path.is_null() {
        return;
    }
    let open = real!(open64 as unsafe extern "C" fn(*const c_char, c_int, c_uint) -> c_int);
    let map = real!(mmap64 as unsafe extern "C" fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void);
    let close = real!(close as unsafe extern "C" fn(c_int) -> c_int);
    unsafe {
        let fd = open(path, 2, 0); // O_RDWR
        let plan = map(std::ptr::null_mut(), WORDS * 8, 3, 1, fd, 0); // readable and writable, shared
        close(fd);
        if plan as isize != -1 {
            PLAN.store(plan as usize, SeqCst);
        }
    }
}

/// Outcome of a call.
enum Fate {
    Passes,
    Fails(c_int),
    Short(usize),
}

fn fate(call: Call, fd: c_int) -> Fate {
    let plan = PLAN.load(SeqCst) as *const AtomicU64;
    if plan.is_null() {
        return Fate::Passes;
    }
    let plan = unsafe { std::slice::from_raw_parts(plan, WORDS) };
    let row = &plan[call as usize * ROW..][..ROW];
    let (seed, what) = (plan[WORDS - 1].load(SeqCst), row[WHAT].load(SeqCst));
    let wanted = row[FD].load(SeqCst);
    if wanted != ANY && wanted != fd as u64 {
        return Fate::Passes;
    }
    let seen = row[SEEN].fetch_add(1, SeqCst);
    let take = |word: &AtomicU64| word.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
    if what == 0 || take(&row[SKIP]) {
        return Fate::Passes;
    }
    let dice = mix(seed ^ (call as u64) << 56 ^ seen) % 100;
    if dice >= row[CHANCE].load(SeqCst) || !take(&row[LEFT]) {
        return Fate::Passes;
    }
    row[MADE].fetch_add(1, SeqCst);
    if what >= SHORT { Fate::Short((what - SHORT) as usize) } else { Fate::Fails(what as c_int) }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn fail<T: From<i8>>(error: c_int) -> T {
    unsafe { *__errno_location() = error };
    T::from(-1)
}

fn is_socket(fd: c_int) -> bool {
    let (mut kind, mut len) = (0_i32, 4);
    let errno = unsafe { *__errno_location() };
    // SOL_SOCKET, SO_TYPE
    let is = unsafe { getsockopt(fd, 1, 3, (&raw mut kind).cast(), &mut len) } == 0;
    unsafe { *__errno_location() = errno };
    is
}

/// Event descriptors below 64, one bit each: they are created at the start and never closed.
static EVENTS: AtomicU64 = AtomicU64::new(0);

fn is_event(fd: c_int) -> bool {
    (0..64).contains(&fd) && EVENTS.load(SeqCst) >> fd & 1 != 0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn eventfd(value: c_uint, flags: c_int) -> c_int {
    let real = real!(eventfd as unsafe extern "C" fn(c_uint, c_int) -> c_int);
    match fate(Call::Eventfd, 0) {
        Fate::Fails(error) => fail(error),
        _ => {
            let fd = unsafe { real(value, flags) };
            if (0..64).contains(&fd) {
                EVENTS.fetch_or(1 << fd, SeqCst);
            }
            fd
        }
    }
}

/// Outcome of a transfer of `len` bytes: how many of them to try, or the error.
fn transfer(fd: c_int, len: usize, out: bool) -> Result<usize, c_int> {
    let call = match (is_socket(fd), out) {
        (true, true) => Call::Send,
        (true, false) => Call::Receive,
        (false, false) if fd > 2 => Call::Load,
        (false, true) if is_event(fd) => Call::Wake,
        (false, true) if fd > 2 => Call::Write,
        _ => return Ok(len),
    };
    match fate(call, fd) {
        Fate::Passes => Ok(len),
        Fate::Fails(error) => Err(error),
        Fate::Short(most) => Ok(len.min(most.max(1))),
    }
}

/// [`transfer`] for slices: `None` = all of them.
unsafe fn transfers(fd: c_int, slices: *const iovec, count: c_int, out: bool) -> Result<Option<iovec>, c_int> {
    let slices = unsafe { std::slice::from_raw_parts(slices, count as usize) };
    let len = slices.iter().map(|slice| slice.len).sum();
    let allowed = transfer(fd, len, out)?;
    let first = slices.iter().find(|slice| slice.len > 0).filter(|_| allowed < len);
    Ok(first.map(|first| iovec { base: first.base, len: first.len.min(allowed) }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept4(fd: c_int, address: *mut c_void, len: *mut c_uint, flags: c_int) -> c_int {
    let real = real!(accept4 as unsafe extern "C" fn(c_int, *mut c_void, *mut c_uint, c_int) -> c_int);
    match fate(Call::Accept, fd) {
        Fate::Fails(error) => fail(error),
        _ => unsafe { real(fd, address, len, flags) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, to: *mut c_void, len: size_t) -> ssize_t {
    let real = real!(read as unsafe extern "C" fn(c_int, *mut c_void, size_t) -> ssize_t);
    transfer(fd, len, false).map_or_else(fail, |len| unsafe { real(fd, to, len) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, to: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    let real = real!(recv as unsafe extern "C" fn(c_int, *mut c_void, size_t, c_int) -> ssize_t);
    transfer(fd, len, false).map_or_else(fail, |len| unsafe { real(fd, to, len, flags) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    to: *mut c_void,
    len: size_t,
    flags: c_int,
    address: *mut c_void,
    address_len: *mut c_uint,
) -> ssize_t {
    type Real = unsafe extern "C" fn(c_int, *mut c_void, size_t, c_int, *mut c_void, *mut c_uint) -> ssize_t;
    let real = real!(recvfrom as Real);
    transfer(fd, len, false).map_or_else(fail, |len| unsafe { real(fd, to, len, flags, address, address_len) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn readv(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
    let real = real!(readv as unsafe extern "C" fn(c_int, *const iovec, c_int) -> ssize_t);
    match unsafe { transfers(fd, slices, count, false) } {
        Ok(None) => unsafe { real(fd, slices, count) },
        Ok(Some(slice)) => unsafe { real(fd, &slice, 1) },
        Err(error) => fail(error),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, from: *const c_void, len: size_t) -> ssize_t {
    let real = real!(write as unsafe extern "C" fn(c_int, *const c_void, size_t) -> ssize_t);
    transfer(fd, len, true).map_or_else(fail, |len| unsafe { real(fd, from, len) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn send(fd: c_int, from: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    let real = real!(send as unsafe extern "C" fn(c_int, *const c_void, size_t, c_int) -> ssize_t);
    transfer(fd, len, true).map_or_else(fail, |len| unsafe { real(fd, from, len, flags) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    from: *const c_void,
    len: size_t,
    flags: c_int,
    address: *const c_void,
    address_len: c_uint,
) -> ssize_t {
    type Real = unsafe extern "C" fn(c_int, *const c_void, size_t, c_int, *const c_void, c_uint) -> ssize_t;
    let real = real!(sendto as Real);
    transfer(fd, len, true).map_or_else(fail, |len| unsafe { real(fd, from, len, flags, address, address_len) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
    let real = real!(writev as unsafe extern "C" fn(c_int, *const iovec, c_int) -> ssize_t);
    match unsafe { transfers(fd, slices, count, true) } {
        Ok(None) => unsafe { real(fd, slices, count) },
        Ok(Some(slice)) => unsafe { real(fd, &slice, 1) },
        Err(error) => fail(error),
    }
}

/// Functions that fail with -1 and an error number, without further effect.
macro_rules! plain {
    ($($call:ident, $fd:expr; $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            let real = real!($name as unsafe extern "C" fn($($type),*) -> $result);
            #[allow(unused_variables)]
            match fate(Call::$call, $fd) {
                Fate::Fails(error) => fail(error),
                _ => unsafe { real($($argument),*) },
            }
        }
    )*};
}

plain! {
    EpollWait, epoll; epoll_wait(epoll: c_int, events: *mut c_void, most: c_int, timeout: c_int) -> c_int;
    EpollCtl, fd; epoll_ctl(epoll: c_int, action: c_int, fd: c_int, event: *mut c_void) -> c_int;
    Eventfd, 0; epoll_create1(flags: c_int) -> c_int;
    Madvise, 0; madvise(start: *mut c_void, len: size_t, advice: c_int) -> c_int;
    Open, 0; open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    Open, 0; open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    Rename, 0; rename(from: *const c_char, to: *const c_char) -> c_int;
    Fsync, 0; fsync(fd: c_int) -> c_int;
    Fsync, 0; msync(start: *mut c_void, len: size_t, flags: c_int) -> c_int;
    Socket, 0; socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    Listen, fd; bind(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
    Listen, fd; listen(fd: c_int, backlog: c_int) -> c_int;
}

unsafe extern "C" {
    fn __libc_malloc(size: size_t) -> *mut c_void;
    fn __libc_calloc(count: size_t, size: size_t) -> *mut c_void;
    fn __libc_realloc(block: *mut c_void, size: size_t) -> *mut c_void;
    fn __libc_memalign(align: size_t, size: size_t) -> *mut c_void;
}

/// Size from which requests for memory are affected; `None` before there is a plan.
fn least(call: Call) -> Option<size_t> {
    let plan = PLAN.load(SeqCst) as *const AtomicU64;
    let word = (!plan.is_null()).then(|| unsafe { &*plan.add(call as usize * ROW + LEAST) })?;
    Some(word.load(SeqCst) as size_t)
}

/// Whether an allocation fails. Does not use `next`, which may allocate.
fn lacks_memory(size: size_t) -> bool {
    let is_affected = least(Call::Memory).is_some_and(|least| size >= least);
    let fails = is_affected && matches!(fate(Call::Memory, 0), Fate::Fails(_));
    if fails {
        unsafe { *__errno_location() = 12 }; // ENOMEM
    }
    fails
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: size_t) -> *mut c_void {
    if lacks_memory(size) { std::ptr::null_mut() } else { unsafe { __libc_malloc(size) } }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: size_t, size: size_t) -> *mut c_void {
    let fails = lacks_memory(count.saturating_mul(size));
    if fails { std::ptr::null_mut() } else { unsafe { __libc_calloc(count, size) } }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: size_t) -> *mut c_void {
    if lacks_memory(size) { std::ptr::null_mut() } else { unsafe { __libc_realloc(block, size) } }
}

/// Returns the error number itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(block: *mut *mut c_void, align: size_t, size: size_t) -> c_int {
    let made = if lacks_memory(size) { std::ptr::null_mut() } else { unsafe { __libc_memalign(align, size) } };
    if made.is_null() {
        return 12; // ENOMEM
    }
    unsafe { *block = made };
    0
}

#[repr(C)]
pub struct timespec {
    seconds: i64,
    nanos: i64,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut timespec) -> c_int {
    const REALTIME: c_int = 0;
    let real = real!(clock_gettime as unsafe extern "C" fn(c_int, *mut timespec) -> c_int);
    let result = unsafe { real(clock, time) };
    let plan = PLAN.load(SeqCst) as *const AtomicU64;
    if clock == REALTIME && result == 0 && !plan.is_null() {
        let ahead = unsafe { &*plan.add(Call::WallClock as usize * ROW + WHAT) }.load(SeqCst);
        unsafe { (*time).seconds += ahead as i64 };
    }
    result
}

unsafe fn map(
    real: unsafe extern "C" fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void,
    (start, len, protection, flags, fd, offset): (*mut c_void, size_t, c_int, c_int, c_int, off_t),
) -> *mut c_void {
    let least = least(Call::Mmap).unwrap_or(usize::MAX).max(1 << 20);
    let fate = if len < least { Fate::Passes } else { fate(Call::Mmap, fd) };
    match fate {
        Fate::Fails(error) => fail::<isize>(error) as *mut c_void,
        _ => unsafe { real(start, len, protection, flags, fd, offset) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(s: *mut c_void, l: size_t, p: c_int, f: c_int, fd: c_int, o: off_t) -> *mut c_void {
    let real = real!(mmap as unsafe extern "C" fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void);
    unsafe { map(real, (s, l, p, f, fd, o)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(s: *mut c_void, l: size_t, p: c_int, f: c_int, fd: c_int, o: off_t) -> *mut c_void {
    let real = real!(mmap64 as unsafe extern "C" fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void);
    unsafe { map(real, (s, l, p, f, fd, o)) }
}

/// Returns the error number itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate(fd: c_int, offset: off_t, len: off_t) -> c_int {
    let real = real!(posix_fallocate as unsafe extern "C" fn(c_int, off_t, off_t) -> c_int);
    match fate(Call::Allocate, fd) {
        Fate::Fails(error) => error,
        _ => unsafe { real(fd, offset, len) },
    }
}

/// Returns the error number itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    run: *mut c_void,
    with: *mut c_void,
) -> c_int {
    type Real = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void, *mut c_void) -> c_int;
    let real = real!(pthread_create as Real);
    match fate(Call::Thread, 0) {
        Fate::Fails(error) => error,
        _ => unsafe { real(thread, attributes, run, with) },
    }
}
