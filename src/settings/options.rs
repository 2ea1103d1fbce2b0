//! The option table: one row for every flag and every `-o` name.
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

use super::number::{atoi, integer, mode, strict_i32, strict_u32};
use super::parse::{Draft, Exit, FAILURE, USAGE};
use super::row::{Act, Apply, Flag, HelpText, Need, Sub};
use super::{HASHPOWER_DEFAULT, HashAlgorithm, ProtocolChoice, SLAB_PAGE_SIZE, Settings, help, ssl};
use crate::limits::{AUTH_SECONDS_MAX, THREADS_MAX};
use crate::sys::getopt::Argument;
use crate::sys::number::atof;

/// Options known but not implemented: canonical name and reason.
pub fn unsupported() -> impl Iterator<Item = (String, &'static str)> {
    let flags = FLAGS.iter().map(|flag| (help::name(flag), flag.act));
    let subs = subs().map(|sub| (format!("-o {}", sub.name), sub.act));
    flags.chain(subs).filter_map(|(name, act)| match act {
        Act::NotYet(reason) => Some((name, reason)),
        _ => None,
    })
}

fn fail<T>(line: &str) -> Result<T, Exit> {
    Err(Exit::line(FAILURE, line))
}

/// `atoi` of a value that must be at least 1.
fn positive(value: &[u8], complaint: &str) -> Result<u32, Exit> {
    match u32::try_from(atoi(value)) {
        Ok(number) if number > 0 => Ok(number),
        _ => fail(complaint),
    }
}

/// A number in `range`.
fn within(value: &[u8], range: std::ops::RangeInclusive<u32>, complaint: &str) -> Result<u32, Exit> {
    match integer(value).map(u32::try_from) {
        Some(Ok(number)) if range.contains(&number) => Ok(number),
        _ => fail(complaint),
    }
}

/// A whole number of `unit` bytes; the product must fit into 32 bits.
fn bytes(value: &[u8], unit: u32, name: &str) -> Result<u32, Exit> {
    match strict_u32(value).and_then(|number| number.checked_mul(unit)) {
        Some(bytes) => Ok(bytes),
        None => fail(&format!("could not parse argument to {name}")),
    }
}

/// A port number; its range is checked at the end.
fn port(value: &[u8]) -> Result<i32, Exit> {
    let value_shown = String::from_utf8_lossy(value);
    integer(value).ok_or_else(|| Exit::line(USAGE, format_args!("ERROR: Invalid port number {value_shown}.")))
}

/// `atof` of a value that must be above `least`; text that is no number is refused too.
fn above(value: &[u8], least: f64, complaint: &str) -> Result<f64, Exit> {
    let number = atof(value);
    if number > least { Ok(number) } else { fail(complaint) }
}

fn path(value: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(value))
}

const FLASH: &str = "external storage is not built";
const PROXY: &str = "the proxy is not built";

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
    Flag::value(b'a', "unix-mask", "<mask>", "file mode of the unix socket, in octal", |draft, value| {
        let Some(mode) = mode(value) else { return fail("unix-mask must be an octal file mode, up to 7777") };
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
         [IPv6] address or *, then :port if it has its own. In\n\
         front may stand proto[ascii]:, proto[binary]: or\n\
         proto[negotiating]: and tag[name]: (1 to 8 characters);\n\
         first of all, with -Z, notls:, btls: (asks for no client\n\
         certificate) or mtls: (requires one). Without the option\n\
         every address is served",
        add_listen,
    ),
    Flag::switch(b'd', "daemon", "go to the background", |settings| settings.daemonize = true),
    Flag::switch(b'r', "enable-coredumps", "raise the core file size limit as far as it goes", |settings| {
        settings.maxcore = true;
    }),
    Flag::value(b'u', "user", "<user>", "become this user; required when started as root", |draft, value| {
        draft.settings.username = Some(value.to_vec());
        Ok(())
    }),
    Flag::value(b'm', "memory-limit", "<num>", "memory for items, in megabytes", |draft, value| {
        let Ok(megabytes) = u64::try_from(atoi(value)) else { return fail("Memory limit must not be negative") };
        draft.settings.maxbytes = megabytes * 1024 * 1024;
        Ok(())
    })
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
    Flag::value(b't', "threads", "<num>", "worker threads", set_threads)
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
    Flag::value(b'B', "protocol", "<name>", "ascii, binary or auto (default: auto-negotiate)", set_protocol),
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
    Flag::new(b'N', "napi-ids", "", Act::NotYet("threads are not chosen by network queue")).takes("<num>"),
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
    draft.settings.num_threads = positive(value, "Number of threads must be greater than 0")?;
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

/// The range is checked at the end.
fn set_item_size_max(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    draft.settings.item_size_max = match value.split_last() {
        Some((b'k' | b'K', digits)) => atoi(digits).saturating_mul(1024),
        Some((b'm' | b'M', digits)) => atoi(digits).saturating_mul(1024 * 1024),
        _ => atoi(value),
    };
    Ok(())
}

/// The `-o` names, in the order of `-h`.
pub(super) fn subs() -> impl Iterator<Item = &'static Sub> {
    SUBS.iter().chain(ssl::SUBS)
}

