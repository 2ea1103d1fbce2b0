//! State that all connections of the admin listener share.
//!
//! Owns no behaviour: `thread` builds it, `conn` reads it.

use super::answer::AnswerBuffers;
use super::guard::Guard;
use super::hub::Hub;
use super::{AdminCounters, Health, Source};
use crate::settings::{Admin, Transport};
use crate::tls::Tls;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// Shared by all connections of one admin listener.
pub(super) struct AdminState {
    pub(super) admin: Admin,
    pub(super) health: Arc<Health>,
    pub(super) counters: Arc<AdminCounters>,
    /// Set once the server's state exists.
    pub(super) source: OnceLock<Source>,
    /// Lowest descriptor of a connection: below it are those of clients, whose number `-c` limits.
    pub(super) descriptors_from: Option<u32>,
    pub(super) guard: Guard,
    pub(super) buffers: Arc<AnswerBuffers>,
    pub(super) hub: Arc<Hub>,
    /// What wraps the bytes of TCP clients, and the certificates for it.
    pub(super) tls: Option<(Arc<Tls>, Transport)>,
}

/// The listener's stop, as its tasks see it.
#[derive(Clone)]
pub(super) struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// The two ends of a signal.
    pub(super) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until the listener stops.
    pub(super) async fn wait(mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
