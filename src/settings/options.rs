//! The option table: one row for every flag; the `-o` names have tables by topic (`extended`, `ssl`, `admin`, …).
//!
//! Owns names, value rules, help texts, the effect of each option, and the error text for a value out of range. Must
//! not know how arguments are walked (`parse`) or checks that need several options (`check`). Read by `parse` and
//! `help`.
//!
//! A row under `-h` is a promise that the option works. Options of memcached that are not implemented have a row too,
//! so that they fail by name and not as a typing error; `-h` omits them, because test suites and deployment scripts
//! look for features there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::number::{begins_with_digits, integer, mode};
use super::parse::{Draft, Exit, FAILURE, USAGE};
use super::row::{Act, Apply, Flag, HelpText, Sub};
use super::{
    ProtocolChoice, admin, cluster, config, durable, extended, help, hotkeys, latency, listen, sandbox, ssl, stop,
};
use crate::limits::THREADS_MAX;
use crate::sys::getopt::Argument;
use crate::sys::number::float;
use crate::sys::process;

/// Options known but not implemented: canonical name and reason.
pub fn unsupported() -> impl Iterator<Item = (String, &'static str)> {
    let flags = FLAGS.iter().map(|flag| (help::name(flag), flag.act));
    let subs = subs().map(|sub| (format!("-o {}", sub.name), sub.act));
    flags.chain(subs).filter_map(|(name, act)| match act {
        Act::NotYet(reason) => Some((name, reason)),
        _ => None,
    })
}

pub(super) fn fail<T>(line: &str) -> Result<T, Exit> {
    Err(Exit::line(FAILURE, line))
}

/// The error text for a value that is no number. memcached takes the digits in front of other text; without any it has
/// the complaint about the range.
pub(super) fn no_number(value: &[u8], complaint: &str) -> Exit {
    let shown = String::from_utf8_lossy(value);
    if begins_with_digits(value) {
        Exit::line(FAILURE, format_args!("{complaint}: \"{shown}\" is no number"))
    } else {
        Exit::line(FAILURE, complaint)
    }
}

/// A number of at least 1.
fn positive(value: &[u8], complaint: &str) -> Result<u32, Exit> {
    within(value, 1..=i32::MAX.unsigned_abs(), complaint)
}

/// A number in `range`.
pub(super) fn within(value: &[u8], range: std::ops::RangeInclusive<u32>, complaint: &str) -> Result<u32, Exit> {
    match integer(value).map(u32::try_from) {
        Some(Ok(number)) if range.contains(&number) => Ok(number),
        Some(_) => fail(complaint),
        None => Err(no_number(value, complaint)),
    }
}

/// A port number; its range is checked at the end.
fn port(value: &[u8]) -> Result<i32, Exit> {
    let value_shown = String::from_utf8_lossy(value);
    integer(value).ok_or_else(|| Exit::line(USAGE, format_args!("ERROR: Invalid port number {value_shown}.")))
}

/// A number above `least`.
pub(super) fn above(value: &[u8], least: f64, complaint: &str) -> Result<f64, Exit> {
    match float(value) {
        Some(number) if number > least => Ok(number),
        Some(_) => fail(complaint),
        None => Err(no_number(value, complaint)),
    }
}

fn path(value: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(value))
}

