//! OpenSSL's cipher lists, for the suites that exist here.
//!
//! Owns the names of the suites and the meaning of a list's words. It must not know any option. Called by `tls`.
//!
//! A list concerns TLS 1.2 alone, as in OpenSSL: the suites of TLS 1.3 always stay. Words for what does not exist here
//! select nothing, as words for what a given OpenSSL lacks do there; only a list that selects nothing at all is wrong.

use rustls::{CipherSuite, SupportedCipherSuite};

/// A TLS 1.2 suite: OpenSSL's name, and the words that select it.
struct Named {
    suite: CipherSuite,
    name: &'static str,
    words: &'static [&'static str],
}

macro_rules! named {
    ($suite:ident, $name:literal, $($word:literal)*) => {
        Named { suite: CipherSuite::$suite, name: $name, words: &[$($word,)* "ALL", "DEFAULT", "HIGH", "COMPLEMENTOFDEFAULT",
            "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH", "AEAD", "TLSv1.2"] }
    };
}

/// In the order in which they are preferred when a list says nothing else.
const NAMED: [Named; 6] = [
    named!(TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDSA" "aECDSA" "AES" "AES256" "AESGCM" "SHA384"),
    named!(TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384",
        "RSA" "aRSA" "AES" "AES256" "AESGCM" "SHA384"),
    named!(TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDSA" "aECDSA" "CHACHA20"),
    named!(TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305",
        "RSA" "aRSA" "CHACHA20"),
    named!(TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDSA" "aECDSA" "AES" "AES128" "AESGCM" "SHA256"),
    named!(TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256",
        "RSA" "aRSA" "AES" "AES128" "AESGCM" "SHA256"),
];

impl Named {
    /// Whether every part of `word` (parts are joined by plus signs) selects this suite.
    fn answers(&self, word: &str) -> bool {
        word.split('+').all(|part| part == self.name || self.words.contains(&part))
    }
}

/// The suites that `list` leaves, in its order: those of TLS 1.3, then the selected ones. `None` if none are selected.
pub(super) fn select(list: &str, all: &[SupportedCipherSuite]) -> Option<Vec<SupportedCipherSuite>> {
    let mut chosen: Vec<&Named> = Vec::new();
    let mut banned: Vec<&str> = Vec::new();
    for word in list.split([':', ',', ';', ' ']).filter(|word| !word.is_empty()) {
        if let Some(word) = word.strip_prefix('!') {
            chosen.retain(|suite| !suite.answers(word));
            banned.extend(NAMED.iter().filter(|suite| suite.answers(word)).map(|suite| suite.name));
        } else if let Some(word) = word.strip_prefix('-') {
            chosen.retain(|suite| !suite.answers(word));
        } else if let Some(word) = word.strip_prefix('+') {
            let (later, mut first): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|suite| suite.answers(word));
            first.extend(later);
            chosen = first;
        } else if !word.starts_with('@') {
            for suite in NAMED.iter().filter(|suite| suite.answers(word) && !banned.contains(&suite.name)) {
                if !chosen.iter().any(|other| other.name == suite.name) {
                    chosen.push(suite);
                }
            }
        }
    }
    if chosen.is_empty() {
        return None;
    }
    let newer = all.iter().filter(|suite| suite.tls13().is_some());
    let older = chosen.iter().filter_map(|named| all.iter().find(|suite| suite.suite() == named.suite));
    Some(newer.chain(older).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        let all = rustls::crypto::ring::default_provider().cipher_suites;
        let selected = select(list, &all).unwrap_or_default();
        let older = selected.iter().filter(|suite| suite.tls13().is_none());
        older
            .filter_map(|suite| NAMED.iter().find(|named| named.suite == suite.suite()))
            .map(|named| named.name)
            .collect()
    }

    #[test]
    fn lists_select_by_name_and_by_word() {
        let (aes, chacha) = ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305");
        assert_eq!(names(aes), [aes]);
        assert_eq!(names(&format!("AES128-SHA:{chacha}, {aes}")), [chacha, aes]);
        assert_eq!(names("ECDHE+aRSA:!AES256:!CHACHA20"), [aes]);
        assert_eq!(names("HIGH:!aNULL:-AESGCM:+ECDSA:@STRENGTH"), [chacha, "ECDHE-ECDSA-CHACHA20-POLY1305"]);
        assert_eq!(names(&format!("!CHACHA20:{chacha}:{aes}")), [aes]);
        assert_eq!(names("ALL").len(), NAMED.len());
    }

    #[test]
    fn every_suite_of_the_library_has_a_name() {
        let all = rustls::crypto::ring::default_provider().cipher_suites;
        assert!(
            all.iter().all(|suite| suite.tls13().is_some() || NAMED.iter().any(|named| named.suite == suite.suite()))
        );
        assert!(NAMED.iter().all(|named| all.iter().any(|suite| suite.suite() == named.suite)));
    }

    #[test]
    fn a_list_that_selects_nothing_is_wrong() {
        let all = rustls::crypto::ring::default_provider().cipher_suites;
        for list in ["", "nonsense", "AES128-SHA", "ALL:!ALL", "RC4-MD5:!aNULL"] {
            assert!(select(list, &all).is_none(), "{list}");
        }
    }
}
