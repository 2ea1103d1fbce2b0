//! The committed pages and completions, judged by the programs that read them: mandoc and groff, bash, zsh and fish.
//!
//! A program that is missing is named on standard error and its part skipped: `scripts/setup-test-tools shells`
//! installs them all.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be read fails it")]

use std::path::PathBuf;
use std::process::{Command, Output};

const PAGES: [&str; 3] = ["docs/man/oxcached.1", "docs/man/oxcached.conf.5", "docs/man/oxctl.1"];

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs a program in the repository; `None` where it is missing.
fn run(program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).current_dir(root()).env("LC_ALL", "C.UTF-8").output() {
        Ok(output) => Some(output),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: {program} is missing; scripts/setup-test-tools shells installs it");
            None
        }
        Err(e) => panic!("{program}: {e}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn mandoc_and_groff_have_no_complaint() {
    for page in PAGES {
        for (program, args) in [
            ("mandoc", &["-T", "lint", "-W", "warning", page][..]),
            ("groff", &["-man", "-ww", "-z", "-T", "utf8", page]),
        ] {
            let Some(output) = run(program, args) else { continue };
            let complaints = text(&output.stdout) + &text(&output.stderr);
            assert_eq!(complaints, "", "{program} {page}");
        }
    }
}

#[test]
fn the_page_has_every_option() {
    let Some(output) = run("groff", &["-man", "-T", "utf8", "-P-cbou", "-rLL=100n", PAGES[0]]) else { return };
    let page = text(&output.stdout);
    let mut place = 0;
    for title in [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "EXTENDED OPTIONS",
        "SIGNALS",
        "EXIT STATUS",
        "FILES",
        "ENVIRONMENT",
        "EXAMPLES",
        "SEE ALSO",
    ] {
        let found = page[place..].find(&format!("\n{title}\n"));
        place += found.unwrap_or_else(|| panic!("no {title} after {place} in\n{page}"));
    }
    for row in oxcached::settings::option_rows() {
        let term = row.name.map_or_else(|| format!("-{}", row.letter.unwrap()), |name| format!("--{name}"));
        assert!(page.contains(&term), "{term}");
    }
    for (_, rows) in oxcached::settings::extended_rows() {
        assert!(rows.iter().all(|row| page.contains(row.name.unwrap())));
    }
    assert!(page.contains("--admin=127.0.0.1:11212"), "{page}");
}

/// What each shell must offer for a line, and must not.
const LINES: &[(&str, &[&str], &[&str])] = &[
    ("oxcached --mem", &["--memory-limit=", "--memory-file="], &["--port="]),
    ("oxcached --check", &["--check-config"], &["--conn-limit="]),
    ("oxcached --daem", &["--daemon"], &["--disable-cas"]),
    ("oxcached -B ", &["ascii", "auto", "binary"], &["--port="]),
    ("oxcached --protocol=bi", &["binary"], &["ascii"]),
    ("oxcached -m 64 -o idle", &["idle_timeout="], &["hashpower="]),
    ("oxcached -o track_sizes,hash_a", &["hash_algorithm="], &["track_sizes"]),
    ("oxcached -o track_sizes,hash_algorithm=x", &["xxh3"], &["murmur3"]),
    ("oxcached -u roo", &["root"], &["--port="]),
    ("oxcached -Y xtask/Carg", &["xtask/Cargo.toml"], &["--port="]),
    ("oxcached --config=xtask/Carg", &["xtask/Cargo.toml"], &["--port="]),
    ("oxcached -o ssl_key=xtask/Carg", &["xtask/Cargo.toml"], &["--port="]),
    ("oxctl pi", &["ping"], &["prefixes"]),
    ("oxctl --pass", &["--password-file"], &["--user"]),
    ("oxctl --ca xtask/Carg", &["xtask/Cargo.toml"], &["--user"]),
    ("oxctl --timeout 2 dump xtask/Carg", &["xtask/Cargo.toml"], &["--user"]),
    ("oxctl watch fet", &["fetchers"], &["ping"]),
    ("oxctl -s cache1 lo", &["load"], &["settings"]),
    ("oxctl cache1 sett", &["settings"], &["load"]),
];

/// Checks what a shell offers; a word counts with or without what stands before it in the line, and without its `=`.
fn judge(shell: &str, offers: impl Fn(&str) -> Option<Vec<String>>) {
    for (line, wanted, unwanted) in LINES {
        let Some(offered) = offers(line) else { return };
        let has = |word: &str| {
            let word = word.trim_end_matches('=');
            offered.iter().any(|offer| offer.trim_end_matches(['=', ',', ' ']).ends_with(word))
        };
        for word in *wanted {
            assert!(has(word), "{shell}: {line}: no {word} in {offered:?}");
        }
        for word in *unwanted {
            assert!(!has(word), "{shell}: {line}: {word} in {offered:?}");
        }
    }
}

#[test]
fn bash_completes() {
    let offers = |line: &str| {
        let script = "xtask/tests/complete.bash";
        let program = line.split(' ').next()?;
        let output = run("bash", &["--norc", script, line, &format!("contrib/completions/{program}.bash")])?;
        assert!(output.stderr.is_empty(), "{line}: {}", text(&output.stderr));
        Some(text(&output.stdout).lines().map(str::to_owned).collect())
    };
    judge("bash", offers);
    // What bash takes for the word is replaced as a whole.
    assert_eq!(offers("oxcached -o track_sizes,hash_algorithm=x").unwrap(), ["xxh3"]);
    assert_eq!(offers("oxcached -o track_sizes,idle").unwrap(), ["track_sizes,idle_timeout="]);
    assert_eq!(offers("oxcached --protocol=bi").unwrap(), ["binary"]);
    assert_eq!(offers("oxcached --port=").unwrap(), [""; 1]);
}

#[test]
fn fish_completes() {
    judge("fish", |line| {
        let program = line.split(' ').next()?;
        let command = format!("source contrib/completions/{program}.fish; complete -C '{line}'");
        let output = run("fish", &["--no-config", "-c", &command])?;
        assert!(output.stderr.is_empty(), "{line}: {}", text(&output.stderr));
        Some(text(&output.stdout).lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect())
    });
}

#[test]
fn zsh_completes() {
    // One shell for all lines: its start takes seconds.
    let lines = LINES.iter().map(|(line, ..)| *line);
    let args: Vec<&str> = ["-f", "xtask/tests/complete.zsh", "contrib/completions"].into_iter().chain(lines).collect();
    let Some(output) = run("zsh", &args) else { return };
    let screen = text(&output.stdout);
    assert!(output.status.success(), "{screen}{}", text(&output.stderr));
    let screens: Vec<&str> = screen.split("end-of-line").collect();
    judge("zsh", |line| {
        let at = LINES.iter().position(|(other, ..)| *other == line).unwrap();
        let words = screens[at].split(|c: char| c.is_whitespace() || c.is_control() || "<>".contains(c));
        Some(words.map(str::to_owned).collect())
    });
}

#[test]
fn shells_take_the_scripts() {
    for (shell, args) in [
        ("bash", ["-n", "contrib/completions/oxcached.bash"]),
        ("zsh", ["-n", "contrib/completions/_oxcached"]),
        ("fish", ["-n", "contrib/completions/oxcached.fish"]),
        ("bash", ["-n", "contrib/completions/oxctl.bash"]),
        ("zsh", ["-n", "contrib/completions/_oxctl"]),
        ("fish", ["-n", "contrib/completions/oxctl.fish"]),
    ] {
        if let Some(output) = run(shell, &args) {
            assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {}", text(&output.stderr));
        }
    }
}
