//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
//!
//! Owns the messages and the proofs. Must not know where keys come from: between the client's first message and the
//! server's, the caller looks the user up. Used by `sasl`.
//!
//! ```text
//!   n,,n=user,r=<nonce>                       client first; before it the "GS2 header" n,,
//!   r=<nonce><ours>,s=<salt>,i=<count>        server first
//!   c=<GS2 header>,r=<nonce><ours>,p=<proof>  client final
//!   v=<signature>                             server final
//! ```

use super::hashed::{Verifier, hash, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::ConstantTimeEq;

/// An exchange that has its client-first message.
pub(super) struct Scram {
    gs2_header: String,
    client_first_bare: String,
    /// Client's and server's nonce concatenated.
    nonce: String,
    /// Name of the user that logs in.
    pub(super) user: Vec<u8>,
    /// The server-first message and the keys; `None` until the user has been looked up.
    sent: Option<(String, Verifier)>,
}

/// Value of the attribute `name` at the start of `text`.
fn attribute(text: &str, name: char) -> Option<&str> {
    text.strip_prefix(name)?.strip_prefix('=')
}

/// Unescapes `=2C` and `=3D` in a name.
fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (replaced, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return None,
        };
        plain.push(replaced);
        plain.push_str(rest);
    }
    Some(plain)
}

impl Scram {
    /// Parses the client-first message; `ours` is the server's part of the nonce. `None` if it is malformed or asks for
    /// something unsupported.
    pub(super) fn begin(message: &[u8], ours: &str) -> Option<Self> {
        let message = str::from_utf8(message).ok()?;
        // "y": the client supports channel binding and rightly thinks that we do not. "p=": it requires channel
        // binding.
        let rest = message.strip_prefix("n,").or_else(|| message.strip_prefix("y,"))?;
        let (authorized, bare) = rest.split_once(',')?;
        let mut attributes = bare.split(',');
        let user = unescape(attribute(attributes.next()?, 'n')?).filter(|user| !user.is_empty())?;
        let nonce = attribute(attributes.next()?, 'r').filter(|nonce| !nonce.is_empty())?;
        // No user may act for another one.
        let is_own_identity = authorized.is_empty() || unescape(attribute(authorized, 'a')?)? == user;
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_own_identity || !printable(nonce) {
            return None;
        }
        Some(Self {
            gs2_header: message[..message.len() - bare.len()].to_owned(),
            client_first_bare: bare.to_owned(),
            nonce: format!("{nonce}{ours}"),
            user: user.into_bytes(),
            sent: None,
        })
    }

    /// The server-first message.
    pub(super) fn answer(&mut self, verifier: Verifier) -> Vec<u8> {
        let salt = BASE64.encode(&verifier.salt);
        let first = format!("r={},s={salt},i={}", self.nonce, verifier.iterations);
        self.sent = Some((first.clone(), verifier));
        first.into_bytes()
    }

