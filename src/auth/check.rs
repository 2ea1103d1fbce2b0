//! One question to the credentials, that may take long.
//!
//! Owns the question and the place for its answer. Whoever asks decides where it runs: here and now if it is quick,
//! else on the thread of `queue`. Used by sessions.

use super::credentials::Credentials;
use super::hashed::Verifier;
use std::sync::{Arc, OnceLock};

enum Question {
    /// Is this the user's password?
    Password(Box<[u8]>),
    /// What does SCRAM need of the user?
    Verifier,
}

/// What came out.
pub enum Answer {
    /// The password is right, or not.
    Password(bool),
    /// The user's, or one that nobody can tell from a user's.
    Verifier(Box<Verifier>),
}

/// A question, and with its clone in another hand the answer.
pub struct Check {
    credentials: Arc<Credentials>,
    user: Box<[u8]>,
    question: Question,
    answer: Arc<OnceLock<Answer>>,
}

impl Check {
    /// Asks for the password of `user`.
    pub fn password(credentials: &Arc<Credentials>, user: &[u8], password: &[u8]) -> Self {
        Self::new(credentials, user, Question::Password(password.into()))
    }

    pub(super) fn verifier(credentials: &Arc<Credentials>, user: &[u8]) -> Self {
        Self::new(credentials, user, Question::Verifier)
    }

    fn new(credentials: &Arc<Credentials>, user: &[u8], question: Question) -> Self {
        Self { credentials: Arc::clone(credentials), user: user.into(), question, answer: Arc::default() }
    }

    /// Whether it takes milliseconds.
    pub fn is_slow(&self) -> bool {
        match self.question {
            Question::Password(_) => self.credentials.has_hashed(),
            Question::Verifier => self.credentials.has_plain(),
        }
    }

    /// Where the answer will be. It stays empty if the check is never run.
    pub fn answer(&self) -> Arc<OnceLock<Answer>> {
        Arc::clone(&self.answer)
    }

    /// Finds the answer.
    pub fn run(&self) {
        self.answer.get_or_init(|| match &self.question {
            Question::Password(password) => Answer::Password(self.credentials.check(&self.user, password)),
            Question::Verifier => Answer::Verifier(Box::new(self.credentials.verifier(&self.user))),
        });
    }
}
