//! One SASL login: the mechanism and the state of its exchange.
//!
//! Owns the order of messages, which is that of memcached with libsasl: SCRAM's server-final message is a challenge
//! that the client answers with an empty message. Must not know packets. Driven by binary sessions.

use super::check::{Answer, Check};
use super::scram::Scram;
use super::seed::random;
use super::{Auth, cram};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

/// SASL mechanisms, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// Neither side reveals the password.
    ScramSha256,
    /// The client does not send the password, but the server must know it.
    CramMd5,
    /// The client sends the password.
    Plain,
}

impl Mechanism {
    pub(super) const ALL: [Self; 3] = [Self::ScramSha256, Self::CramMd5, Self::Plain];

    /// Registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::CramMd5 => "CRAM-MD5",
            Self::Plain => "PLAIN",
        }
    }

    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// One login.
#[derive(Default)]
pub struct Exchange(SaslStage);

/// State of the exchange.
#[derive(Default)]
enum SaslStage {
    /// Not started, or finished.
    #[default]
    None,
    /// PLAIN: waits for the message, or for its check.
    Plain,
    /// CRAM-MD5: the challenge has been sent.
    Cram(Vec<u8>),
    /// SCRAM: waits for the client-first message.
    ScramFirst,
    /// SCRAM: the user is being looked up, or the client-final message is due.
    Scram(Box<Scram>),
    /// SCRAM: the proof is right; waits for the client to acknowledge the server's signature.
    ScramLast,
}

/// Result of a message.
pub enum Outcome {
    /// Logged in.
    Granted,
    /// Refused.
    Denied,
    /// Challenge that the client must answer.
    Continue(Vec<u8>),
    /// Run the check, then call [`Exchange::checked`] with its answer.
    Check(Check),
}

impl Exchange {
    /// Starts a new exchange. `initial` is the client's initial response, or empty.
    pub fn start(&mut self, auth: &Auth, mechanism: &[u8], initial: &[u8]) -> Outcome {
        self.0 = SaslStage::None;
        let Some(credentials) = auth.sasl() else { return Outcome::Denied };
        let mechanism =
            Mechanism::named(mechanism).filter(|wanted| auth.mechanisms(&credentials).any(|m| m == *wanted));
        match mechanism {
            None => return Outcome::Denied,
            Some(Mechanism::CramMd5) => {
                let Some(challenge) = cram::challenge().filter(|_| initial.is_empty()) else { return Outcome::Denied };
                self.0 = SaslStage::Cram(challenge.clone());
                return Outcome::Continue(challenge);
            }
            Some(Mechanism::Plain) => self.0 = SaslStage::Plain,
            Some(Mechanism::ScramSha256) => self.0 = SaslStage::ScramFirst,
        }
        if initial.is_empty() { Outcome::Continue(Vec::new()) } else { self.step(auth, initial) }
    }

    /// Continues with the client's next message.
    pub fn step(&mut self, auth: &Auth, message: &[u8]) -> Outcome {
        self.try_step(auth, message).unwrap_or(Outcome::Denied)
    }

    /// As [`Exchange::step`]; `None` = denied.
    fn try_step(&mut self, auth: &Auth, message: &[u8]) -> Option<Outcome> {
        let credentials = auth.sasl()?;
        match std::mem::take(&mut self.0) {
            SaslStage::None => None,
            SaslStage::Plain => {
                let (user, password) = plain(message)?;
                self.0 = SaslStage::Plain;
                Some(Outcome::Check(Check::password(&credentials, user, password)))
            }
            SaslStage::Cram(challenge) => {
                let (user, digest) = cram::parse(message)?;
                let mut right = false;
                for password in credentials.plain(user) {
                    right |= cram::is_right(&challenge, &password, digest);
                }
                right.then_some(Outcome::Granted)
            }
            SaslStage::ScramFirst => {
                let ours = BASE64.encode(random::<18>().ok()?);
                let scram = Scram::begin(message, &ours)?;
                let check = Check::verifier(&credentials, &scram.user);
                self.0 = SaslStage::Scram(Box::new(scram));
                Some(Outcome::Check(check))
            }
            SaslStage::Scram(scram) => {
                let last = scram.finish(message)?;
                self.0 = SaslStage::ScramLast;
                Some(Outcome::Continue(last))
            }
            SaslStage::ScramLast => message.is_empty().then_some(Outcome::Granted),
        }
    }

    /// Continues with the answer of a check.
    pub fn checked(&mut self, answer: &Answer) -> Outcome {
        match (std::mem::take(&mut self.0), answer) {
            (SaslStage::Plain, Answer::Password(true)) => Outcome::Granted,
            (SaslStage::Scram(mut scram), Answer::Verifier(verifier)) => {
                let first = scram.answer(verifier.as_ref().clone());
                self.0 = SaslStage::Scram(scram);
                Outcome::Continue(first)
            }
            _ => Outcome::Denied,
        }
    }
}

/// User and password of a PLAIN message: `[authorized] NUL user NUL password`.
fn plain(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = message.split(|&byte| byte == 0);
    let (authorized, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    let is_own_identity = authorized.is_empty() || authorized == user;
    (is_own_identity && !user.is_empty() && parts.next().is_none()).then_some((user, password))
}
