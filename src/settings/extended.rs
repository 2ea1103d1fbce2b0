//! The `-o` names without a topic of their own: a row for each.
//!
//! Owns their names, value rules, help texts, effects, and the error texts for values out of range. Must not know how
//! arguments are walked (`parse`). Read through `options`.

use super::number::{begins_with_digits, integer, strict_i32, strict_u32};
use super::options::{above, fail, no_number, within};
use super::parse::{Draft, Exit};
use super::row::{Act, Apply, Need, Sub};
use super::{HASHPOWER_DEFAULT, HashAlgorithm, SLAB_PAGE_SIZE, Settings};
use crate::limits::AUTH_SECONDS_MAX;

/// A whole number of `unit` bytes; the product must fit into 32 bits.
fn bytes(value: &[u8], unit: u32, name: &str) -> Result<u32, Exit> {
    match strict_u32(value).and_then(|number| number.checked_mul(unit)) {
        Some(bytes) => Ok(bytes),
        None => fail(&format!("could not parse argument to {name}")),
    }
}
const FLASH: &str = "external storage is not built";
const PROXY: &str = "the proxy is not built";

/// The `-o` names, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[
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
    ).takes("<num>")
    .default(|settings| settings.maxconns_per_ip.to_string()),
    Sub::value(
        "hashpower",
        "Missing numeric argument for hashpower",
        "the hash table starts with 2 to this power buckets,\n12 to 32, and grows",
        set_hashpower,
    ).takes("<power>")
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
    }).one_of(&["jenkins", "murmur3", "xxh3"])
    .default(|settings| settings.hash_algorithm.text().to_owned()),
    Sub::value(
        "tail_repair_time",
        "Missing numeric argument for tail_repair_time",
        "seconds, 10 or more; shown in the settings, but nothing\ncan be stuck at the end of a list here",
        |draft, value| {
            const COMPLAINT: &str = "Cannot set tail_repair_time to less than 10 seconds";
            draft.settings.tail_repair_time = within(value, 10..=i32::MAX.unsigned_abs(), COMPLAINT)?.cast_signed();
            Ok(())
        },
    ).takes("<seconds>"),
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
    ).one_of(&["0", "1", "2"])
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
    ).takes("<ratio>")
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
    ).takes("<samples>")
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
    ).takes("<sizes>"),
    Sub::value(
        "slab_chunk_max",
        "Missing slab_chunk_max argument",
        "largest chunk in kilobytes; larger items are made of\nseveral. Use with care",
        set_slab_chunk_max,
    ).takes("<kilobytes>")
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
    ).takes("<microseconds>")
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
    ).takes("<num>")
    .default(|settings| settings.lru_crawler_tocrawl.to_string()),
    Sub::switch("lru_maintainer", "", |settings| set_lru_maintainer(settings, true)),
    Sub::switch("no_lru_maintainer", "one list a slab class and no thread to tend it", |settings| {
        set_lru_maintainer(settings, false);
    }),
    Sub::value("hot_lru_pct", "Missing hot_lru_pct argument", "percent of memory for new items", |draft, value| {
        draft.settings.hot_lru_pct = Some(within(value, 1..=79, "hot_lru_pct must be > 1 and < 80")?);
        Ok(())
    }).takes("<percent>")
    .default(|settings| settings.hot_lru_pct.unwrap_or(super::HOT_LRU_PCT).to_string()),
    Sub::value(
        "warm_lru_pct",
        "Missing warm_lru_pct argument",
        "percent of memory for items read more than once",
        |draft, value| {
            draft.settings.warm_lru_pct = within(value, 1..=79, "warm_lru_pct must be > 1 and < 80")?;
            Ok(())
        },
    ).takes("<percent>")
    .default(|settings| settings.warm_lru_pct.to_string()),
    Sub::value(
        "hot_max_factor",
        "Missing hot_max_factor argument",
        "an item idle for longer than this times the age of the\ncold list leaves the hot one",
        |draft, value| {
            draft.settings.max_factors.hot = above(value, 0.0, "hot_max_factor must be > 0")?;
            Ok(())
        },
    ).takes("<factor>")
    .default(|settings| format!("{:.2}", settings.max_factors.hot)),
    Sub::value("warm_max_factor", "Missing warm_max_factor argument", "the same for the warm list", |draft, value| {
        draft.settings.max_factors.warm = above(value, 0.0, "warm_max_factor must be > 0")?;
        Ok(())
    }).takes("<factor>")
    .default(|settings| format!("{:.2}", settings.max_factors.warm)),
    Sub::value(
        "temporary_ttl",
        "Missing temporary_ttl argument",
        "items that live this many seconds or less get a list of\ntheir own, from which nothing is evicted; off unless given",
        |draft, value| {
            draft.settings.temp_lru = true;
            draft.settings.temporary_ttl = within(value, 0..=u32::MAX, "could not parse argument to temporary_ttl")?;
            Ok(())
        },
    )
    .takes("<seconds>"),
    Sub::switch(
        "classic_second",
        "a time to live of N seconds ends up to a second early,\nas in memcached, instead of up to a second late",
        |settings| settings.classic_second = true,
    ),
    Sub::value(
        "idle_timeout",
        "Missing numeric argument for idle_timeout",
        "seconds after which a silent connection is closed; 0 for\nnever",
        |draft, value| {
            draft.settings.idle_timeout = within(value, 0..=u32::MAX, "could not parse argument to idle_timeout")?;
            Ok(())
        },
    ).takes("<seconds>")
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
    ).takes("<seconds>")
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
    ).takes("<seconds>")
    .default(|settings| settings.auth_timeout.to_string()),
    Sub::value(
        "watcher_logbuf_size",
        "Missing watcher_logbuf_size argument",
        "kilobytes buffered for each watcher",
        |draft, value| {
            draft.settings.log_buffers.watcher = bytes(value, 1024, "watcher_logbuf_size")?;
            Ok(())
        },
    ).takes("<kilobytes>")
    .default(|settings| (settings.log_buffers.watcher / 1024).to_string()),
    Sub::value(
        "worker_logbuf_size",
        "Missing worker_logbuf_size argument",
        "kilobytes in which each worker keeps events for watchers",
        |draft, value| {
            draft.settings.log_buffers.worker = bytes(value, 1024, "worker_logbuf_size")?;
            Ok(())
        },
    ).takes("<kilobytes>")
    .default(|settings| (settings.log_buffers.worker / 1024).to_string()),
    Sub::value(
        "read_buf_mem_limit",
        "Missing read_buf_mem_limit argument",
        "megabytes for the buffers of all connections; 0 for no\nlimit",
        |draft, value| {
            draft.settings.read_buf_mem_limit = bytes(value, 1024 * 1024, "read_buf_mem_limit")?;
            Ok(())
        },
    ).takes("<megabytes>")
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
            let Some(mark) = strict_u32(value) else { return fail("could not parse argument to sock_cookie_id") };
            draft.settings.sock_cookie_id = mark;
            Ok(())
        },
    ).takes("<mark>"),
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
    if integer(value).is_none() && begins_with_digits(value) {
        return Err(no_number(value, "Initial hashtable multiplier must be between 12 and 32"));
    }
    let power = integer(value).unwrap_or(0);
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
