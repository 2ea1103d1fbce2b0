//! One query of the credentials, which may be slow.
//!
//! Owns the query and the slot of its answer. The caller runs it: in place if it is quick, else on the thread of
//! `queue`. Used by sessions.

use super::credentials::Credentials;
use super::hashed::Verifier;
use std::sync::{Arc, OnceLock};

enum Question {
    /// Whether this is the user's password.
    Password(Box<[u8]>),
    /// The verifier that SCRAM needs for the user.
    Verifier,
}

/// Result of a [`Check`].
pub enum Answer {
    /// Whether the password is right.
    Password(bool),
    /// The user's verifier, or a decoy that a client cannot distinguish from a real one.
    Verifier(Box<Verifier>),
}

/// A query; its answer is shared with the holder of [`Check::answer`].
pub struct Check {
    credentials: Arc<Credentials>,
    user: Box<[u8]>,
    question: Question,
    answer: Arc<OnceLock<Answer>>,
}

impl Check {
    /// Checks the password of `user`.
    pub fn password(credentials: &Arc<Credentials>, user: &[u8], password: &[u8]) -> Self {
        Self::new(credentials, user, Question::Password(password.into()))
    }

    pub(super) fn verifier(credentials: &Arc<Credentials>, user: &[u8]) -> Self {
        Self::new(credentials, user, Question::Verifier)
    }

    fn new(credentials: &Arc<Credentials>, user: &[u8], question: Question) -> Self {
        Self { credentials: Arc::clone(credentials), user: user.into(), question, answer: Arc::default() }
    }

    /// Whether it may take milliseconds.
    pub fn is_slow(&self) -> bool {
        match self.question {
            Question::Password(_) => self.credentials.has_hashed(),
            Question::Verifier => self.credentials.has_plain(),
        }
    }

    /// Slot of the answer. It stays empty if the check never runs.
    pub fn answer(&self) -> Arc<OnceLock<Answer>> {
        Arc::clone(&self.answer)
    }

    /// Computes the answer.
    pub fn run(&self) {
        self.answer.get_or_init(|| match &self.question {
            Question::Password(password) => Answer::Password(self.credentials.check(&self.user, password)),
            Question::Verifier => Answer::Verifier(Box::new(self.credentials.verifier(&self.user))),
        });
    }
}
