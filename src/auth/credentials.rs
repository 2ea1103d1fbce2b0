//! Users and passwords, as parsed from a file.
//!
//! Owns both file formats, the search for a user, and the rule that a client cannot learn which users exist: every
//! entry is compared, and slow derivations run as often for an unknown name as for a known one. Knows no files and no
//! mechanisms. Used by `check`. The parser accepts arbitrary bytes.

use super::hashed::{ITERATIONS_DEFAULT, PREFIX, Verifier};
use super::seed::Seed;
use subtle::{Choice, ConstantTimeEq};

/// Format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `-Y`: each line is `user:password`, and there is at least one.
    Tokens,
    /// `MEMCACHED_SASL_PWDB`: the same, but lines without a colon are ignored, and the password may end at any further
    /// colon.
    Pwdb,
}

/// A line that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Line number, from 1.
    pub line: usize,
    /// The line has the prefix of a hashed password.
    pub hashed: bool,
}

enum Secret {
    Plain(Box<[u8]>),
    Hashed(Verifier),
}

struct UserEntry {
    user: Box<[u8]>,
    secret: Secret,
}

/// All users. A user may have several lines, and with them several passwords.
pub struct Credentials {
    format: Format,
    entries: Vec<UserEntry>,
    seed: Seed,
    /// `@` and the realm, an optional suffix of user names; empty without a realm.
    realm: Vec<u8>,
    /// Derivations per password check, for known and unknown users alike: the most hashed lines that one user has.
    rounds: usize,
    /// Some password is not hashed, so SCRAM must derive its keys.
    has_plain: bool,
    /// Iterations of users without hashed lines: the count of the first hashed line.
    iterations: u32,
}

impl Credentials {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// The first malformed line. An empty file of tokens has one.
    pub fn parse(text: &[u8], format: Format, seed: &Seed) -> Result<Self, Malformed> {
        let mut entries = Vec::new();
        let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        if lines.len() > 1 && lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        for (number, line) in lines.into_iter().enumerate() {
            let malformed = |hashed| Malformed { line: number + 1, hashed };
            let line = &line[..memchr::memchr(b'\r', line).unwrap_or(line.len())];
            let Some(colon) = memchr::memchr(b':', line).filter(|_| memchr::memchr(0, line).is_none()) else {
                match format {
                    Format::Tokens => return Err(malformed(false)),
                    Format::Pwdb => continue,
                }
            };
            let (user, secret) = (&line[..colon], &line[colon + 1..]);
            let secret = if secret.starts_with(PREFIX) {
                Secret::Hashed(Verifier::parse(secret).ok_or(malformed(true))?)
            } else {
                Secret::Plain(secret.into())
            };
            entries.push(UserEntry { user: user.into(), secret });
        }
        Ok(Self::new(entries, format, seed))
    }

    /// Makes `user@realm` and `user` equal, in the file and for clients: libsasl appends the host name to names without
    /// a realm, so files written for memcached contain it.
    #[must_use]
    pub fn with_realm(mut self, realm: &[u8]) -> Self {
        if realm.is_empty() {
            return self;
        }
        self.realm = [b"@", realm].concat();
        let mut entries = std::mem::take(&mut self.entries);
        for entry in &mut entries {
            entry.user = self.bare(&entry.user).into();
        }
        Self { realm: self.realm, ..Self::new(entries, self.format, &self.seed) }
    }

