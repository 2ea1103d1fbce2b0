//! Checks that need more than one option.
//!
//! Owns the bounds between options and their error texts, in the order in which memcached reports them. Must not know
//! how options are written. `parse` calls `finish`. `server` calls `check_user` when it prepares the process,
//! `check_authfile` before it loads the users, and `check_start` when it starts.

use super::number::strict_u32;
use super::parse::{Draft, Exit, FAILURE, NO_USER, USAGE};
use super::{
    CHUNK_ALIGN_BYTES, HASHPOWER_DEFAULT, HOT_LRU_PCT, ProtocolChoice, SLAB_CLASSES_MAX, SLAB_PAGE_SIZE, Settings,
    admin, durable, listen, stop,
};
use crate::sys::user::{Account, find_account, numbered_account};

/// Port numbers; -1 lets the system choose.
pub(super) const PORTS: std::ops::RangeInclusive<i32> = -1..=65535;

const ITEM_SIZE_MIN: i32 = 1024;
const ITEM_SIZE_MAX: i32 = 1024 * 1024 * 1024;

/// Validates a draft and turns it into settings.
pub(super) fn finish(mut draft: Draft) -> Result<Settings, Exit> {
    napi_ids(&draft.settings)?;
    sizes(&mut draft)?;
    let sizes_text = draft.slab_sizes_text.take();
    let mut settings = draft.settings;
    if let Some(text) = sizes_text {
        settings.slab_sizes = Some(slab_sizes(&text, &settings)?);
    }
    if settings.hot_lru_pct.unwrap_or(HOT_LRU_PCT) + settings.warm_lru_pct > 80 {
        return usage("hot_lru_pct + warm_lru_pct cannot be more than 80% combined");
    }
    if settings.temp_lru && !settings.lru_maintainer_thread {
        return usage("temporary_ttl requires lru_maintainer to be enabled");
    }
    // A list of interfaces means several UDP sockets: one worker per socket keeps all workers busy.
    let several = settings.inter.as_deref().is_some_and(|inter| inter.contains(','));
    settings.num_threads_per_udp = if several { 1 } else { settings.num_threads };
    protocol(&mut settings, draft.protocol_specified)?;
    if draft.udp_specified && settings.udpport != 0 && !draft.tcp_specified {
        settings.port = settings.udpport;
    }
    for port in [settings.port, settings.udpport] {
        if !PORTS.contains(&port) {
            return usage(format_args!("ERROR: Invalid port number {port}."));
        }
    }
    if settings.ssl.enabled && settings.port == 0 {
        return usage("ERROR: You cannot enable SSL without a TCP port.");
    }
    admin::finish(&mut settings)?;
    listen::finish(&mut settings)?;
    stop::finish(&settings)?;
    durable::finish(&settings)?;
    if settings.auth_file.is_some() {
        for spec in settings.listeners.iter_mut().filter(|spec| spec.protocol == ProtocolChoice::Negotiating) {
            spec.protocol = ProtocolChoice::Ascii;
            let line = "WARNING: negotiating ports are ascii only when ascii authentication enabled\n";
            settings.warnings.push(line.to_owned());
        }
    }
    Ok(settings)
}

/// Authentication determines the protocol, unless `-B` was given; then both must agree.
fn protocol(settings: &mut Settings, specified: bool) -> Result<(), Exit> {
    if settings.sasl {
        if !specified {
            settings.binding_protocol = ProtocolChoice::Binary;
        } else if settings.binding_protocol != ProtocolChoice::Binary {
            return usage("ERROR: You cannot allow the ASCII protocol while using SASL.");
        }
        if settings.udpport != 0 {
            return usage("ERROR: Cannot enable UDP while using binary SASL authentication.");
        }
    }
    if settings.auth_file.is_some() {
        if !specified {
            settings.binding_protocol = ProtocolChoice::Ascii;
        } else if settings.binding_protocol != ProtocolChoice::Ascii {
            return usage("ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.");
        }
    }
    Ok(())
}

fn usage<T>(line: impl std::fmt::Display) -> Result<T, Exit> {
    Err(Exit::line(USAGE, line))
}

/// Each receive queue needs a worker.
fn napi_ids(settings: &Settings) -> Result<(), Exit> {
    let (queues, threads) = (settings.num_napi_ids, settings.num_threads);
    if queues > threads {
        return usage(format_args!("Number of napi_ids({queues}) cannot be greater than number of threads({threads})"));
    }
    Ok(())
}