/// The flags, in the order of `-h`.
pub(super) static FLAGS: &[Flag] = &[
    Flag::value(b'p', "port", "<num>", "TCP port; 0 for none, -1 for any free one", |draft, value| {
        draft.settings.port = port(value)?;
        draft.tcp_specified = true;
        Ok(())
    })
    .default(|settings| settings.port.to_string()),
    Flag::value(
        b'U',
        "udp-port",
        "<num>",
        "UDP port; 0 for none, -1 for any free one. Sets the\nTCP port too unless -p does",
        |draft, value| {
            draft.settings.udpport = port(value)?;
            draft.udp_specified = true;
            Ok(())
        },
    )
    .default(|settings| settings.udpport.to_string()),
    Flag::value(b's', "unix-socket", "<file>", "serve this unix socket instead of the network", |draft, value| {
        draft.settings.socketpath = Some(path(value));
        Ok(())
    }),
    Flag::value(b'a', "unix-mask", "<mask>", "file mode of the unix sockets, in octal", |draft, value| {
        let Some(mode) = mode(value) else { return fail("unix-mask must be an octal file mode, up to 777") };
        draft.settings.access = mode;
        Ok(())
    })
    .default(|settings| format!("{:o}", settings.access)),
    Flag::switch(b'A', "enable-shutdown", "let clients stop the server with \"shutdown\"", |settings| {
        settings.shutdown_command = true;
    }),
    Flag::value(
        b'l',
        "listen",
        "<addr>",
        "address to serve; separate several with commas, or\n\
         repeat the option. Each is a name, an IPv4 address, an\n\
         [IPv6] address, a network interface or *, then :port if\n\
         it has its own; or unix: and the path of a unix socket.\n\
         In front may stand proto[ascii]:, proto[binary]: or\n\
         proto[negotiating]: and tag[name]: (1 to 8 characters);\n\
         first of all, with -Z, notls:, btls: (asks for no client\n\
         certificate) or mtls: (requires one). Without the option\n\
         every address is served",
        add_listen,
    )
    .repeated(),
    Flag::switch(b'd', "daemon", "go to the background", |settings| settings.daemonize = true),
    Flag::switch(b'r', "enable-coredumps", "raise the core file size limit as far as it goes", |settings| {
        settings.maxcore = true;
    }),
    Flag::value(b'u', "user", "<user>", "become this user; required when started as root", |draft, value| {
        draft.settings.username = Some(value.to_vec());
        Ok(())
    }),
    Flag::value(b'm', "memory-limit", "<num>", "memory for items, in megabytes", set_memory_limit)
        .default(|settings| (settings.maxbytes / (1024 * 1024)).to_string()),
    Flag::switch(b'M', "disable-evictions", "when memory is full fail the command, evict nothing", |settings| {
        settings.evict_to_free = false;
    }),
    Flag::value(b'c', "conn-limit", "<num>", "most connections at a time", |draft, value| {
        draft.settings.maxconns = positive(value, "Maximum connections must be greater than 0")?;
        Ok(())
    })
    .default(|settings| settings.maxconns.to_string()),
    Flag::switch(b'k', "lock-memory", "keep all memory out of swap", |settings| settings.lock_memory = true),
    Flag {
        short: b'v',
        long: Some("verbose"),
        argument: Argument::Optional,
        placeholder: "",
        choices: &[],
        repeats: true,
        words: HelpText {
            text: "say more on standard error; -vv adds commands and\nreplies, -vvv connection states",
            default: None,
        },
        act: Act::Apply(Apply::Switch(|settings| settings.verbose = settings.verbose.saturating_add(1))),
    },
    Flag::new(b'h', "help", "show this text and leave", Act::Print(help::usage)),
    Flag::new(b'i', "license", "show the licences and leave", Act::Print(help::license)),
    Flag::new(b'V', "version", "show the version and leave", Act::Print(help::version)),
    Flag::value(
        b'P',
        "pidfile",
        "<file>",
        "write the process id here; removed at exit only with -d",
        |draft, value| {
            draft.settings.pid_file = Some(path(value));
            Ok(())
        },
    ),
    Flag::value(b'f', "slab-growth-factor", "<num>", "size ratio of neighbouring slab classes", |draft, value| {
        draft.settings.factor = above(value, 1.0, "Factor must be greater than 1")?;
        Ok(())
    })
    .default(|settings| format!("{:.2}", settings.factor)),
    Flag::value(b'n', "slab-min-size", "<bytes>", "least room for key, value and flags", |draft, value| {
        draft.settings.chunk_size = positive(value, "Chunk size must be greater than 0")?.cast_signed();
        Ok(())
    })
    .default(|settings| settings.chunk_size.to_string()),
    Flag::switch(
        b'L',
        "enable-largepages",
        "refuse to start where the kernel gives no large pages;\nthey are asked for anyway",
        |settings| {
            settings.large_pages = true;
        },
    ),
    Flag {
        short: b'D',
        long: None,
        argument: Argument::Required,
        placeholder: "<char>",
        choices: &[],
        repeats: false,
        words: HelpText {
            text: "the character that ends a key's prefix. Giving one also\n\
                   starts the per-prefix counters, which \"stats detail on\"\n\
                   does as well",
            default: Some(|settings| char::from(settings.prefix_delimiter).to_string()),
        },
        act: Act::Apply(Apply::Value(|draft, value| {
            let Some(&first) = value.first() else { return fail("No delimiter specified") };
            draft.settings.prefix_delimiter = first;
            draft.settings.detail_enabled = true;
            Ok(())
        })),
    },
    Flag::value(
        b't',
        "threads",
        "<num>",
        "worker threads; auto for one a processor that the\nprocess may use, by its affinity and CPU quota",
        set_threads,
    )
    .default(|settings| settings.num_threads.to_string()),
    Flag::value(
        b'R',
        "max-reqs-per-event",
        "<num>",
        "commands a connection may run in a row before the\nothers are looked at",
        |draft, value| {
            draft.settings.reqs_per_event = positive(value, "Number of requests per event must be greater than 0")?;
            Ok(())
        },
    )
    .default(|settings| settings.reqs_per_event.to_string()),
    Flag::switch(b'C', "disable-cas", "no compare-and-swap; saves 8 bytes an item", |settings| {
        settings.use_cas = false;
    }),
    Flag::value(b'b', "listen-backlog", "<num>", "connections the system may queue for a listener", |draft, value| {
        let Some(backlog) = integer(value) else { return fail("Listen backlog must be a number") };
        draft.settings.backlog = backlog;
        Ok(())
    })
    .default(|settings| settings.backlog.to_string()),
    Flag::value(b'B', "protocol", "<name>", "ascii, binary or auto (default: auto-negotiate)", set_protocol)
        .one_of(&["ascii", "auto", "binary"]),
    Flag::value(
        b'I',
        "max-item-size",
        "<num>",
        "largest item, in bytes or with k or m behind\n(default: 1m, from 1k to 1024m)",
        set_item_size_max,
    ),
    Flag::switch(
        b'S',
        "enable-sasl",
        "clients must log in with SASL (binary protocol only);\nMEMCACHED_SASL_PWDB names the file of users",
        |settings| settings.sasl = true,
    ),
    Flag::switch(b'F', "disable-flush-all", "refuse flush_all", |settings| settings.flush_enabled = false),
    Flag::switch(b'X', "disable-dumping", "refuse cachedump, metadump, mgdump and stats detail", |settings| {
        settings.dump_enabled = false;
    }),
    Flag::switch(b'W', "disable-watch", "refuse watch", |settings| settings.watch_enabled = false),
    Flag::value(
        b'Y',
        "auth-file",
        "<file>",
        "clients must log in with \"set\" and \"user password\" as its\n\
         value (text protocol only); lines of user:password, or\nof --hash-password",
        |draft, value| {
            draft.settings.auth_file = Some(path(value));
            Ok(())
        },
    ),
    Flag::value(
        b'e',
        "memory-file",
        "<file>",
        "keep items in a file on tmpfs or DAX; they outlive a stop\nwith SIGUSR1, and are checked after a crash",
        |draft, value| {
            draft.settings.memory_file = Some(path(value));
            Ok(())
        },
    ),
    Flag::switch(b'Z', "enable-ssl", "speak TLS on TCP; needs ssl_chain_cert and ssl_key", |settings| {
        settings.ssl.enabled = true;
    }),
    admin::FLAG,
    config::FILE,
    config::CHECK,
    Flag::value(
        b'N',
        "napi-ids",
        "<num>",
        "receive queues of the network card, at most as many as\n\
         threads; each thread serves the clients of one queue",
        |draft, value| {
            draft.settings.num_napi_ids = positive(value, "Maximum number of NAPI IDs must be greater than 0")?;
            Ok(())
        },
    ),
    Flag::new(b'o', "extended", "further options, separated by commas:", Act::Extended).takes("<list>"),
];

