//! The configuration file, in process: its lines in, settings, warnings or the exact error out.
//!
//! Owns which source of an option wins, and what `--check-config` lists. The scanner's own errors go to standard error
//! and are not seen here.

use oxcached::settings::{Action, Exit, ProtocolChoice, Settings, parse};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A configuration file.
struct Conf {
    _dir: TempDir,
    path: PathBuf,
}

impl Conf {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.conf");
        fs::write(&path, text).unwrap();
        Self { _dir: dir, path }
    }

    fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Parses `--config FILE` and more words.
    fn read(&self, words: &[&str]) -> Result<Action, Exit> {
        let words = ["oxcached", "--config", self.text()].into_iter().chain(words.iter().copied());
        parse(words.map(OsString::from)).map_err(|exit| Exit { stderr: self.hide(&exit.stderr), ..exit })
    }

    /// The text with the file's name as `F`.
    fn hide(&self, text: &str) -> String {
        text.replace(self.text(), "F")
    }

    fn settings(&self, words: &[&str]) -> Settings {
        match self.read(words) {
            Ok(Action::Run(settings)) => *settings,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    /// What `--check-config` lists.
    fn listing(&self, words: &[&str]) -> String {
        match self.read(&[words, &["--check-config"]].concat()) {
            Ok(Action::Check { options, .. }) => self.hide(&options),
            other => panic!("{words:?}: {other:?}"),
        }
    }
}

/// The file that Debian's package installs, without most of its comments.
const DEBIAN: &str = "\
# memcached default config file
# 2003 - Jay Bonci
-d
logfile /var/log/memcached.log
# -v
-m 64
-p 11211
-u memcache

# -c 1024
-l 127.0.0.1
-P /var/run/memcached/memcached.pid
";

#[test]
fn debians_file_is_read() {
    let got = Conf::new(DEBIAN).settings(&[]);
    assert_eq!((got.maxbytes, got.port, got.inter.as_deref()), (64 << 20, 11211, Some("127.0.0.1")));
    assert_eq!((got.daemonize, got.username.as_deref()), (false, Some(&b"memcache"[..])));
    assert_eq!(got.pid_file, Some("/var/run/memcached/memcached.pid".into()));
    assert_eq!(got.warnings.len(), 2);
}

#[test]
fn every_kind_of_option_works_in_the_file() {
    let conf = Conf::new(
        "-vv -k\n--memory-limit=128\n--conn-lim 50\n-o idle_timeout=7,no_lru_crawler\n--admin 11212\n\
         -s '/run/my cache/a'\n-o 'slab_sizes=100-200' -D \\#\n--\n-B ascii",
    );
    let got = conf.settings(&[]);
    assert_eq!((got.verbose, got.lock_memory, got.maxbytes, got.maxconns), (2, true, 128 << 20, 50));
    assert_eq!((got.idle_timeout, got.lru_crawler, got.admin.text.as_deref()), (7, false, Some("11212")));
    assert_eq!((got.socketpath, got.prefix_delimiter), (Some("/run/my cache/a".into()), b'#'));
    assert_eq!((got.slab_sizes, got.binding_protocol), (Some(vec![100, 200]), ProtocolChoice::Ascii));
    assert_eq!(got.warnings, [""; 0]);
}

#[test]
fn the_command_line_wins_whatever_the_order() {
    let conf = Conf::new("-m 100\n-p 5\n-o idle_timeout=7,hash_algorithm=xxh3\n-t 65\n");
    let expected = |got: Settings| {
        assert_eq!((got.maxbytes, got.port, got.idle_timeout, got.num_threads), (200 << 20, 5, 9, 2));
        assert_eq!((got.hash_algorithm.text(), got.warnings), ("xxh3", Vec::new()));
    };
    expected(conf.settings(&["-m", "200", "-o", "idle_timeout=9", "-t2"]));
    let words = ["oxcached", "-m", "200", "-o", "idle_timeout=9", "--config", conf.text(), "-t2"].map(OsString::from);
    match parse(words) {
        Ok(Action::Run(settings)) => expected(*settings),
        other => panic!("{other:?}"),
    }
    // A port in the file is one that was given: -U leaves it alone.
    assert_eq!(conf.settings(&["-U", "99"]).port, 5);
    // Later names of the same setting win, as on one command line.
    let conf = Conf::new("-o no_lru_crawler,no_modern");
    assert!(conf.settings(&["-o", "lru_crawler"]).lru_crawler);
}

#[test]
fn options_that_add_up_are_replaced_together() {
    let conf = Conf::new("-l 10.0.0.1\n-l 10.0.0.2 -vv\n-o admin_host=a,admin_host=b");
    let got = conf.settings(&[]);
    assert_eq!((got.inter.as_deref(), got.verbose, got.admin.hosts.len()), (Some("10.0.0.1,10.0.0.2"), 2, 2));
    let got = conf.settings(&["-l", "127.0.0.1", "-v", "-l", "::1", "-o", "admin_host=c"]);
    assert_eq!((got.inter.as_deref(), got.verbose), (Some("127.0.0.1,::1"), 1));
    assert_eq!(got.admin.hosts, ["c"]);
}

#[test]
fn what_does_not_count_is_named_and_the_rest_runs() {
    let got = Conf::new("-d\nlogfile /x\n-m 65 surplus\n\n-v").settings(&[]);
    let place = |line: &str| line.split_once(".conf:").unwrap().1.to_owned();
    assert_eq!(
        got.warnings.iter().map(|line| place(line)).collect::<Vec<_>>(),
        [
            "1: left out, -d and -h count on the command line only: -d\n",
            "2: left out, it begins with no dash: logfile /x\n",
            "3: left out, it is no option: surplus\n",
        ]
    );
    assert_eq!((got.maxbytes, got.verbose), (65 << 20, 1));
}

#[test]
fn errors_name_file_and_line() {
    const ALONE: &str = "count on the command line only\n";
    for (text, code, stderr) in [
        ("# a\n-m 64\n-c 0", 1, "F:3: Maximum connections must be greater than 0\n".to_owned()),
        ("-m 64\n-Q", 1, "F:2: Illegal argument \"?\"\n".to_owned()),
        ("-m", 1, "F:1: Illegal argument \"?\"\n".to_owned()),
        ("-m\n64", 1, "F:1: Illegal argument \"?\"\n".to_owned()),
        ("-o idle_timeout=5,x=1", 1, "F:1: Illegal suboption \"x=1\"\n".to_owned()),
        ("-o ext_path=/f:1G", 1, "F:1: not supported yet: -o ext_path\n".to_owned()),
        (
            "-B foo",
            64,
            "F:1: Invalid value for binding protocol: foo\n -- should be one of auto, binary, or ascii\n".to_owned(),
        ),
        ("\n-m `cat /x`", 64, "F:2: no shell runs the command of \"`\" or \"$(\"\n".to_owned()),
        ("-V", 64, "F:1: this option counts on the command line only\n".to_owned()),
        ("-v --help", 64, "F:1: this option counts on the command line only\n".to_owned()),
        ("--config /b", 64, format!("F:1: --config and --check-config {ALONE}")),
        ("--check-config", 64, format!("F:1: --config and --check-config {ALONE}")),
        ("--hash-password ann", 1, "F:1: Illegal argument \"?\"\n".to_owned()),
    ] {
        assert_eq!(Conf::new(text).read(&[]), Err(Exit { code, stderr }), "{text}");
    }
    // A value that the command line replaces is checked as well.
    assert_eq!(Conf::new("-c 0").read(&["-c", "5"]).unwrap_err().code, 1);
    // Errors between options have no single place.
    let exit = Conf::new("-m 3").read(&["-I", "2m"]).unwrap_err();
    assert_eq!(exit.stderr, "Cannot set item size limit higher than 1/2 of memory max.\n");
    // Warnings precede errors.
    let exit = Conf::new("x\n-m 64").read(&["-f1"]).unwrap_err();
    assert_eq!(exit.stderr, "WARNING: F:1: left out, it begins with no dash: x\nFactor must be greater than 1\n");
}

#[test]
fn the_option_itself() {
    let read = |words: &[&str]| parse(["oxcached"].iter().chain(words).map(OsString::from));
    let exit = read(&["--config", "/nonexistent/a.conf"]).unwrap_err();
    let missing = "cannot read the configuration file /nonexistent/a.conf: No such file or directory\n";
    assert_eq!((exit.code, exit.stderr.as_str()), (64, missing));
    assert_eq!(read(&["--config=/nonexistent/a.conf"]).unwrap_err(), exit);
    let conf = Conf::new("-m 100");
    assert_eq!(conf.read(&["--config", conf.text()]).unwrap_err().stderr, "--config can be given once\n");
    assert_eq!(read(&["--config"]).unwrap_err().stderr, "Illegal argument \"?\"\n");
    // An operand, the value of another option, and memcached's abbreviation, which holds without the whole name.
    assert!(matches!(read(&["--", "--config=/nonexistent"]), Ok(Action::Run(_))));
    match read(&["-P", "--config"]) {
        Ok(Action::Run(settings)) => assert_eq!(settings.pid_file, Some("--config".into())),
        other => panic!("{other:?}"),
    }
    assert!(matches!(read(&["--con=50"]), Ok(Action::Run(settings)) if settings.maxconns == 50));
    // The help shows the values in force.
    match conf.read(&["-h"]) {
        Ok(Action::Print { text, .. }) => assert!(text.contains("in megabytes (default: 100)"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_listing_names_each_place() {
    let conf = Conf::new("-d\n-m 100 -v\n\n-m 128 -l 10.0.0.1\n-o idle_timeout=7,track_sizes\n-P '/run/a b'");
    assert_eq!(
        conf.listing(&["-o", "idle_timeout=9", "-vv", "--admin=11212"]),
        "-m 128             # F:4\n\
         -l 10.0.0.1        # F:4\n\
         -o track_sizes     # F:5\n\
         -P /run/a\\ b       # F:6\n\
         -o idle_timeout=9  # command line\n\
         -v                 # command line\n\
         -v                 # command line\n\
         --admin=11212      # command line\n"
    );
    assert_eq!(Conf::new("").listing(&[]), "# no option: all have their defaults\n");
}

/// The list is a configuration file that means the same.
#[test]
fn the_listing_can_be_read_back() {
    let text = "-vvv -m 100 -l '[::1]:5,*' -D ';'\n-s \"/run/it's \\$here\\\\\" -o slab_sizes=100-200,no_lru_crawler\n\
                -Y /a\\#b -u '' -B ascii --admin=/run/a.sock -o slab_automove -p -1";
    let (first, before) = (Conf::new(text), Conf::new(text).settings(&[]));
    let listing = first.listing(&["-o", "admin_host=a", "-o", "admin_host=b"]);
    let second = Conf::new(&listing);
    let after = second.settings(&[]);
    assert_eq!(after.admin.hosts, ["a", "b"]);
    let mut after = after;
    after.admin.hosts.clear();
    assert_eq!(after, before, "{listing}");
}

#[test]
fn a_check_without_a_file() {
    let read = |words: &[&str]| parse(["oxcached"].iter().chain(words).map(OsString::from));
    match read(&["--check-config", "-m", "100"]) {
        Ok(Action::Check { settings, options }) => {
            assert_eq!((settings.maxbytes, options.as_str()), (100 << 20, "-m 100  # command line\n"));
        }
        other => panic!("{other:?}"),
    }
    match read(&["--check-config"]) {
        Ok(Action::Check { options, .. }) => assert_eq!(options, "# no option: all have their defaults\n"),
        other => panic!("{other:?}"),
    }
    assert_eq!(read(&["--check-config", "-m", "0"]).unwrap_err().code, 64);
}