    /// Checks the client-final message; returns the server-final one if the proof is right.
    pub(super) fn finish(&self, message: &[u8]) -> Option<Vec<u8>> {
        let (server_first, verifier) = self.sent.as_ref()?;
        let message = str::from_utf8(message).ok()?;
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let binding = BASE64.decode(attribute(attributes.next()?, 'c')?).ok()?;
        let nonce = attribute(attributes.next()?, 'r')?;
        let proof: [u8; 32] = BASE64.decode(proof).ok()?.try_into().ok()?;
        let text = format!("{},{server_first},{without_proof}", self.client_first_bare);
        let signature = sign(&verifier.stored_key, text.as_bytes());
        let client_key: [u8; 32] = std::array::from_fn(|at| proof[at] ^ signature[at]);
        let right = hash(&client_key).ct_eq(&verifier.stored_key)
            & nonce.as_bytes().ct_eq(self.nonce.as_bytes())
            & binding.ct_eq(self.gs2_header.as_bytes());
        bool::from(right).then(|| {
            let signature = sign(&verifier.server_key, text.as_bytes());
            format!("v={}", BASE64.encode(signature)).into_bytes()
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ring::pbkdf2;
    use std::num::NonZeroU32;

    /// The client's side.
    pub struct Client {
        bare: String,
        password: String,
        signature: Vec<u8>,
    }

    impl Client {
        pub fn new(user: &str, password: &str) -> Self {
            Self { bare: format!("n={user},r=abc"), password: password.to_owned(), signature: Vec::new() }
        }

        pub fn first(&self) -> String {
            format!("n,,{}", self.bare)
        }

        pub fn last(&mut self, server_first: &[u8]) -> String {
            let first = str::from_utf8(server_first).unwrap();
            let mut parts = first.split(',');
            let (nonce, salt, count) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let salt = BASE64.decode(&salt[2..]).unwrap();
            let count: NonZeroU32 = count[2..].parse().unwrap();
            let mut salted = [0; 32];
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, &salt, self.password.as_bytes(), &mut salted);
            let client_key = sign(&salted, b"Client Key");
            let without_proof = format!("c=biws,{nonce}");
            let text = format!("{},{first},{without_proof}", self.bare);
            let signature = sign(&hash(&client_key), text.as_bytes());
            let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
            self.signature = sign(&sign(&salted, b"Server Key"), text.as_bytes()).to_vec();
            format!("{without_proof},p={}", BASE64.encode(proof))
        }

        pub fn believes(&self, server_final: &[u8]) -> bool {
            server_final == format!("v={}", BASE64.encode(&self.signature)).as_bytes()
        }
    }

    const OURS: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const FINAL: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn begun() -> Scram {
        let mut scram = Scram::begin(FIRST.as_bytes(), OURS).unwrap();
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let sent = scram.answer(Verifier::derive(b"pencil", &salt, 4096));
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(String::from_utf8(sent).unwrap(), expected);
        scram
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let scram = begun();
        assert_eq!(scram.user, b"user");
        let last = scram.finish(FINAL.as_bytes()).unwrap();
        assert_eq!(last, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_final_message_with_one_byte_changed_is_refused() {
        let scram = begun();
        for at in 0..FINAL.len() {
            let mut message = FINAL.as_bytes().to_vec();
            message[at] ^= 1;
            assert!(scram.finish(&message).is_none(), "{at}");
            assert!(scram.finish(&FINAL.as_bytes()[..at]).is_none(), "{at}");
        }
        assert!(scram.finish(format!("{FINAL},x=y").as_bytes()).is_none());
        let unanswered = Scram::begin(FIRST.as_bytes(), OURS).unwrap();
        assert!(unanswered.finish(FINAL.as_bytes()).is_none());
    }

    #[test]
    fn first_messages() {
        let user =
            |message: &str| Scram::begin(message.as_bytes(), "x").map(|scram| String::from_utf8(scram.user).unwrap());
        assert_eq!(user("y,,n=user,r=a").as_deref(), Some("user"));
        assert_eq!(user("n,a=user,n=user,r=a").as_deref(), Some("user"));
        assert_eq!(user("n,,n=a=2Cb=3Dc,r=a,ext=1").as_deref(), Some("a,b=c"));
        for refused in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=user,",
            "n,,n=user,r=",
            "n,,n=,r=a",
            "n,,r=a,n=user",
            "n,a=other,n=user,r=a",
            "p=tls-unique,,n=user,r=a",
            "n,,m=x,n=user,r=a",
            "n,,n=a=2cb,r=a",
            "n,,n=a=,r=a",
            "x,,n=user,r=a",
            "n,user,n=user,r=a",
        ] {
            assert_eq!(user(refused), None, "{refused}");
        }
        assert!(Scram::begin(b"n,,n=\xff,r=a", "x").is_none());
        assert!(Scram::begin(b"n,,n=user,r=a\x00", "x").is_none());
    }
}
