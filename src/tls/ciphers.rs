//! OpenSSL cipher lists, for the supported suites.
//!
//! Owns the names of the suites, the grammar of a list and the meaning of its words. Must not know any option. Called
//! by `tls`.
//!
//! As in OpenSSL, a list applies to TLS 1.2 only: TLS 1.3 suites stay, except those that a security level excludes.
//! Words for unsupported suites select nothing, as in an OpenSSL built without them. A list that selects nothing at all
//! is an error, and so is one that breaks the grammar.

use rustls::{CipherSuite, SupportedCipherSuite};

/// A TLS 1.2 suite: OpenSSL's name, key bits, and the words that select it.
struct Named {
    suite: CipherSuite,
    name: &'static str,
    bits: u16,
    words: &'static [&'static str],
}

macro_rules! named {
    ($suite:ident, $name:literal, $bits:literal, $($word:literal)*) => {
        Named {
            suite: CipherSuite::$suite,
            name: $name,
            bits: $bits,
            words: &[$($word,)* "ALL", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH", "TLSv1.2"],
        }
    };
}

/// In default order of preference. As in OpenSSL, `RSA` means RSA key exchange, and `SHA256` and `SHA384` mean MACs,
/// which none of these suites uses: their ciphers authenticate records.
const NAMED: [Named; 6] = [
    named!(TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", 256,
        "ECDSA" "aECDSA" "AES" "AES256" "AESGCM" "FIPS"),
    named!(TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", 256,
        "aRSA" "AES" "AES256" "AESGCM" "FIPS"),
    named!(TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", 256,
        "ECDSA" "aECDSA" "CHACHA20"),
    named!(TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", 256,
        "aRSA" "CHACHA20"),
    named!(TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", 128,
        "ECDSA" "aECDSA" "AES" "AES128" "AESGCM" "FIPS"),
    named!(TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", 128,
        "aRSA" "AES" "AES128" "AESGCM" "FIPS"),
];

/// Prefixes of a list that replace all of it.
const SUITE_B: [(&str, &str); 4] = [
    ("SUITEB128ONLY", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ("SUITEB128C2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("SUITEB128", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"),
    ("SUITEB192", "ECDHE-ECDSA-AES256-GCM-SHA384"),
];

const SEPARATORS: [char; 4] = [':', ' ', ';', ','];

/// Minimum key bits, by security level.
const LEVELS: [u16; 6] = [0, 80, 112, 128, 192, 256];

/// Suites that `list` selects, in its order: those of TLS 1.3, then those of TLS 1.2.
///
/// # Errors
/// What is wrong with the list.
pub(super) fn select(list: &str, all: &[SupportedCipherSuite]) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut choice = Choice::default();
    if let Some((_, whole)) = SUITE_B.iter().find(|(name, _)| list.starts_with(name)) {
        choice.apply(whole)?;
    } else if let Some(rest) = list.strip_prefix("DEFAULT") {
        // Valid at the start only, and needs no separator.
        choice.apply("ALL")?;
        choice.apply(rest)?;
    } else {
        choice.apply(list)?;
    }
    let (least, suites) = (choice.least_bits, choice.suites);
    let chosen = suites.iter().filter(|(named, active)| *active && named.bits >= least);
    let older: Vec<_> = chosen.filter_map(|(named, _)| all.iter().find(|suite| suite.suite() == named.suite)).collect();
    if older.is_empty() {
        return Err("selects none of the suites that exist here".to_owned());
    }
    let is_strong =
        |suite: &&SupportedCipherSuite| least <= 128 || suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256;
    let newer = all.iter().filter(|suite| suite.tls13().is_some()).filter(is_strong);
    Ok(newer.chain(older).copied().collect())
}

/// State of a list that is being applied.
struct Choice {
    /// Suites that are not permanently removed, and whether each is selected; the selected ones in this order of
    /// preference.
    suites: Vec<(&'static Named, bool)>,
    least_bits: u16,
}

impl Default for Choice {
    fn default() -> Self {
        Self { suites: NAMED.iter().map(|named| (named, false)).collect(), least_bits: 0 }
    }
}

impl Choice {
    fn apply(&mut self, list: &str) -> Result<(), String> {
        let mut rest = list;
        while let Some(first) = rest.chars().next() {
            if SEPARATORS.contains(&first) {
                rest = &rest[1..];
                continue;
            }
            let operator = Some(first).filter(|first| "!-+@".contains(*first));
            rest = &rest[operator.map_or(0, char::len_utf8)..];
            let mut parts = vec![word(&mut rest)?];
            while operator != Some('@')
                && let Some(more) = rest.strip_prefix('+')
            {
                rest = more;
                parts.push(word(&mut rest)?);
            }
            let selects = |named: &Named| parts.iter().all(|part| *part == named.name || named.words.contains(part));
            match operator {
                None => self.shift(true, |named, active| !active && selects(named)),
                Some('+') => self.shift(true, |named, active| active && selects(named)),
                Some('-') => self.shift(false, |named, active| active && selects(named)),
                Some('!') => self.suites.retain(|(named, _)| !selects(named)),
                Some(_) => {
                    self.command(parts[0])?;
                    // As in OpenSSL, ignores the rest up to the next separator.
                    rest = rest.find(SEPARATORS).map_or("", |end| &rest[end..]);
                }
            }
        }
        Ok(())
    }

    /// Selects the suites that match `which` and moves them behind all others, or deselects them and moves them to the
    /// front: when selected again, they come before those that never were.
    fn shift(&mut self, chosen: bool, which: impl Fn(&Named, bool) -> bool) {
        let suites = std::mem::take(&mut self.suites).into_iter();
        let (moved, stays): (Vec<_>, Vec<_>) = suites.partition(|(named, active)| which(named, *active));
        let moved = moved.into_iter().map(|(named, _)| (named, chosen));
        self.suites = if chosen { stays.into_iter().chain(moved).collect() } else { moved.chain(stays).collect() };
    }

    fn command(&mut self, word: &str) -> Result<(), String> {
        if word == "STRENGTH" {
            self.suites.sort_by_key(|(named, active)| if *active { u16::MAX - named.bits } else { 0 });
            return Ok(());
        }
        let level = word.strip_prefix("SECLEVEL=").filter(|level| level.len() == 1);
        let level = level.and_then(|level| LEVELS.get(level.parse::<usize>().ok()?));
        self.least_bits = *level.ok_or_else(|| format!("there is no @{word}"))?;
        Ok(())
    }
}

/// Takes a word off the front of `rest`; an empty word is an error.
fn word<'a>(rest: &mut &'a str) -> Result<&'a str, String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.=".contains(c);
    let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    if word.is_empty() {
        let found = rest.chars().next().map_or("the end".to_owned(), |found| format!("'{found}'"));
        return Err(format!("has {found} where a word should be"));
    }
    *rest = after;
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::default_provider;

    fn suites(list: &str) -> Result<Vec<CipherSuite>, String> {
        select(list, &default_provider().cipher_suites)
            .map(|suites| suites.iter().map(SupportedCipherSuite::suite).collect())
    }

    /// What a list selects of TLS 1.2, abbreviated: `e` is ECDSA, `r` RSA, `2` AES256, `1` AES128, `c` ChaCha20.
    fn selected(list: &str) -> String {
        let short = |suite: &CipherSuite| {
            let named = NAMED.iter().find(|named| named.suite == *suite)?;
            let key = if named.name.contains("ECDSA") { "e" } else { "r" };
            let cipher = if named.name.contains("AES256") { "2" } else { "1" };
            Some(format!("{key}{} ", if named.name.contains("CHACHA20") { "c" } else { cipher }))
        };
        let list = suites(list).unwrap_or_else(|error| panic!("{list}: {error}"));
        list.iter().filter_map(short).collect::<String>().trim_end().to_owned()
    }

    const ALL: &str = "e2 r2 ec rc e1 r1";

    #[test]
    fn words_select_as_in_openssl() {
        for (lists, expected) in [
            ("ALL DEFAULT HIGH ECDHE EECDH kECDHE kEECDH ECDH TLSv1.2 TLSv1.2+HIGH", ALL),
            ("aRSA", "r2 rc r1"),
            ("ECDSA aECDSA", "e2 ec e1"),
            ("AES AESGCM FIPS AES+ECDHE", "e2 r2 e1 r1"),
            ("AES256 AESGCM+AES256", "e2 r2"),
            ("AES128", "e1 r1"),
            ("CHACHA20", "ec rc"),
            ("ECDHE-RSA-AES128-GCM-SHA256", "r1"),
            ("SUITEB128", "e1 e2"),
            ("SUITEB128ONLY", "e1"),
            ("SUITEB192 SUITEB128C2", "e2"),
        ] {
            for list in lists.split(' ') {
                assert_eq!(selected(list), expected, "{list}");
            }
        }
    }

    /// Each expectation was checked with OpenSSL 3.0, `openssl ciphers -s -tls1_2 LIST`.
    #[test]
    fn operators_need_no_separator() {
        for (list, expected) in [
            ("DEFAULT@SECLEVEL=1", ALL),
            ("DEFAULT:@SECLEVEL=1", ALL),
            ("@SECLEVEL=1:ALL", ALL),
            ("ALL!aNULL", ALL),
            ("HIGH!aNULL!eNULL", ALL),
            ("HIGH:!RSA:!SHA256:!SHA384:!COMPLEMENTOFDEFAULT", ALL),
            ("ALL:!ADH:!LOW:!EXP:!MD5:@STRENGTH", ALL),
            (" ALL ; !RSA,", ALL),
            ("DEFAULTAES", ALL),
            ("DEFAULT!AES", "ec rc"),
            ("ALL!AES128!CHACHA20", "e2 r2"),
            ("!CHACHA20:ALL", "e2 r2 e1 r1"),
            ("ALL:-AES128:ALL", ALL),
            ("ALL:-AES128:-CHACHA20:AES128:ALL", "e2 r2 e1 r1 ec rc"),
            ("ALL:-AES128:-CHACHA20:ALL", "e2 r2 ec rc e1 r1"),
            ("ALL:-aECDSA:+AES256", "rc r1 r2"),
            ("ALL-aECDSA", ""),
            ("AES128:AES256@STRENGTH", "e2 r2 e1 r1"),
            ("AES128:@STRENGTH:AES256", "e1 r1 e2 r2"),
            ("AES128:DEFAULT", "e1 r1"),
            ("ALL+XYZ:AES128", "e1 r1"),
            ("ALL:@SECLEVEL=1!AES", ALL),
            ("ALL:@STRENGTH+X", ALL),
            ("ALL@SECLEVEL=3", ALL),
            ("ALL@SECLEVEL=4", "e2 r2 ec rc"),
            ("ALL@SECLEVEL=5", "e2 r2 ec rc"),
            ("AES128-SHA:ECDHE-RSA-CHACHA20-POLY1305, ECDHE-RSA-AES128-GCM-SHA256", "rc r1"),
        ] {
            if expected.is_empty() {
                assert!(suites(list).is_err(), "{list} is one word, of no suite");
            } else {
                assert_eq!(selected(list), expected, "{list}");
            }
        }
    }

    #[test]
    fn suites_of_tls_1_3_stay_unless_the_level_is_above_them() {
        let newer =
            |list| suites(list).unwrap().iter().filter(|suite| format!("{suite:?}").starts_with("TLS13")).count();
        assert_eq!((newer("AES256"), newer("ALL@SECLEVEL=3"), newer("ALL@SECLEVEL=4")), (3, 3, 2));
    }

    #[test]
    fn every_suite_of_the_library_has_a_name() {
        let all = default_provider().cipher_suites;
        assert!(
            all.iter().all(|suite| suite.tls13().is_some() || NAMED.iter().any(|named| named.suite == suite.suite()))
        );
        assert!(NAMED.iter().all(|named| all.iter().any(|suite| suite.suite() == named.suite)));
    }

    #[test]
    fn a_list_that_selects_nothing_is_wrong() {
        for list in [
            "",
            ":",
            "nonsense",
            "all",
            "AES128-SHA",
            "ALL:!ALL",
            "RC4-MD5:!aNULL",
            "RSA",
            "@SECLEVEL=1",
            "AES128@SECLEVEL=4",
        ] {
            assert_eq!(suites(list), Err("selects none of the suites that exist here".to_owned()), "{list}");
        }
    }

    #[test]
    fn a_list_that_breaks_the_grammar_is_wrong() {
        for (list, error) in [
            ("ALL:%", "has '%' where a word should be"),
            ("ALL%", "has '%' where a word should be"),
            ("ALL:\u{e9}", "has '\u{e9}' where a word should be"),
            ("ALL:!", "has the end where a word should be"),
            ("ALL+", "has the end where a word should be"),
            ("ALL+:AES", "has ':' where a word should be"),
            ("ALL@ STRENGTH", "has ' ' where a word should be"),
            ("DEFAULT@FOO", "there is no @FOO"),
            ("ALL@STRENGTHX", "there is no @STRENGTHX"),
            ("ALL@SECLEVEL=6", "there is no @SECLEVEL=6"),
            ("ALL@SECLEVEL=11", "there is no @SECLEVEL=11"),
            ("ALL@SECLEVEL=", "there is no @SECLEVEL="),
        ] {
            assert_eq!(suites(list), Err(error.to_owned()), "{list}");
        }
    }
}