/// Repeated `-l` add up; an option without a new entry is dropped.
fn add_listen(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    let value = String::from_utf8_lossy(value);
    let are_present = |list: &str| {
        let is_present = |entry: &str| list.split([',', ';']).any(|other| other == entry);
        value.split([',', ';']).filter(|entry| !entry.is_empty()).all(is_present)
    };
    match &mut draft.settings.inter {
        Some(inter) if are_present(inter) => {}
        Some(inter) => {
            inter.push(',');
            inter.push_str(&value);
        }
        inter @ None => *inter = Some(value.into_owned()),
    }
    Ok(())
}

fn set_threads(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    draft.settings.num_threads = match value {
        b"auto" => process::processors(),
        _ => positive(value, "Number of threads must be greater than 0")?,
    };
    if draft.settings.num_threads > THREADS_MAX {
        return fail(&format!("Number of threads must be at most {THREADS_MAX}"));
    }
    if draft.settings.num_threads > 64 {
        draft.settings.warnings.push(
            "WARNING: Setting a high number of workerthreads is not recommended.\n \
             Set this value to the number of cores in your machine or less.\n"
                .to_owned(),
        );
    }
    Ok(())
}

fn set_protocol(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    draft.protocol_specified = true;
    draft.settings.binding_protocol = match value {
        b"auto" => ProtocolChoice::Negotiating,
        b"ascii" => ProtocolChoice::Ascii,
        b"binary" => ProtocolChoice::Binary,
        _ => {
            let value = String::from_utf8_lossy(value);
            return Err(Exit::line(
                USAGE,
                format_args!(
                    "Invalid value for binding protocol: {value}\n -- should be one of auto, binary, or ascii"
                ),
            ));
        }
    };
    Ok(())
}

