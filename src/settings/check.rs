//! What options mean together.
//!
//! Owns the bounds that need more than one option, and their complaints, in the order the original server finds them.
//! It must not know how options are written. `finish` is called by `parse`; `check_user` and `check_start` by `main`,
//! after it has set the file limits and after it has changed the user, respectively.

use super::number::strict_u32;
use super::parse::{Draft, Exit, FAILURE, NO_USER, USAGE};
use super::{CHUNK_ALIGN_BYTES, HASHPOWER_DEFAULT, Protocol, SLAB_CLASSES_MAX, SLAB_PAGE_SIZE, Settings, listen};
use crate::sys::user::{Account, find_account};

/// The last port there is.
pub(super) const PORT_MAX: i32 = 65535;

const ITEM_SIZE_MIN: i32 = 1024;
const ITEM_SIZE_MAX: i32 = 1024 * 1024 * 1024;

/// Turns a draft into settings, or says what is wrong with it.
pub(super) fn finish(mut draft: Draft) -> Result<Settings, Exit> {
    sizes(&mut draft)?;
    let sizes_text = draft.slab_sizes_text.take();
    let mut settings = draft.settings;
    if let Some(text) = sizes_text {
        settings.slab_sizes = Some(slab_sizes(&text, &settings)?);
    }
    if settings.hot_lru_pct + settings.warm_lru_pct > 80 {
        return usage("hot_lru_pct + warm_lru_pct cannot be more than 80% combined");
    }
    if settings.temp_lru && !settings.lru_maintainer_thread {
        return usage("temporary_ttl requires lru_maintainer to be enabled");
    }
    // Several interfaces mean several UDP sockets: one worker each is then enough to keep all busy.
    let several = settings.inter.as_deref().is_some_and(|inter| inter.contains(','));
    settings.num_threads_per_udp = if several { 1 } else { settings.num_threads };
    protocol(&mut settings, draft.protocol_specified)?;
    if draft.udp_specified && settings.udpport != 0 && !draft.tcp_specified {
        settings.port = settings.udpport;
    }
    for port in [settings.port, settings.udpport] {
        if port > PORT_MAX {
            return usage(format_args!("ERROR: Invalid port number {port}."));
        }
    }
    if settings.ssl.enabled && settings.port == 0 {
        return usage("ERROR: You cannot enable SSL without a TCP port.");
    }
    // A bad list is reported by `check_start`, after the complaints about the user.
    settings.listeners = listen::listeners(&settings).unwrap_or_default();
    if settings.auth_file.is_some() {
        for spec in settings.listeners.iter_mut().filter(|spec| spec.protocol == Protocol::Negotiating) {
            spec.protocol = Protocol::Ascii;
            let line = "WARNING: negotiating ports are ascii only when ascii authentication enabled\n";
            settings.warnings.push(line.to_owned());
        }
    }
    Ok(settings)
}

/// Authentication decides what is spoken, unless `-B` does; then both must mean the same.
fn protocol(settings: &mut Settings, specified: bool) -> Result<(), Exit> {
    if settings.sasl {
        if !specified {
            settings.binding_protocol = Protocol::Binary;
        } else if settings.binding_protocol != Protocol::Binary {
            return usage("ERROR: You cannot allow the ASCII protocol while using SASL.");
        }
        if settings.udpport != 0 {
            return usage("ERROR: Cannot enable UDP while using binary SASL authentication.");
        }
    }
    if settings.auth_file.is_some() {
        if !specified {
            settings.binding_protocol = Protocol::Ascii;
        } else if settings.binding_protocol != Protocol::Ascii {
            return usage("ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.");
        }
    }
    Ok(())
}

fn usage<T>(line: impl std::fmt::Display) -> Result<T, Exit> {
    Err(Exit::line(USAGE, line))
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

/// Reads `a-b-c`; dashes in a row count as one.
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
        // Class 0 and the last class are not the user's to give.
        if sizes.len() >= SLAB_CLASSES_MAX - 1 {
            return usage("too many slab classes specified");
        }
    }
    Ok(sizes)
}

/// The rule about root: who starts as root must say whom to become. `Some` is the account to switch to; `None` means
/// the process is not root and stays who it is, whatever `-u` says.
///
/// # Errors
/// Code 64 without `-u` (or with an empty one), 67 for an unknown name.
pub fn check_user(uid: u32, euid: u32, settings: &Settings) -> Result<Option<Account>, Exit> {
    if uid != 0 && euid != 0 {
        return Ok(None);
    }
    let name = settings.username.as_deref().unwrap_or_default();
    if name.is_empty() {
        return usage("must add '-u root' to start as root");
    }
    match find_account(name) {
        Some(account) => Ok(Some(account)),
        None => {
            let name = String::from_utf8_lossy(name);
            Err(Exit::line(NO_USER, format_args!("can't find the user {name} to switch to")))
        }
    }
}

/// What is found wrong when the file of `-Y` is about to be read.
///
/// # Errors
/// Code 64 for UDP, which has no logins.
pub fn check_authfile(settings: &Settings) -> Result<(), Exit> {
    if settings.auth_file.is_some() && settings.udpport != 0 {
        return usage("Cannot use UDP with ascii authentication enabled (-U 0 to disable)");
    }
    Ok(())
}

/// The last checks, made when threads and sockets are about to be made: the hash table against the item locks, then
/// the `-l` list.
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

/// Power of two of the item lock table for this many workers. The smallest accepted hash table must be larger, and
/// users see the number in the complaint, so it follows the original whatever the store makes of it.
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