/// All but the TLS names.
static SUBS: &[Sub] = &[
    Sub::switch("maxconns_fast", "", |settings| settings.maxconns_fast = true),
    Sub::switch(
        "no_maxconns_fast",
        "when connections run out let clients wait, instead of\ntelling them and closing",
        |settings| settings.maxconns_fast = false,
    ),
    Sub::value(
        "maxconns_per_ip",
        "Missing numeric argument for maxconns_per_ip",
        "most connections from one address; 0 for no limit",
        |draft, value| {
            let Some(count) = strict_u32(value) else { return fail("could not parse argument to maxconns_per_ip") };
            draft.settings.maxconns_per_ip = count;
            Ok(())
        },
    )
    .default(|settings| settings.maxconns_per_ip.to_string()),
    Sub::value(
        "hashpower",
        "Missing numeric argument for hashpower",
        "the hash table starts with 2 to this power buckets,\n12 to 32, and grows",
        set_hashpower,
    )
    .default(|settings| match settings.hashpower_init {
        0 => HASHPOWER_DEFAULT.to_string(),
        power => power.to_string(),
    }),
    Sub::switch("no_hashexpand", "never grow the hash table", |settings| settings.hash_expand = false),
    Sub::value("hash_algorithm", "Missing hash_algorithm argument", "jenkins, murmur3 or xxh3", |draft, value| {
        draft.settings.hash_algorithm = match value {
            b"jenkins" => HashAlgorithm::Jenkins,
            b"murmur3" => HashAlgorithm::Murmur3,
            b"xxh3" => HashAlgorithm::Xxh3,
            _ => return fail("Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
        };
        Ok(())
    })
    .default(|settings| settings.hash_algorithm.text().to_owned()),
    Sub::value(
        "tail_repair_time",
        "Missing numeric argument for tail_repair_time",
        "seconds, 10 or more; shown in the settings, but nothing\ncan be stuck at the end of a list here",
        |draft, value| {
            draft.settings.tail_repair_time = atoi(value);
            if draft.settings.tail_repair_time < 10 {
                return fail("Cannot set tail_repair_time to less than 10 seconds");
            }
            Ok(())
        },
    ),
    Sub::switch("slab_reassign", "", |settings| settings.slab_reassign = true),
    Sub::switch("no_slab_reassign", "never move memory pages between slab classes", |settings| {
        settings.slab_reassign = false;
    }),
    Sub::new(
        "slab_automove",
        Need::Otherwise("1"),
        "0 pages move only on command, 1 when it helps, 2 at\nevery eviction",
        Act::Apply(Apply::Value(|draft, value| {
            draft.settings.slab_automove = within(value, 0..=2, "slab_automove must be between 0 and 2")?;
            Ok(())
        })),
    )
    .default(|settings| settings.slab_automove.to_string()),
    Sub::switch("no_slab_automove", "", |settings| settings.slab_automove = 0),
    Sub::value(
        "slab_automove_ratio",
        "Missing slab_automove_ratio argument",
        "a class this much younger than the oldest gets a page",
        |draft, value| {
            const COMPLAINT: &str = "slab_automove_ratio must be > 0 and < 1";
            let ratio = above(value, 0.0, COMPLAINT)?;
            if ratio > 1.0 {
                return fail(COMPLAINT);
            }
            draft.settings.slab_automove_ratio = ratio;
            Ok(())
        },
    )
    .default(|settings| format!("{:.2}", settings.slab_automove_ratio)),
    Sub::value(
        "slab_automove_window",
        "Missing slab_automove_window argument",
        "samples looked at before a page moves, 3 to 1800",
        |draft, value| {
            draft.settings.slab_automove_window =
                within(value, 3..=1800, "slab_automove_window must be > 2 and < 1800")?;
            Ok(())
        },
    )
    .default(|settings| settings.slab_automove_window.to_string()),
    Sub::not_yet("slab_automove_freeratio", FLASH),
    Sub::value(
        "slab_sizes",
        "Missing slab_sizes argument",
        "the slab classes themselves, in bytes, rising, joined\nby dashes; the largest is added",
        |draft, value| {
            draft.slab_sizes_text = Some(value.to_vec());
            Ok(())
        },
    ),
    Sub::value(
        "slab_chunk_max",
        "Missing slab_chunk_max argument",
        "largest chunk in kilobytes; larger items are made of\nseveral. Use with care",
        set_slab_chunk_max,
    )
    .default(|settings| (settings.slab_chunk_size_max / 1024).to_string()),
    Sub::switch("no_chunked_items", "one chunk an item, however large", |settings| {
        settings.slab_chunk_size_max = SLAB_PAGE_SIZE;
    }),
    Sub::switch("lru_crawler", "", |settings| settings.lru_crawler = true),
    Sub::switch("no_lru_crawler", "no background thread looking for expired items", |settings| {
        settings.lru_crawler = false;
    }),
    Sub::value(
        "lru_crawler_sleep",
        "Missing lru_crawler_sleep value",
        "microseconds between two items, up to 1000000",
        |draft, value| {
            draft.settings.lru_crawler_sleep =
                within(value, 0..=1_000_000, "LRU crawler sleep must be between 0 and 1 second")?;
            Ok(())
        },
    )
    .default(|settings| settings.lru_crawler_sleep.to_string()),
    Sub::value(
        "lru_crawler_tocrawl",
        "Missing lru_crawler_tocrawl value",
        "most items a slab class in one run; 0 for all",
        |draft, value| {
            let Some(tocrawl) = strict_u32(value) else {
                return fail("lru_crawler_tocrawl takes a numeric 32bit value");
            };
            draft.settings.lru_crawler_tocrawl = tocrawl;
            Ok(())
        },
    )
    .default(|settings| settings.lru_crawler_tocrawl.to_string()),
    Sub::switch("lru_maintainer", "", |settings| set_lru_maintainer(settings, true)),
    Sub::switch("no_lru_maintainer", "one list a slab class and no thread to tend it", |settings| {
        set_lru_maintainer(settings, false);
    }),
    Sub::value("hot_lru_pct", "Missing hot_lru_pct argument", "percent of memory for new items", |draft, value| {
        draft.settings.hot_lru_pct = within(value, 1..=79, "hot_lru_pct must be > 1 and < 80")?;
        draft.settings.hot_lru_given = true;
        Ok(())
    })
    .default(|settings| settings.hot_lru_pct.to_string()),
    Sub::value(
        "warm_lru_pct",
        "Missing warm_lru_pct argument",
        "percent of memory for items read more than once",
        |draft, value| {
            draft.settings.warm_lru_pct = within(value, 1..=79, "warm_lru_pct must be > 1 and < 80")?;
            Ok(())
        },
    )
    .default(|settings| settings.warm_lru_pct.to_string()),
    Sub::value(
        "hot_max_factor",
        "Missing hot_max_factor argument",
        "an item idle for longer than this times the age of the\ncold list leaves the hot one",
        |draft, value| {
            draft.settings.hot_max_factor = above(value, 0.0, "hot_max_factor must be > 0")?;
            Ok(())
        },
    )
    .default(|settings| format!("{:.2}", settings.hot_max_factor)),
    Sub::value("warm_max_factor", "Missing warm_max_factor argument", "the same for the warm list", |draft, value| {
        draft.settings.warm_max_factor = above(value, 0.0, "warm_max_factor must be > 0")?;
        Ok(())
    })
    .default(|settings| format!("{:.2}", settings.warm_max_factor)),
    Sub::value(
        "temporary_ttl",
        "Missing temporary_ttl argument",
        "items that live this many seconds or less get a list of\ntheir own, from which nothing is evicted; off unless given",
        |draft, value| {
            draft.settings.temp_lru = true;
            draft.settings.temporary_ttl = within(value, 0..=u32::MAX, "could not parse argument to temporary_ttl")?;
            Ok(())
        },
    ),
    Sub::value(
        "idle_timeout",
        "Missing numeric argument for idle_timeout",
        "seconds after which a silent connection is closed; 0 for\nnever",
        |draft, value| {
            draft.settings.idle_timeout = within(value, 0..=u32::MAX, "could not parse argument to idle_timeout")?;
            Ok(())
        },
    )
    .default(|settings| settings.idle_timeout.to_string()),
    Sub::value(
        "write_timeout",
        "Missing numeric argument for write_timeout",
        "seconds after which a connection is closed whose peer\ntakes none of its replies; 0 for never",
        |draft, value| {
            let Some(seconds) = strict_u32(value) else { return fail("could not parse argument to write_timeout") };
            draft.settings.write_timeout = seconds;
            Ok(())
        },
    )
    .default(|settings| settings.write_timeout.to_string()),
    Sub::value(
        "auth_timeout",
        "Missing numeric argument for auth_timeout",
        "with -S or -Y: seconds after which a client that has not\nlogged in is closed, up to 1000; 0 for never",
        |draft, value| {
            let Some(seconds) = strict_u32(value).filter(|seconds| *seconds <= AUTH_SECONDS_MAX) else {
                return fail("auth_timeout must be between 0 and 1000 seconds");
            };
            draft.settings.auth_timeout = seconds;
            Ok(())
        },
    )
    .default(|settings| settings.auth_timeout.to_string()),
    Sub::value(
        "watcher_logbuf_size",
        "Missing watcher_logbuf_size argument",
        "kilobytes buffered for each watcher",
        |draft, value| {
            draft.settings.logger_watcher_buf_size = bytes(value, 1024, "watcher_logbuf_size")?;
            Ok(())
        },
    )
    .default(|settings| (settings.logger_watcher_buf_size / 1024).to_string()),
    Sub::value(
        "worker_logbuf_size",
        "Missing worker_logbuf_size argument",
        "kilobytes in which each worker keeps events for watchers",
        |draft, value| {
            draft.settings.logger_buf_size = bytes(value, 1024, "worker_logbuf_size")?;
            Ok(())
        },
    )
    .default(|settings| (settings.logger_buf_size / 1024).to_string()),
    Sub::value(
        "read_buf_mem_limit",
        "Missing read_buf_mem_limit argument",
        "megabytes for the buffers of all connections; 0 for no\nlimit",
        |draft, value| {
            draft.settings.read_buf_mem_limit = bytes(value, 1024 * 1024, "read_buf_mem_limit")?;
            Ok(())
        },
    )
    .default(|settings| (settings.read_buf_mem_limit / (1024 * 1024)).to_string()),
    Sub::new(
        "resp_obj_mem_limit",
        Need::Nothing,
        "",
        Act::Apply(Apply::Switch(|settings| {
            let line = "DEPRECATED: resp_obj_mem_limit no longer used. See read_buf_mem_limit,\n";
            settings.warnings.push(line.to_owned());
        })),
    ),
    Sub::switch("track_sizes", "count item sizes for \"stats sizes\"", |settings| settings.track_sizes = true),
    Sub::value(
        "sock_cookie_id",
        "Missing sock_cookie_id argument",
        "mark put on listening sockets, for packet filters",
        |draft, value| {
            // Text that is not a number means no mark.
            draft.settings.sock_cookie_id = strict_u32(value).unwrap_or(0);
            Ok(())
        },
    ),
    Sub::switch("modern", "changes nothing; its settings are the defaults", |_| {}),
    Sub::new(
        "no_modern",
        Need::Nothing,
        "the defaults of the 1.4 series",
        Act::Apply(Apply::Value(|draft, _| {
            set_no_modern(draft);
            Ok(())
        })),
    ),
    Sub::switch("inline_ascii_resp", "", |_| {}),
    Sub::switch("no_inline_ascii_resp", "", |_| {}),
    // Without the feature the server always runs this way.
    Sub::switch("no_drop_privileges", "", |_| {}),
    Sub::not_yet("drop_privileges", "system calls are not restricted after start"),
    #[cfg(feature = "debug-commands")]
    Sub::switch("relaxed_privileges", "", |settings| settings.relaxed_privileges = true),
    Sub::not_yet("ext_path", FLASH),
    Sub::not_yet("ext_page_size", FLASH),
    Sub::not_yet("ext_wbuf_size", FLASH),
    Sub::not_yet("ext_threads", FLASH),
    Sub::not_yet("ext_io_depth", FLASH),
    Sub::not_yet("ext_item_size", FLASH),
    Sub::not_yet("ext_item_age", FLASH),
    Sub::not_yet("ext_low_ttl", FLASH),
    Sub::not_yet("ext_recache_rate", FLASH),
    Sub::not_yet("ext_compact_under", FLASH),
    Sub::not_yet("ext_drop_under", FLASH),
    Sub::not_yet("ext_max_sleep", FLASH),
    Sub::not_yet("ext_max_frag", FLASH),
    Sub::not_yet("ext_drop_unread", FLASH),
    Sub::not_yet("proxy_config", PROXY),
    Sub::not_yet("proxy_arg", PROXY),
    Sub::not_yet("proxy_uring", PROXY),
    Sub::not_yet("proxy_memprofile", PROXY),
];

fn set_hashpower(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    let power = atoi(value);
    if power < 12 {
        return fail(&format!("Initial hashtable multiplier of {power} is too low"));
    }
    if power > 32 {
        return fail(&format!(
            "Initial hashtable multiplier of {power} is too high\n\
             Choose a value based on \"STAT hash_power_level\" from a running instance"
        ));
    }
    draft.settings.hashpower_init = power;
    Ok(())
}

fn set_slab_chunk_max(draft: &mut Draft, value: &[u8]) -> Result<(), Exit> {
    let Some(kilobytes) = strict_i32(value) else { return fail("could not parse argument to slab_chunk_max") };
    if kilobytes <= 0 {
        return fail("slab_chunk_max must be >= 0");
    }
    if kilobytes > 1024 {
        return fail("slab_chunk_max must be specified in kilobytes.");
    }
    draft.settings.slab_chunk_size_max = kilobytes * 1024;
    draft.slab_chunk_specified = true;
    Ok(())
}

/// Set together: only the thread moves items between segmented lists.
fn set_lru_maintainer(settings: &mut Settings, on: bool) {
    settings.lru_maintainer_thread = on;
    settings.lru_segmented = on;
}

fn set_no_modern(draft: &mut Draft) {
    let settings = &mut draft.settings;
    if !draft.slab_chunk_specified {
        settings.slab_chunk_size_max = SLAB_PAGE_SIZE;
    }
    settings.slab_reassign = false;
    settings.slab_automove = 0;
    settings.maxconns_fast = false;
    settings.hash_algorithm = HashAlgorithm::Jenkins;
    settings.lru_crawler = false;
    set_lru_maintainer(settings, false);
}