fn sizes(draft: &mut Draft) -> Result<(), Exit> {
    let settings = &mut draft.settings;
    let item = settings.item_size_max;
    if item < ITEM_SIZE_MIN {
        return usage("Item max size cannot be less than 1024 bytes.");
    }
    if u64::from(item.unsigned_abs()) > settings.maxbytes / 2 {
        return usage("Cannot set item size limit higher than 1/2 of memory max.");
    }
    if item > ITEM_SIZE_MAX {
        return usage("Cannot set item size limit higher than a gigabyte.");
    }
    if item > 1024 * 1024 && !draft.slab_chunk_specified {
        settings.slab_chunk_size_max = SLAB_PAGE_SIZE / 2;
    }
    let chunk = settings.slab_chunk_size_max;
    if chunk > item {
        return usage(format_args!("slab_chunk_max (bytes: {chunk}) cannot be larger than -I (item_size_max {item})"));
    }
    if item % chunk != 0 {
        return usage(format_args!(
            "-I (item_size_max: {item}) must be evenly divisible by slab_chunk_max (bytes: {chunk})"
        ));
    }
    if SLAB_PAGE_SIZE % chunk != 0 {
        return usage(format_args!(
            "slab_chunk_max (bytes: {chunk}) must divide evenly into {SLAB_PAGE_SIZE} (slab_page_size)"
        ));
    }
    Ok(())
}

/// Parses `a-b-c`; consecutive dashes count as one.
fn slab_sizes(text: &[u8], settings: &Settings) -> Result<Vec<u32>, Exit> {
    if text.is_empty() {
        return usage("Missing slab_sizes argument");
    }
    let range = settings.chunk_size.unsigned_abs()..=settings.slab_chunk_size_max.unsigned_abs();
    let mut sizes = Vec::new();
    let mut last = 0_u32;
    for word in text.split(|&byte| byte == b'-').filter(|word| !word.is_empty()) {
        let size = strict_u32(word).unwrap_or(0);
        if !range.contains(&size) {
            return usage(format_args!("slab size {size} is out of valid range"));
        }
        if last >= size {
            return usage(format_args!("slab size {size} cannot be lower than or equal to a previous class size"));
        }
        if size <= last + CHUNK_ALIGN_BYTES {
            return usage(format_args!(
                "slab size {size} must be at least {CHUNK_ALIGN_BYTES} bytes larger than previous class"
            ));
        }
        sizes.push(size);
        last = size;
        // Class 0 and the last class cannot be given.
        if sizes.len() >= SLAB_CLASSES_MAX - 1 {
            return usage("too many slab classes specified");
        }
    }
    Ok(sizes)
}

/// The rule about root: a server started as root needs `-u`. Returns the account to switch to; `None` means that the
/// process is not root and keeps its user, whatever `-u` says.
///
/// # Errors
/// Code 64 without `-u` (or with an empty one), 67 for a name that is neither known nor a number.
pub fn check_user(uid: u32, euid: u32, settings: &Settings) -> Result<Option<Account>, Exit> {
    if uid != 0 && euid != 0 {
        return Ok(None);
    }
    let name = settings.username.as_deref().unwrap_or_default();
    if name.is_empty() {
        return usage("must add '-u root' to start as root");
    }
    match find_account(name).or_else(|| numbered_account(name)) {
        Some(account) => Ok(Some(account)),
        None => {
            let name = String::from_utf8_lossy(name);
            Err(Exit::line(NO_USER, format_args!("can't find the user {name} to switch to")))
        }
    }
}

/// Checks `-Y` against UDP, before the file is read.
///
/// # Errors
/// Code 64 for UDP, which has no logins.
pub fn check_authfile(settings: &Settings) -> Result<(), Exit> {
    if settings.auth_file.is_some() && settings.udpport != 0 {
        return usage("Cannot use UDP with ascii authentication enabled (-U 0 to disable)");
    }
    Ok(())
}

/// The last checks, before threads and sockets are created: the hash table against the item locks, then the `-l` list.
///
/// # Errors
/// Code 1 for the hash table, 71 for the list.
pub fn check_start(settings: &Settings) -> Result<(), Exit> {
    let locks = item_lock_power(settings.num_threads);
    let table = if settings.hashpower_init == 0 { HASHPOWER_DEFAULT } else { settings.hashpower_init };
    if locks >= table {
        return Err(Exit::line(
            FAILURE,
            format_args!(
                "Hash table power size ({table}) cannot be equal to or less than item lock table ({locks})\n\
                 Item lock table grows with `-t N` (worker threadcount)\n\
                 Hash table grows with `-o hashpower=N` "
            ),
        ));
    }
    listen::listeners(settings).map(|_| ())
}

/// Power of two of memcached's item lock table for this many workers. The smallest accepted hash table must be larger.
/// The error text shows the number, so it is memcached's, whatever locks the store has.
fn item_lock_power(num_threads: u32) -> i32 {
    match num_threads {
        0..=2 => 10,
        3 => 11,
        4 => 12,
        5..=10 => 13,
        11..=20 => 14,
        _ => 15,
    }
}
