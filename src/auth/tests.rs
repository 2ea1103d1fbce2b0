//! Logins against a whole `Auth`, without connections.

use super::*;

fn auth(text: &str) -> Auth {
    let seed = Seed::from_bytes(&[7; 32]);
    Auth::of(None, Some(Credentials::parse(text.as_bytes(), Format::Pwdb, &seed).unwrap())).unwrap()
}

/// Runs checks on the spot.
fn settle(exchange: &mut Exchange, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Check(check) => {
            check.run();
            exchange.checked(check.answer().get().unwrap())
        }
        other => other,
    }
}

fn offered(text: &str) -> Vec<&'static str> {
    let auth = auth(text);
    auth.mechanisms(&auth.sasl().unwrap()).map(Mechanism::name).collect()
}

#[test]
fn what_needs_the_password_is_not_offered_when_one_is_hashed() {
    assert_eq!(offered("ann:x"), ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN"]);
    let mixed = format!("ann:x\n{}", hash_line("bob", b"y", 4096).unwrap());
    assert_eq!(offered(&mixed), ["SCRAM-SHA-256", "PLAIN"]);
    let mut exchange = Exchange::default();
    assert!(matches!(exchange.start(&auth(&mixed), b"CRAM-MD5", b""), Outcome::Denied));
}

#[test]
fn plain() {
    let auth = auth("ann:x\nbob:a b");
    let try_it = |initial: &[u8]| {
        let mut exchange = Exchange::default();
        let outcome = exchange.start(&auth, b"plain", initial);
        matches!(settle(&mut exchange, outcome), Outcome::Granted)
    };
    assert!(try_it(b"\0ann\0x") && try_it(b"ann\0ann\0x") && try_it(b"\0bob\0a b"));
    for refused in [&b"\0ann\0y"[..], b"bob\0ann\0x", b"\0ann\0x\0", b"\0ann", b"ann", b"\0\0", b"\0\0x", b"\0eve\0x"] {
        assert!(!try_it(refused), "{refused:?}");
    }
    let mut exchange = Exchange::default();
    assert!(matches!(exchange.start(&auth, b"PLAIN", b""), Outcome::Continue(c) if c.is_empty()));
    let outcome = exchange.step(&auth, b"\0ann\0x");
    assert!(matches!(settle(&mut exchange, outcome), Outcome::Granted));
    assert!(matches!(exchange.step(&auth, b"\0ann\0x"), Outcome::Denied), "it is over");
}

#[test]
fn cram_md5() {
    let auth = auth("ann:x\nann:z");
    for (password, right) in [("x", true), ("z", true), ("y", false)] {
        for user in ["ann", "eve"] {
            let mut exchange = Exchange::default();
            let Outcome::Continue(challenge) = exchange.start(&auth, b"CRAM-MD5", b"") else { panic!("no challenge") };
            let digest = cram::digest(&challenge, password.as_bytes()).unwrap();
            let outcome = exchange.step(&auth, format!("{user} {digest}").as_bytes());
            assert_eq!(matches!(outcome, Outcome::Granted), right && user == "ann", "{user} {password}");
        }
    }
    let mut exchange = Exchange::default();
    assert!(matches!(exchange.start(&auth, b"CRAM-MD5", b"early"), Outcome::Denied));
}

#[test]
fn scram_knows_plain_and_hashed_users_and_tells_nobody_who_exists() {
    let auth = auth(&format!("ann:x\n{}", hash_line("bob", b"y", 4096).unwrap()));
    for (user, password, right) in
        [("ann", "x", true), ("bob", "y", true), ("ann", "y", false), ("bob", "x", false), ("eve", "x", false)]
    {
        let mut exchange = Exchange::default();
        let mut client = scram::tests::Client::new(user, password);
        let outcome = exchange.start(&auth, b"SCRAM-SHA-256", client.first().as_bytes());
        let Outcome::Continue(first) = settle(&mut exchange, outcome) else { panic!("{user}: no challenge") };
        assert!(String::from_utf8(first.clone()).unwrap().ends_with(",i=4096"));
        match exchange.step(&auth, client.last(&first).as_bytes()) {
            Outcome::Continue(signature) => {
                assert!(right && client.believes(&signature), "{user} {password}");
                assert!(matches!(exchange.step(&auth, b""), Outcome::Granted));
            }
            outcome => assert!(!right && matches!(outcome, Outcome::Denied), "{user} {password}"),
        }
    }
}

#[test]
fn a_reload_keeps_what_it_cannot_replace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users");
    std::fs::write(&path, "ann:x\n").unwrap();
    let settings = Settings { auth_file: Some(path.clone()), ..Settings::default() };
    let auth = Auth::load(&settings, |_| None).unwrap().unwrap();
    let may = |password: &[u8]| auth.tokens().unwrap().check(b"ann", password);
    assert!(may(b"x"));
    std::fs::write(&path, "ann:y\n").unwrap();
    assert!(auth.reload().is_empty() && may(b"y") && !may(b"x"));
    std::fs::write(&path, "nonsense\n").unwrap();
    assert_eq!(auth.reload().len(), 1);
    assert!(may(b"y"));
    std::fs::remove_file(&path).unwrap();
    let complaints = auth.reload();
    assert!(complaints[0].starts_with("Could not open authfile ["), "{complaints:?}");
    assert!(may(b"y"));
}

#[test]
fn sasl_without_users_says_what_to_do() {
    let settings = Settings { sasl: true, ..Settings::default() };
    let complaint = Auth::load(&settings, |_| None).err().unwrap();
    assert!(complaint.starts_with("Error initializing sasl.\nMEMCACHED_SASL_PWDB must name"), "{complaint}");
    let absent = |name: &str| (name == "MEMCACHED_SASL_PWDB").then(|| "/nonexistent".into());
    let complaint = Auth::load(&settings, absent).err().unwrap();
    assert!(complaint.starts_with("Error initializing sasl.\nCould not open sasl database [/nonexistent]"), "{complaint}");
}