/// Megabytes; the unit may be spelled out, as memcached ignores it.
fn set_memory_limit(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    let value = value.trim_ascii_end();
    let digits = [&b"mb"[..], b"m"].into_iter().find_map(|unit| {
        let (digits, end) = value.split_at_checked(value.len().checked_sub(unit.len())?)?;
        end.eq_ignore_ascii_case(unit).then_some(digits)
    });
    let Some(megabytes) = integer(digits.unwrap_or(value)) else {
        return fail("Memory limit must be a number of megabytes");
    };
    let Ok(megabytes) = u64::try_from(megabytes) else { return fail("Memory limit must not be negative") };
    draft.settings.maxbytes = megabytes * 1024 * 1024;
    Ok(())
}

/// The range is checked at the end.
fn set_item_size_max(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    let (digits, unit) = match value.split_last() {
        Some((b'k' | b'K', digits)) => (digits, 1024),
        Some((b'm' | b'M', digits)) => (digits, 1024 * 1024),
        _ => (value, 1),
    };
    let Some(number) = integer(digits) else {
        return Err(Exit::line(USAGE, "Item max size must be a number, with k or m behind it or nothing."));
    };
    draft.settings.item_size_max = number.saturating_mul(unit);
    Ok(())
}

/// The `-o` names by topic, in the order of `-h`.
pub(super) static TOPICS: &[(&str, &[Sub])] = &[
    ("Server and cache", extended::SUBS),
    ("Listening", listen::SUBS),
    ("TLS", ssl::SUBS),
    ("Stop", stop::SUBS),
    ("Latencies", latency::SUBS),
    ("Hot keys", hotkeys::SUBS),
    ("Admin listener", admin::SUBS),
    ("Cluster", cluster::SUBS),
    ("Durable copy", durable::SUBS),
    ("Sandbox", sandbox::SUBS),
];

/// The `-o` names, in the order of `-h`.
pub(super) fn subs() -> impl Iterator<Item = &'static Sub> {
    TOPICS.iter().flat_map(|(_, subs)| subs.iter())
}
