//! The command line, in process: arguments in, settings or the exact error out.
//!
//! Owns the contract texts and exit codes of bad command lines, what `-h` may and may not mention, and the rows of
//! `stats settings`. The argument scanner's own errors go to standard error and are not seen here.

use std::ffi::OsString;

use oxcached::metric::{Metric, MetricSink};
use oxcached::settings::{
    Action, Exit, HashAlgorithm, ProtocolChoice, Runtime, Settings, VERSION, check_start, check_user, parse,
    unsupported,
};
use oxcached::sys::user::Account;

fn read(words: &[&str]) -> Result<Action, Exit> {
    parse(std::iter::once("oxcached").chain(words.iter().copied()).map(OsString::from))
}

fn settings(words: &[&str]) -> Settings {
    match read(words) {
        Ok(Action::Run(settings)) => *settings,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn printed(words: &[&str]) -> String {
    match read(words) {
        Ok(Action::Print { text, .. }) => text,
        other => panic!("{words:?}: {other:?}"),
    }
}

/// Command lines, separated by blanks, with the error that `parse` returns.
fn refused(cases: &[(&str, i32, &str)]) {
    for &(line, code, stderr) in cases {
        let words: Vec<&str> = line.split(' ').collect();
        match read(&words) {
            Err(exit) => assert_eq!((exit.code, exit.stderr.as_str()), (code, stderr), "{line}"),
            Ok(action) => panic!("{line}: {action:?}"),
        }
    }
}

#[test]
fn flags_out_of_range() {
    refused(&[
        ("-Q", 1, "Illegal argument \"?\"\n"),
        ("--nope", 1, "Illegal argument \"?\"\n"),
        ("-p", 1, "Illegal argument \"?\"\n"),
        ("--enable-s", 1, "Illegal argument \"?\"\n"),
        ("-c 0", 1, "Maximum connections must be greater than 0\n"),
        ("--conn-lim=x", 1, "Maximum connections must be greater than 0\n"),
        ("-f 1", 1, "Factor must be greater than 1\n"),
        ("-f nan", 1, "Factor must be greater than 1\n"),
        ("-n -1", 1, "Chunk size must be greater than 0\n"),
        ("-t x", 1, "Number of threads must be greater than 0\n"),
        ("-R 0", 1, "Number of requests per event must be greater than 0\n"),
        ("-B foo", 64, "Invalid value for binding protocol: foo\n -- should be one of auto, binary, or ascii\n"),
        ("-p 65536", 64, "ERROR: Invalid port number 65536.\n"),
        ("-U 70000", 64, "ERROR: Invalid port number 70000.\n"),
    ]);
    assert_eq!(read(&["-D", " "]), Err(Exit { code: 1, stderr: "No delimiter specified\n".to_owned() }));
}

#[test]
fn inconsistent_sizes() {
    let low = "Item max size cannot be less than 1024 bytes.\n";
    refused(&[
        ("-I 1023", 64, low),
        ("-I -4095m", 64, low),
        ("-m 9000 -I 2048m", 64, "Cannot set item size limit higher than a gigabyte.\n"),
        ("-m 9000 -I 4097m", 64, "Cannot set item size limit higher than a gigabyte.\n"),
        ("-m 9000 -I 4194305k", 64, "Cannot set item size limit higher than a gigabyte.\n"),
        ("-m 9000 -I 4295491584", 64, "Cannot set item size limit higher than a gigabyte.\n"),
        ("-m 0", 64, "Cannot set item size limit higher than 1/2 of memory max.\n"),
        ("-m 3 -I 2m", 64, "Cannot set item size limit higher than 1/2 of memory max.\n"),
        ("-m 9000 -I 1025m", 64, "Cannot set item size limit higher than a gigabyte.\n"),
        ("-I 4k", 64, "slab_chunk_max (bytes: 524288) cannot be larger than -I (item_size_max 4096)\n"),
        ("-I 600k", 64, "-I (item_size_max: 614400) must be evenly divisible by slab_chunk_max (bytes: 524288)\n"),
        (
            "-I 1536k -o slab_chunk_max=768",
            64,
            "slab_chunk_max (bytes: 786432) must divide evenly into 1048576 (slab_page_size)\n",
        ),
        ("-o slab_sizes=10", 64, "slab size 10 is out of valid range\n"),
        ("-o slab_sizes=100-x", 64, "slab size 0 is out of valid range\n"),
        ("-o slab_sizes=100-90", 64, "slab size 90 cannot be lower than or equal to a previous class size\n"),
        ("-o slab_sizes=100-108", 64, "slab size 108 must be at least 8 bytes larger than previous class\n"),
        ("-o hot_lru_pct=50,warm_lru_pct=31", 64, "hot_lru_pct + warm_lru_pct cannot be more than 80% combined\n"),
        ("-o temporary_ttl=9,no_modern", 64, "temporary_ttl requires lru_maintainer to be enabled\n"),
    ]);
    let many: Vec<String> = (10..80).map(|tens| (tens * 10).to_string()).collect();
    let exit = read(&["-o", &format!("slab_sizes={}", many.join("-"))]).unwrap_err();
    assert_eq!((exit.code, exit.stderr.as_str()), (64, "too many slab classes specified\n"));
}

#[test]
fn suboptions_without_value() {
    let missing = [
        ("hashpower", "Missing numeric argument for hashpower"),
        ("hash_algorithm", "Missing hash_algorithm argument"),
        ("tail_repair_time", "Missing numeric argument for tail_repair_time"),
        ("slab_automove_ratio", "Missing slab_automove_ratio argument"),
        ("slab_automove_window", "Missing slab_automove_window argument"),
        ("slab_chunk_max", "Missing slab_chunk_max argument"),
        ("lru_crawler_sleep", "Missing lru_crawler_sleep value"),
        ("lru_crawler_tocrawl", "Missing lru_crawler_tocrawl value"),
        ("hot_lru_pct", "Missing hot_lru_pct argument"),
        ("warm_lru_pct", "Missing warm_lru_pct argument"),
        ("hot_max_factor", "Missing hot_max_factor argument"),
        ("warm_max_factor", "Missing warm_max_factor argument"),
        ("temporary_ttl", "Missing temporary_ttl argument"),
        ("idle_timeout", "Missing numeric argument for idle_timeout"),
        ("watcher_logbuf_size", "Missing watcher_logbuf_size argument"),
        ("worker_logbuf_size", "Missing worker_logbuf_size argument"),
        ("read_buf_mem_limit", "Missing read_buf_mem_limit argument"),
        // memcached crashes on these two.
        ("slab_sizes", "Missing slab_sizes argument"),
        ("sock_cookie_id", "Missing sock_cookie_id argument"),
    ];
    for (name, complaint) in missing {
        let exit = read(&["-o", name]).unwrap_err();
        assert_eq!((exit.code, exit.stderr), (1, format!("{complaint}\n")), "{name}");
    }
}

#[test]
fn suboptions_out_of_range() {
    refused(&[
        ("-o x", 1, "Illegal suboption \"x\"\n"),
        ("-o modern,x=1,y", 1, "Illegal suboption \"x=1\"\n"),
        ("-o ,", 1, "Illegal suboption \"\"\n"),
        ("-o =5", 1, "Illegal suboption \"=5\"\n"),
        ("-o hash_algorithm=md5", 1, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)\n"),
        ("-o hashpower=", 1, "Initial hashtable multiplier of 0 is too low\n"),
        ("-o hashpower=11", 1, "Initial hashtable multiplier of 11 is too low\n"),
        (
            "-o hashpower=33",
            1,
            "Initial hashtable multiplier of 33 is too high\n\
             Choose a value based on \"STAT hash_power_level\" from a running instance\n",
        ),
        ("-o slab_automove=3", 1, "slab_automove must be between 0 and 2\n"),
        ("-o slab_automove_ratio=0", 1, "slab_automove_ratio must be > 0 and < 1\n"),
        ("-o slab_automove_ratio=1.1", 1, "slab_automove_ratio must be > 0 and < 1\n"),
        ("-o slab_automove_window=2", 1, "slab_automove_window must be > 2 and < 1800\n"),
        ("-o tail_repair_time=9", 1, "Cannot set tail_repair_time to less than 10 seconds\n"),
        ("-o lru_crawler_sleep=1000001", 1, "LRU crawler sleep must be between 0 and 1 second\n"),
        ("-o lru_crawler_tocrawl=-1", 1, "lru_crawler_tocrawl takes a numeric 32bit value\n"),
        ("-o hot_lru_pct=80", 1, "hot_lru_pct must be > 1 and < 80\n"),
        ("-o warm_lru_pct=0", 1, "warm_lru_pct must be > 1 and < 80\n"),
        ("-o hot_max_factor=0", 1, "hot_max_factor must be > 0\n"),
        ("-o warm_max_factor=x", 1, "warm_max_factor must be > 0\n"),
        ("-o watcher_logbuf_size=x", 1, "could not parse argument to watcher_logbuf_size\n"),
        ("-o worker_logbuf_size=1x", 1, "could not parse argument to worker_logbuf_size\n"),
        ("-o read_buf_mem_limit=-1", 1, "could not parse argument to read_buf_mem_limit\n"),
        ("-o slab_chunk_max=x", 1, "could not parse argument to slab_chunk_max\n"),
        ("-o slab_chunk_max=0", 1, "slab_chunk_max must be >= 0\n"),
        ("-o slab_chunk_max=1025", 1, "slab_chunk_max must be specified in kilobytes.\n"),
    ]);
}

/// No number wraps, and no text is accepted as a number: one row for each option and failure.
#[test]
fn numbers_out_of_range_and_texts_that_are_no_numbers() {
    let unparsed = |name: &str| format!("could not parse argument to {name}\n");
    let beyond = "4294967297"; // 1, if cut to 32 bits
    let sizes = "slab size 0 is out of valid range\n".to_owned();
    let high = "Initial hashtable multiplier of 2147483647 is too high\n\
                Choose a value based on \"STAT hash_power_level\" from a running instance\n";
    let cases = [
        ("-p ", "x,12x,65536,4294978507,-2,-65530", 64, "ERROR: Invalid port number "),
        ("-U ", "x,12x,65536,4294978507,-2", 64, "ERROR: Invalid port number "),
        ("-p 5 -U ", "x,65536,-70000", 64, "ERROR: Invalid port number "),
        ("-a ", "x,999,-1,78,1000,2770,0x1ff", 1, "unix-mask must be an octal file mode, up to 777\n"),
        ("-m ", "-1,-4294967295,-1m", 1, "Memory limit must not be negative\n"),
        ("-m ", "x,1g,1.5g,m,64kb,64x", 1, "Memory limit must be a number of megabytes\n"),
        ("-m ", "0", 64, "Cannot set item size limit higher than 1/2 of memory max.\n"),
        ("-I ", "1g,k,5mx,1.5m,1mb,0x400", 64, "Item max size must be a number, with k or m behind it or nothing.\n"),
        ("-c ", "x,-1,-4294967295", 1, "Maximum connections must be greater than 0\n"),
        ("-n ", "x,-1,-4294967295", 1, "Chunk size must be greater than 0\n"),
        ("-R ", "x,-1,-4294967295", 1, "Number of requests per event must be greater than 0\n"),
        ("-t ", "x,-1,-4294967295", 1, "Number of threads must be greater than 0\n"),
        ("-t ", "4097,4294967297", 1, "Number of threads must be at most 4096\n"),
        ("-b ", "x,12x", 1, "Listen backlog must be a number\n"),
        ("-o hashpower=", "4294967308", 1, high),
        ("-o tail_repair_time=", "x,-4294967280", 1, "Cannot set tail_repair_time to less than 10 seconds\n"),
        ("-o slab_automove=", "x,-1,4294967297", 1, "slab_automove must be between 0 and 2\n"),
        ("-o slab_automove_window=", "x,-1,4294967301", 1, "slab_automove_window must be > 2 and < 1800\n"),
        ("-o slab_sizes=", "4294967496,x", 64, &sizes),
        ("-o slab_chunk_max=", "4294967297,9223372036854775808", 1, &unparsed("slab_chunk_max")),
        ("-o lru_crawler_sleep=", "x,-1,4294967297", 1, "LRU crawler sleep must be between 0 and 1 second\n"),
        ("-o lru_crawler_tocrawl=", "4294967297", 1, "lru_crawler_tocrawl takes a numeric 32bit value\n"),
        ("-o hot_lru_pct=", "x,-1,4294967297", 1, "hot_lru_pct must be > 1 and < 80\n"),
        ("-o warm_lru_pct=", "x,-1,4294967297", 1, "warm_lru_pct must be > 1 and < 80\n"),
        ("-o sock_cookie_id=", "x,-5,4294967297", 1, &unparsed("sock_cookie_id")),
        ("-o temporary_ttl=", "x,-5", 1, &unparsed("temporary_ttl")),
        ("-o idle_timeout=", "x,-5", 1, &unparsed("idle_timeout")),
        ("-o write_timeout=", "x,-5,4294967297", 1, &unparsed("write_timeout")),
        ("-o maxconns_per_ip=", "x,-5,4294967297", 1, &unparsed("maxconns_per_ip")),
        ("-o auth_timeout=", "x,-5,4294967297", 1, "auth_timeout must be between 0 and 1000 seconds\n"),
        ("-o watcher_logbuf_size=", "-18446744073709551615,4194304", 1, &unparsed("watcher_logbuf_size")),
        ("-o worker_logbuf_size=", "4194304,4294967297", 1, &unparsed("worker_logbuf_size")),
        ("-o read_buf_mem_limit=", "4096,4294967297", 1, &unparsed("read_buf_mem_limit")),
        ("-o ssl_wbuf_size=", "4194304,4294967297", 1, &unparsed("ssl_wbuf_size")),
        ("-o ssl_verify_mode=", "4294967297", 1, &unparsed("ssl_verify_mode")),
        ("-o ssl_min_version=", "4294967297", 1, &unparsed("ssl_min_version")),
        ("-o ssl_keyformat=", "4294967297", 1, &unparsed("ssl_keyformat")),
    ];
    for (option, values, code, complaint) in cases {
        for value in values.split(',') {
            let line = format!("{option}{value}");
            match read(&line.split(' ').collect::<Vec<_>>()) {
                Err(exit) => assert!(
                    exit.code == code && exit.stderr.ends_with(complaint) || exit.stderr.starts_with(complaint),
                    "{line}: {exit:?}"
                ),
                Ok(_) => panic!("{line} is taken"),
            }
        }
    }
    // The maximum of these options means the given number.
    let got = settings(&["-c", beyond, "-n", beyond, "-R", beyond, "-b", beyond, "-o", "idle_timeout=4294967297"]);
    let most = i32::MAX.cast_unsigned();
    assert_eq!((got.maxconns, got.chunk_size, got.reqs_per_event), (most, i32::MAX, most));
    assert_eq!((got.backlog, got.idle_timeout), (i32::MAX, most));
    for limit in ["100", "100m", "100M", "100MB", "100mb", " 100 "] {
        assert_eq!(settings(&["-m", limit]).maxbytes, 100 << 20, "{limit}");
    }
    assert_eq!(settings(&["-m", beyond]).maxbytes, u64::from(most) << 20, "more than can be reserved, which is told");
    assert_eq!((settings(&["-b", "-1"]).backlog, settings(&["-p", "-1"]).port), (-1, -1));
}

/// Texts of which memcached reads the digits in front, and is silent about the rest.
#[test]
fn nothing_follows_a_number() {
    let ratio = "slab_automove_ratio must be > 0 and < 1";
    for (option, value, complaint) in [
        ("-c ", "1k", "Maximum connections must be greater than 0"),
        ("-n ", "48x", "Chunk size must be greater than 0"),
        ("-t ", "4,8", "Number of threads must be greater than 0"),
        ("-R ", "20x", "Number of requests per event must be greater than 0"),
        ("-f ", "1.5x", "Factor must be greater than 1"),
        ("-o hashpower=", "20x", "Initial hashtable multiplier must be between 12 and 32"),
        ("-o tail_repair_time=", "60s", "Cannot set tail_repair_time to less than 10 seconds"),
        ("-o slab_automove=", "1x", "slab_automove must be between 0 and 2"),
        ("-o slab_automove_ratio=", "0.5x", ratio),
        ("-o slab_automove_window=", "10x", "slab_automove_window must be > 2 and < 1800"),
        ("-o lru_crawler_sleep=", "1ms", "LRU crawler sleep must be between 0 and 1 second"),
        ("-o hot_lru_pct=", "20%", "hot_lru_pct must be > 1 and < 80"),
        ("-o warm_lru_pct=", "20%", "warm_lru_pct must be > 1 and < 80"),
        ("-o hot_max_factor=", "0.2x", "hot_max_factor must be > 0"),
        ("-o warm_max_factor=", "2x", "warm_max_factor must be > 0"),
        ("-o temporary_ttl=", "5m", "could not parse argument to temporary_ttl"),
        ("-o idle_timeout=", "5m", "could not parse argument to idle_timeout"),
    ] {
        refused(&[(&format!("{option}{value}"), 1, &format!("{complaint}: \"{value}\" is no number\n"))]);
    }
    assert_eq!(read(&["-o", "lru_crawler_tocrawl=5 x"]).unwrap_err().code, 1);
}

/// memcached ignores a value behind such a name, so there `lru_crawler=0` starts the crawler.
#[test]
fn names_without_a_value_take_none_that_denies_them() {
    refused(&[
        ("-o lru_crawler=0", 1, "lru_crawler takes no value, and not \"0\"\n"),
        ("-o modern,track_sizes=no", 1, "track_sizes takes no value, and not \"no\"\n"),
        ("-o no_modern=off", 1, "no_modern takes no value, and not \"off\"\n"),
        ("-o admin_write=false", 1, "admin_write takes no value, and not \"false\"\n"),
    ]);
    for value in ["", "1", "on", "yes", "true"] {
        assert!(settings(&["-o", &format!("track_sizes={value}")]).track_sizes, "{value}");
    }
}

#[test]
fn tls_options() {
    refused(&[
        ("-Z -p 0", 64, "ERROR: You cannot enable SSL without a TCP port.\n"),
        ("-Z -p 0 -U 5", 64, "ERROR: You cannot enable SSL without a TCP port.\n"),
        ("-o ssl_chain_cert", 1, "Missing ssl_chain_cert argument\n"),
        ("-o ssl_key", 1, "Missing ssl_key argument\n"),
        ("-o ssl_ca_cert", 1, "Missing ssl_ca_cert argument\n"),
        ("-o ssl_ciphers", 1, "Missing ssl_ciphers argument\n"),
        ("-o ssl_keyformat", 1, "Missing ssl_keyformat argument\n"),
        ("-o ssl_keyformat=x", 1, "could not parse argument to ssl_keyformat\n"),
        ("-o ssl_wbuf_size", 1, "Missing ssl_wbuf_size argument\n"),
        ("-o ssl_wbuf_size=x", 1, "could not parse argument to ssl_wbuf_size\n"),
        ("-o ssl_verify_mode", 1, "Missing ssl_verify_mode argument\n"),
        ("-o ssl_verify_mode=x", 1, "could not parse argument to ssl_verify_mode\n"),
        ("-o ssl_verify_mode=4", 1, "Invalid ssl_verify_mode. Use help to see valid options.\n"),
        ("-o ssl_min_version", 1, "Missing ssl_min_version argument\n"),
        ("-o ssl_min_version=x", 1, "could not parse argument to ssl_min_version\n"),
        ("-o ssl_min_version=4", 1, "Invalid ssl_min_version. Use help to see valid options.\n"),
    ]);
    assert!(settings(&["-Z", "-U", "5"]).ssl.enabled, "the port comes from -U");
    assert!(settings(&["-Z", "-s", "/s"]).ssl.enabled, "a unix socket does not mind");
    assert!(!settings(&["-o", "ssl_session_cache,ssl_min_version=0"]).ssl.enabled);
}

#[test]
fn missing_features_are_named() {
    refused(&[
        ("-o ext_path=/f:1G", 1, "not supported yet: -o ext_path\n"),
        ("-o ssl_kernel_tls", 1, "not supported yet: -o ssl_kernel_tls\n"),
    ]);
    let names: Vec<String> = unsupported().map(|(name, _)| name).collect();
    assert!(names.contains(&"-o proxy_config".to_owned()));
    let help = printed(&["-h"]);
    for name in names {
        let word = name.rsplit([' ', '-']).next().unwrap();
        assert!(!help.contains(&format!("- {word}:")) && !help.contains(&name), "{name} is in the help");
    }
}

#[test]
fn warnings_come_first_and_stop_nothing() {
    const MANY: &str = "WARNING: Setting a high number of workerthreads is not recommended.\n \
                        Set this value to the number of cores in your machine or less.\n";
    const OLD: &str = "DEPRECATED: resp_obj_mem_limit no longer used. See read_buf_mem_limit,\n";
    assert_eq!(settings(&["-t", "65", "-o", "resp_obj_mem_limit"]).warnings, vec![MANY, OLD]);
    assert!(matches!(read(&["-t65", "-V"]), Ok(Action::Print { warnings, .. }) if warnings == [MANY]));
    assert_eq!(read(&["-t65", "-f1"]).unwrap_err().stderr, format!("{MANY}Factor must be greater than 1\n"));
    assert_eq!(read(&["-t65", "-m0"]).unwrap_err().stderr.lines().count(), 3);
}

#[test]
fn help_version_and_licence() {
    assert_eq!(printed(&["-V"]), format!("memcached {VERSION}\n"));
    assert_eq!(printed(&["-vvV", "-Q"]), format!("memcached {VERSION}\n"));
    assert!(printed(&["--lic"]).starts_with(&format!("memcached {VERSION}\n\noxcached: BSD-3-Clause\n")));
    let help = printed(&["-p", "21899", "-m100", "--conn-lim=50", "-o", "idle_timeout=7", "-h"]);
    assert!(help.starts_with(&format!("memcached {VERSION}\n-p, --port=<num>          ")));
    for default in ["21899", "100", "50", "7", "murmur3", "700", "1.25"] {
        assert!(help.contains(&format!("(default: {default})")), "{default}");
    }
    // Test suites and scripts detect features by these words.
    let lower = help.to_lowercase();
    assert!(lower.contains("unix-socket") && lower.contains("enable-ssl") && lower.contains("enable-sasl"));
    for word in ["ext_path", "proxy_config", "1.1."] {
        assert!(!lower.contains(word), "{word}");
    }
}

#[test]
fn defaults_hold_without_options() {
    assert_eq!(settings(&[]), Settings::default());
    assert_eq!(settings(&["left", "over"]), Settings::default());
    assert_eq!(settings(&["--", "-Q"]), Settings::default());
}

#[test]
fn values_in_every_spelling() {
    let got = settings(&["-vv", "-p", " 12 ", "--conn-lim=50", "-a", "770", "-D", "/x", "--verbose=9", "-m7"]);
    assert_eq!((got.verbose, got.port, got.maxconns, got.access), (3, 12, 50, 0o770));
    assert_eq!((got.prefix_delimiter, got.detail_enabled), (b'/', true));
    assert_eq!(got.maxbytes, 7 << 20);
    assert_eq!(settings(&["-U", "99"]).port, 99);
    assert_eq!(settings(&["-U", "99", "-p", "98"]).port, 98);
    assert_eq!((settings(&["-U", "0"]).port, settings(&["-U65535", "-p1"]).udpport), (11211, 65535));
    assert_eq!(settings(&["-B", " ascii"]).listeners[0].protocol, ProtocolChoice::Ascii);
    assert_eq!(settings(&["-B", "binary"]).listeners[0].protocol, ProtocolChoice::Binary);
    let got = settings(&["-I", "2M", "-o", "no_chunked_items,slab_automove,hashpower=20,"]);
    assert_eq!((got.item_size_max, got.slab_chunk_size_max), (2 << 20, 1 << 19));
    assert_eq!((got.slab_automove, got.hashpower_init), (1, 20));
    assert_eq!(settings(&["-o", "slab_sizes=100--200"]).slab_sizes, Some(vec![100, 200]));
    assert_eq!(settings(&["-o", "sock_cookie_id=7"]).sock_cookie_id, 7);
}

#[test]
fn no_modern_and_options_after_it() {
    let got = settings(&["-o", "no_modern"]);
    assert_eq!((got.slab_chunk_size_max, got.slab_reassign, got.slab_automove), (1 << 20, false, 0));
    assert!(!got.maxconns_fast && !got.lru_segmented && !got.lru_crawler && !got.lru_maintainer_thread);
    assert_eq!(got.hash_algorithm, HashAlgorithm::Jenkins);
    let got = settings(&["-o", "slab_chunk_max=256,no_modern,hash_algorithm=xxh3,lru_maintainer"]);
    assert_eq!((got.slab_chunk_size_max, got.hash_algorithm), (256 << 10, HashAlgorithm::Xxh3));
    assert!(got.lru_segmented && got.lru_maintainer_thread);
}

#[test]
fn listeners_add_up() {
    let got = settings(&["-l", "10.0.0.1", "-l", "10.0.0.2:7", "-l", "0.0.1"]);
    assert_eq!(got.inter.as_deref(), Some("10.0.0.1,10.0.0.2:7,0.0.1"));
    assert_eq!((got.listeners.len(), got.num_threads_per_udp), (3, 1));
    let got = settings(&["-l", "a:5,b", "-l", "a", "-l", "b", "-l", "a;a:5", "-l", "", "-l", "b,c"]);
    assert_eq!(got.inter.as_deref(), Some("a:5,b,a,b,c"));
    assert_eq!(settings(&["-l", "a;b", "-t7"]).num_threads_per_udp, 7);
    assert_eq!(settings(&["-s", "/tmp/x"]).listeners, vec![]);
}

#[test]
fn bad_listeners_fail_at_start_not_before() {
    for (list, complaint) in [
        ("notls:a", "'notls' option is valid only when SSL is enabled\n"),
        ("btls:a", "'btls' option is valid only when SSL is enabled\n"),
        ("mtls:a", "'otls' option is valid only when SSL is enabled\n"),
        ("proto[bin", "Invalid protocol spec: \"[bin\"\n"),
        ("proto[text]:a", "Invalid protocol spec: \"[text]\"\n"),
        ("proto[proxy]:a", "Server not built with proxy: \"proto[proxy\"\n"),
        ("tag[x", "Invalid tag in socket config: \"[x\"\n"),
        ("tag[123456789]:x", "Listener tags must be between 1 and 8 characters: \"123456789\"\n"),
        ("[::1", "Invalid IPV6 address: \"[::1\""),
        ("unix:", "Missing path behind \"unix:\"\n"),
        ("tag[a]:unix:", "Missing path behind \"unix:\"\n"),
        ("a:x", "Invalid port number: \"x\"\n"),
        ("a,[::1]:2:3", "Invalid port number: \"2:3\"\n"),
        ("a:-2", "Invalid port number: \"-2\"\n"),
        ("a:70000", "Invalid port number: \"70000\"\n"),
    ] {
        let exit = check_start(&settings(&["-l", list])).unwrap_err();
        let general = format!("failed to listen on one of interface(s) {list}: Success\n");
        assert_eq!((exit.code, exit.stderr), (71, format!("{complaint}{general}")), "{list}");
    }
    assert_eq!(check_start(&settings(&["-p0", "-l", "notls:a"])), Ok(()));
}

#[test]
fn options_of_unix_sockets_agree() {
    let exclude = "ERROR: -s and unix: entries of -l exclude each other: give each socket as -l unix:PATH\n";
    let missing = "ERROR: unix_group needs a unix socket (-s or -l unix:PATH)\n";
    refused(&[
        ("-s a -l unix:b", 64, exclude),
        ("-l *,unix:b -s a", 64, exclude),
        ("-o unix_group=0", 64, missing),
        ("-o unix_group=0 -l unix:11211", 64, missing),
        ("-o unix_group", 1, "Missing argument for unix_group\n"),
        ("-o unix_group=no-such-group", 67, "can't find the group no-such-group of unix_group\n"),
        ("-o unix_group=4294967295", 67, "can't find the group 4294967295 of unix_group\n"),
        ("-o unix_group=", 67, "can't find the group  of unix_group\n"),
    ]);
    // As in memcached, -s leaves the other entries unread.
    assert_eq!(settings(&["-s", "a", "-l", "notls:b,unix:11211"]).listeners, vec![]);
    for (name, gid) in [("root", 0), ("0", 0), ("12345", 12345)] {
        let group = settings(&["-s", "a", "-o", &format!("unix_group={name}")]).unix_group.unwrap();
        assert_eq!((group.name.as_str(), group.gid), (name, gid));
    }
    assert_eq!(settings(&["-p", "0", "-l", "*,unix:a"]).listeners.len(), 1);
    assert_eq!(settings(&["-Y", "f", "-l", "unix:a"]).listeners[0].protocol, ProtocolChoice::Ascii);
}

#[test]
fn authentication_decides_the_protocol() {
    let ascii = "ERROR: You cannot allow the ASCII protocol while using SASL.\n";
    let binary = "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.\n";
    refused(&[
        ("-S -B ascii", 64, ascii),
        ("-S -B auto", 64, ascii),
        ("-S -B binary -B ascii", 64, ascii),
        ("-S -U 11211", 64, "ERROR: Cannot enable UDP while using binary SASL authentication.\n"),
        ("-Y f -B binary", 64, binary),
        ("-Y f -B auto", 64, binary),
        ("-S -Y f -B binary", 64, binary),
        ("-o maxconns_per_ip", 1, "Missing numeric argument for maxconns_per_ip\n"),
        ("-o maxconns_per_ip=many", 1, "could not parse argument to maxconns_per_ip\n"),
        ("-o write_timeout", 1, "Missing numeric argument for write_timeout\n"),
        ("-o cluster_file", 1, "Missing cluster_file argument\n"),
        ("-o cluster_file=", 1, "Missing cluster_file argument\n"),
        ("-o hotkeys_sample", 1, "Missing numeric argument for hotkeys_sample\n"),
        ("-o hotkeys_sample=0", 1, "hotkeys_sample must be between 1 and 1000000\n"),
        ("-o hotkeys_sample=x", 1, "hotkeys_sample must be between 1 and 1000000\n"),
        ("-o hotkeys_window", 1, "Missing numeric argument for hotkeys_window\n"),
        ("-o hotkeys,hotkeys_window=3601", 1, "hotkeys_window must be between 1 and 3600\n"),
        ("-o write_timeout=-1", 1, "could not parse argument to write_timeout\n"),
        ("-o auth_timeout", 1, "Missing numeric argument for auth_timeout\n"),
        ("-o auth_timeout=x", 1, "auth_timeout must be between 0 and 1000 seconds\n"),
        ("-o auth_timeout=-1", 1, "auth_timeout must be between 0 and 1000 seconds\n"),
        ("-o auth_timeout=1001", 1, "auth_timeout must be between 0 and 1000 seconds\n"),
    ]);
    let spoken = |words: &[&str]| {
        let got = settings(words);
        assert_eq!(got.binding_protocol, got.listeners[0].protocol);
        got.binding_protocol
    };
    assert_eq!(spoken(&["-S"]), ProtocolChoice::Binary);
    assert_eq!(spoken(&["-Y", "f"]), ProtocolChoice::Ascii);
    assert_eq!(spoken(&["-S", "-Y", "f"]), ProtocolChoice::Ascii);
    assert_eq!((settings(&["-S"]).auth_timeout, settings(&["-o", "auth_timeout=0"]).auth_timeout), (15, 0));
    let got = settings(&["-Y", "f", "-l", "proto[negotiating]:a"]);
    assert_eq!(got.listeners[0].protocol, ProtocolChoice::Ascii);
    assert_eq!(got.warnings, ["WARNING: negotiating ports are ascii only when ascii authentication enabled\n"]);
    for (words, name) in [
        (["-Y", "f", "-l", "proto[binary]:a"], "binary protocol when ascii"),
        (["-C", "-S", "-l", "proto[ascii]:a"], "ascii protocol when SASL"),
        (["-C", "-S", "-l", "proto[negotiating]:a"], "negotiating protocol when SASL"),
    ] {
        let exit = check_start(&settings(&words)).unwrap_err();
        let complaint = format!("Cannot use {name} authentication enabled\n");
        assert!(exit.code == 71 && exit.stderr.starts_with(&complaint), "{exit:?}");
    }
}

#[test]
fn hash_password_must_be_the_first_argument() {
    let asked = |words: &[&str]| read(&[&["--hash-password"], words].concat());
    let usage = Err(Exit { code: 64, stderr: "usage: oxcached --hash-password USER [ITERATIONS]\n".to_owned() });
    assert_eq!(asked(&["ann"]), Ok(Action::HashPassword { user: "ann".to_owned(), iterations: None }));
    assert_eq!(asked(&["ann", "9000"]), Ok(Action::HashPassword { user: "ann".to_owned(), iterations: Some(9000) }));
    for words in [&[][..], &["ann", "x"], &["ann", "1", "2"]] {
        assert_eq!(asked(words), usage);
    }
    refused(&[("-v --hash-password ann", 1, "Illegal argument \"?\"\n")]);
    assert!(matches!(read(&["--h"]), Ok(Action::Print { .. })), "an abbreviation is still one of --help");
}

#[test]
fn the_hash_table_must_outgrow_the_item_locks() {
    let exit = check_start(&settings(&["-o", "hashpower=12"])).unwrap_err();
    assert_eq!(
        (exit.code, exit.stderr.as_str()),
        (
            1,
            "Hash table power size (12) cannot be equal to or less than item lock table (12)\n\
             Item lock table grows with `-t N` (worker threadcount)\n\
             Hash table grows with `-o hashpower=N` \n"
        )
    );
    assert_eq!(check_start(&settings(&["-o", "hashpower=12", "-t3"])), Ok(()));
    assert_eq!(check_start(&settings(&["-t", "60"])), Ok(()));
}

#[test]
fn root_needs_a_user() {
    let refusal = |words: &[&str]| check_user(1, 0, &settings(words)).unwrap_err();
    let unsaid = Exit { code: 64, stderr: "must add '-u root' to start as root\n".to_owned() };
    assert_eq!(refusal(&[]), unsaid);
    assert_eq!(refusal(&["-u", "root", "-u", " "]), unsaid);
    assert_eq!(refusal(&["-u", "no one"]).stderr, "can't find the user no one to switch to\n");
    assert_eq!(refusal(&["-u", "no one"]).code, 67);
    assert_eq!(check_user(0, 5, &settings(&["-u", "root"])).unwrap().map(|account| account.uid), Some(0));
    assert_eq!(check_user(5, 5, &settings(&["-u", "no one"])), Ok(None));
    assert_eq!(check_user(0, 0, &settings(&["-u", "54321:7"])), Ok(Some(Account { uid: 54321, gid: 7 })));
}

#[test]
fn threads_may_follow_the_processors() {
    let processors = std::thread::available_parallelism().unwrap().get() as u32;
    assert_eq!(settings(&["-t", "auto"]).num_threads, processors);
    assert_eq!(settings(&["-t", "auto", "-t", "2"]).num_threads, 2);
    refused(&[("-t automatic", 1, "Number of threads must be greater than 0\n")]);
}

#[test]
fn receive_queues_need_threads() {
    assert_eq!(settings(&["-N", "4"]).num_napi_ids, 4);
    assert!(rows(&["--napi-ids=2"]).contains(" num_napi_ids=2 "));
    refused(&[
        ("-N 0", 1, "Maximum number of NAPI IDs must be greater than 0\n"),
        ("-N -1", 1, "Maximum number of NAPI IDs must be greater than 0\n"),
        ("-N 5", 64, "Number of napi_ids(5) cannot be greater than number of threads(4)\n"),
        ("-N 3 -t 2 -I 1", 64, "Number of napi_ids(3) cannot be greater than number of threads(2)\n"),
    ]);
}

#[test]
#[cfg(not(feature = "debug-commands"))]
fn a_release_does_not_take_the_test_suite_option() {
    refused(&[("-o relaxed_privileges", 1, "Illegal suboption \"relaxed_privileges\"\n")]);
}

#[test]
#[cfg(feature = "debug-commands")]
fn a_test_build_takes_the_test_suite_option() {
    assert!(settings(&["-o", "relaxed_privileges"]).sandbox.relaxed_privileges);
}

/// The rows as one line, `name=value` separated by blanks.
fn rows(words: &[&str]) -> String {
    let settings = settings(words);
    let mut rows = Vec::new();
    let mut visit = |metric: &Metric<'_>| rows.push(format!("{}={}", metric.name, metric.value));
    settings.report(&Runtime::new(&settings), &mut MetricSink::new(&mut visit));
    rows.join(" ")
}

#[test]
fn stats_settings_by_default() {
    assert_eq!(
        rows(&[]),
        "maxbytes=67108864 maxconns=1024 tcpport=11211 udpport=0 inter=NULL verbosity=0 oldest=0 evictions=on \
         domain_socket=NULL umask=700 shutdown_command=no growth_factor=1.25 chunk_size=48 num_threads=4 \
         num_threads_per_udp=4 stat_key_prefix=: detail_enabled=no reqs_per_event=20 cas_enabled=yes \
         tcp_backlog=1024 binding_protocol=auto-negotiate auth_enabled_sasl=no auth_enabled_ascii=no \
         item_size_max=1048576 maxconns_fast=yes hashpower_init=0 slab_reassign=yes slab_automove=1 \
         slab_automove_ratio=0.80 slab_automove_window=10 slab_chunk_max=524288 lru_crawler=yes \
         lru_crawler_sleep=100 lru_crawler_tocrawl=0 tail_repair_time=0 flush_enabled=yes dump_enabled=yes \
         hash_algorithm=murmur3 lru_maintainer_thread=yes lru_segmented=yes hot_lru_pct=20 warm_lru_pct=40 \
         hot_max_factor=0.20 warm_max_factor=2.00 temp_lru=no temporary_ttl=61 idle_timeout=0 \
         watcher_logbuf_size=262144 worker_logbuf_size=65536 read_buf_mem_limit=0 track_sizes=no \
         inline_ascii_response=no ssl_enabled=no ssl_chain_cert=(null) ssl_key=(null) ssl_verify_mode=0 \
         ssl_keyformat=1 ssl_ciphers=NULL ssl_ca_cert=NULL ssl_wbuf_size=16384 ssl_session_cache=no \
         ssl_kernel_tls=no ssl_min_version=tlsv1.2 num_napi_ids=0 memory_file=(null) client_flags_size=4"
    );
}

#[test]
fn stats_settings_follow_options_and_changes() {
    let shown =
        rows(&["-a770", "-finf", "-s/tmp/x y", "-M", "-o", "warm_max_factor=0.375,temporary_ttl=5,track_sizes"]);
    for row in [
        "umask=770",
        "growth_factor=inf",
        "domain_socket=/tmp/x y",
        "evictions=off",
        "warm_max_factor=0.38",
        "temp_lru=yes",
        "temporary_ttl=5",
        "track_sizes=yes",
    ] {
        assert!(shown.contains(&format!(" {row} ")), "{row}");
    }
    let shown = rows(&["-Y", "some/file", "-o", "auth_timeout=7"]);
    assert!(shown.contains(" binding_protocol=ascii auth_enabled_sasl=no auth_enabled_ascii=some/file "), "{shown}");
    assert!(shown.ends_with(" client_flags_size=4 auth_timeout=7"), "{shown}");
    let shown = rows(&["-o", "write_timeout=30,maxconns_per_ip=100"]);
    assert!(shown.ends_with(" client_flags_size=4 maxconns_per_ip=100 write_timeout=30"), "{shown}");
    assert!(rows(&["-S"]).contains(" binding_protocol=binary auth_enabled_sasl=yes auth_enabled_ascii=no "));
    // An exact half rounds to even, as printf does.
    assert!(rows(&["-o", "hot_max_factor=0.125"]).contains(" hot_max_factor=0.12 "));
    let settings = settings(&[]);
    let rt = Runtime::new(&settings);
    rt.set_verbose(2);
    rt.set_maxbytes(7);
    let mut shown = Vec::new();
    settings.report(&rt, &mut MetricSink::new(&mut |metric| shown.push((metric.name, metric.value.to_string()))));
    assert_eq!(shown[0], ("maxbytes", "7".to_owned()));
    assert_eq!(shown[5], ("verbosity", "2".to_owned()));
}