    /// The name without the realm.
    fn bare<'a>(&self, user: &'a [u8]) -> &'a [u8] {
        user.strip_suffix(&self.realm[..]).unwrap_or(user)
    }

    fn new(entries: Vec<UserEntry>, format: Format, seed: &Seed) -> Self {
        let mut hashed: Vec<(&[u8], u32)> = Vec::new();
        let mut has_plain = false;
        for entry in &entries {
            match &entry.secret {
                Secret::Plain(_) => has_plain = true,
                Secret::Hashed(verifier) => hashed.push((&entry.user, verifier.iterations)),
            }
        }
        let iterations = hashed.first().map_or(ITERATIONS_DEFAULT, |(_, count)| *count);
        hashed.sort_unstable();
        let rounds = hashed.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).max().unwrap_or(0);
        Self { format, seed: seed.clone(), realm: Vec::new(), rounds, has_plain, iterations, entries }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no users.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether some password is hashed: every password check is slow, and a mechanism that needs the plain password
    /// does not work for all users.
    pub fn has_hashed(&self) -> bool {
        self.rounds > 0
    }

    /// Whether some password is not hashed: deriving SCRAM keys is slow for every user.
    pub fn has_plain(&self) -> bool {
        self.has_plain
    }

    /// Whether `user` has this password.
    pub fn check(&self, user: &[u8], password: &[u8]) -> bool {
        let user = self.bare(user);
        let mut good = Choice::from(0);
        for entry in &self.entries {
            if let Secret::Plain(secret) = &entry.secret {
                good |= entry.user.ct_eq(user) & self.matches(secret, password);
            }
        }
        let mut hashed = self.of_user(user).filter_map(|secret| match secret {
            Secret::Hashed(verifier) => Some(verifier),
            Secret::Plain(_) => None,
        });
        for _ in 0..self.rounds {
            match hashed.next() {
                Some(verifier) => good |= verifier.check(password),
                // Takes as long as a real verifier and never matches: no password is known for its keys.
                None => good |= self.decoy(user).check(password),
            }
        }
        good.into()
    }

    /// The verifier for SCRAM: of the first line of `user`, or a decoy.
    pub(super) fn verifier(&self, user: &[u8]) -> Verifier {
        let user = self.bare(user);
        let secret = self.of_user(user).next();
        // If any user needs a derivation, one runs for every user.
        let password = match secret {
            Some(Secret::Plain(password)) => password,
            _ => &self.seed.value(b"password", user)[..],
        };
        let derived = self.has_plain.then(|| Verifier::derive(password, &self.salt(user), self.iterations));
        match (secret, derived) {
            (Some(Secret::Hashed(verifier)), _) => verifier.clone(),
            (Some(Secret::Plain(_)), Some(derived)) => derived,
            _ => self.decoy(user),
        }
    }

    /// Plain passwords of `user`, for comparison in constant time; a decoy if there are none.
    pub(super) fn plain(&self, user: &[u8]) -> Vec<Box<[u8]>> {
        let user = self.bare(user);
        let mut all: Vec<Box<[u8]>> = self
            .of_user(user)
            .filter_map(|secret| match secret {
                Secret::Plain(password) => Some(password.clone()),
                Secret::Hashed(_) => None,
            })
            .collect();
        if all.is_empty() {
            all.push(Box::new(self.seed.value(b"password", user)));
        }
        all
    }

    fn of_user(&self, user: &[u8]) -> impl Iterator<Item = &Secret> {
        self.entries.iter().filter(|entry| entry.user.ct_eq(user).into()).map(|entry| &entry.secret)
    }

    /// Whether a stored plain password equals `given`. Lengths are not secret.
    fn matches(&self, stored: &[u8], given: &[u8]) -> Choice {
        let whole = match self.format {
            Format::Tokens => stored,
            // memcached accepts the password up to any colon.
            Format::Pwdb => match stored.get(given.len()) {
                Some(b':') => &stored[..given.len()],
                _ => stored,
            },
        };
        whole.ct_eq(given)
    }

    fn salt(&self, user: &[u8]) -> [u8; 16] {
        let mut salt = [0; 16];
        salt.copy_from_slice(&self.seed.value(b"salt", user)[..16]);
        salt
    }

    /// Verifier of an unknown user.
    fn decoy(&self, user: &[u8]) -> Verifier {
        Verifier {
            iterations: self.iterations,
            salt: self.salt(user).into(),
            stored_key: self.seed.value(b"stored key", user),
            server_key: self.seed.value(b"server key", user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::hash_line;

    fn parse(text: &str, format: Format) -> Result<Credentials, Malformed> {
        Credentials::parse(text.as_bytes(), format, &Seed::from_bytes(&[7; 32]))
    }

    #[test]
    fn tokens_are_lines_of_user_and_password() {
        for text in ["foo:bar\nbaaaz:quux\n", "foo:bar\nbaaaz:quux", "foo:bar\r\nbaaaz:quux\r\n"] {
            let all = parse(text, Format::Tokens).unwrap();
            assert_eq!(all.len(), 2);
            assert!(all.check(b"foo", b"bar") && all.check(b"baaaz", b"quux"), "{text:?}");
            for (user, password) in
                [("foo", "ba"), ("foo", "barr"), ("fo", "bar"), ("foo", ""), ("", ""), ("foo", "quux")]
            {
                assert!(!all.check(user.as_bytes(), password.as_bytes()), "{user} {password}");
            }
        }
        let all = parse(":x\ny:\na:b:c\nlong:with spaces", Format::Tokens).unwrap();
        assert!(all.check(b"", b"x") && all.check(b"y", b"") && all.check(b"a", b"b:c") && !all.check(b"a", b"b"));
        assert!(all.check(b"long", b"with spaces"));
    }

    #[test]
    fn a_line_without_a_colon_is_malformed_among_tokens_only() {
        for (text, line) in [("", 1), ("\n", 1), ("foo\n", 1), ("foo:bar\n\n", 2), ("\nfoo:bar\n", 1), ("a:b\0c\n", 1)]
        {
            assert_eq!(parse(text, Format::Tokens).err(), Some(Malformed { line, hashed: false }), "{text:?}");
            assert!(parse(text, Format::Pwdb).is_ok(), "{text:?}");
        }
        let all = parse("# hello\n\nfoo:bar\n", Format::Pwdb).unwrap();
        assert!(all.len() == 1 && all.check(b"foo", b"bar"));
    }

    #[test]
    fn in_a_pwdb_the_password_may_end_at_any_colon() {
        let all = parse("foo:bar:baz\n", Format::Pwdb).unwrap();
        assert!(all.check(b"foo", b"bar") && all.check(b"foo", b"bar:baz"));
        assert!(!all.check(b"foo", b"bar:") && !all.check(b"foo", b"ba") && !all.check(b"foo", b""));
    }

    #[test]
    fn the_realm_may_be_there_or_not() {
        let text = format!("ann@here:x\nbob:y\n{}\ncid@there:z\n", hash_line("dan@here", b"w", 4096).unwrap());
        let all = parse(&text, Format::Pwdb).unwrap().with_realm(b"here");
        for (user, password) in [("ann", "x"), ("bob", "y"), ("dan", "w")] {
            assert!(all.check(user.as_bytes(), password.as_bytes()), "{user}");
            assert!(all.check(format!("{user}@here").as_bytes(), password.as_bytes()), "{user}@here");
            assert!(!all.check(format!("{user}@there").as_bytes(), password.as_bytes()), "{user}@there");
            assert_eq!(all.plain(user.as_bytes()), all.plain(format!("{user}@here").as_bytes()));
        }
        assert!(all.check(b"cid@there", b"z") && !all.check(b"cid", b"z"));
        assert_eq!(all.verifier(b"eve").salt, all.verifier(b"eve@here").salt);
    }

    #[test]
    fn hashed_and_plain_lines_live_side_by_side() {
        let text = format!("ann:plain\n{}\nann:second\n", hash_line("bob", b"hidden", 4096).unwrap());
        for format in [Format::Tokens, Format::Pwdb] {
            let all = parse(&text, format).unwrap();
            assert!(all.has_hashed() && all.has_plain());
            assert!(all.check(b"ann", b"plain") && all.check(b"ann", b"second") && all.check(b"bob", b"hidden"));
            assert!(!all.check(b"bob", b"plain") && !all.check(b"ann", b"hidden") && !all.check(b"eve", b"hidden"));
        }
        let broken = text.replace("4096:", "4096;");
        assert_eq!(parse(&broken, Format::Pwdb).err(), Some(Malformed { line: 2, hashed: true }));
    }

    #[test]
    fn an_unknown_user_has_a_stable_salt() {
        let (one, two) = (parse("a:b", Format::Pwdb).unwrap(), parse("c:d", Format::Pwdb).unwrap());
        assert_eq!(one.verifier(b"eve").salt, two.verifier(b"eve").salt);
        assert_eq!(one.verifier(b"a").salt, two.verifier(b"a").salt, "a salt does not reveal that its user exists");
        assert_ne!(one.verifier(b"eve").salt, one.verifier(b"mallory").salt);
        assert_eq!(one.verifier(b"eve").iterations, one.verifier(b"a").iterations);
        assert_eq!(one.verifier(b"eve").salt.len(), one.verifier(b"a").salt.len());
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let text: Vec<u8> = (0..random.usize(..200)).map(|_| *random.choice(b"a:\n\r\0$S\xff").unwrap()).collect();
            for format in [Format::Tokens, Format::Pwdb] {
                if let Ok(all) = Credentials::parse(&text, format, &Seed::from_bytes(&[0; 32])) {
                    all.check(b"a", b"a");
                }
            }
        }
    }
}
