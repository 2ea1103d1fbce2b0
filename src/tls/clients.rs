//! Client certificates and session resumption.
//!
//! Owns the meaning of the verify modes and the bound on kept sessions. Must not know files or sockets. Called by
//! `tls`.

use super::TlsCounters;
use crate::limits::TLS_SESSIONS;
use crate::settings::VerifyMode;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Verifier of client certificates under `mode`.
pub(super) fn verifier(
    mode: VerifyMode,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let optional = match mode {
        VerifyMode::Nothing => return Ok(WebPkiClientVerifier::no_client_auth()),
        VerifyMode::Request => true,
        VerifyMode::Require | VerifyMode::Once => false,
    };
    if roots.is_empty() {
        return Ok(Arc::new(TrustsNone { optional, provider: Arc::clone(provider) }));
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let builder = if optional { builder.allow_unauthenticated() } else { builder };
    let verifier = builder.build().map_err(|e| format!("Error loading the CA certificate: {e}"))?;
    Ok(verifier)
}

/// Requests certificates, but without `ssl_ca_cert` trusts none.
#[derive(Debug)]
struct TrustsNone {
    optional: bool,
    provider: Arc<CryptoProvider>,
}

impl TrustsNone {
    fn refuse<T>() -> Result<T, Error> {
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }
}

impl ClientCertVerifier for TrustsNone {
    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::refuse()
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::refuse()
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::refuse()
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A bounded session cache that counts new sessions.
#[derive(Debug)]
pub(super) struct CountedSessions {
    sessions: Arc<ServerSessionMemoryCache>,
    counters: Arc<TlsCounters>,
}

impl CountedSessions {
    /// The cache of one configuration; it keeps nothing unless `wanted`. Never shared between configurations: a session
    /// made without a client certificate must not be resumed where one is required.
    pub(super) fn storage(wanted: bool, counters: &Arc<TlsCounters>) -> Arc<dyn StoresServerSessions> {
        if !wanted {
            return Arc::new(NoServerSessionStorage {});
        }
        let sessions = ServerSessionMemoryCache::new(TLS_SESSIONS);
        Arc::new(Self { sessions, counters: Arc::clone(counters) })
    }
}

impl StoresServerSessions for CountedSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let kept = self.sessions.put(key, value);
        self.counters.new_sessions.fetch_add(u64::from(kept), Relaxed);
        kept
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.sessions.take(key)
    }

    fn can_cache(&self) -> bool {
        self.sessions.can_cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_beyond_the_bound_displaces_the_oldest() {
        let counters = Arc::new(TlsCounters::default());
        let sessions = CountedSessions::storage(true, &counters);
        let key = |number: usize| number.to_le_bytes().to_vec();
        for number in 0..TLS_SESSIONS {
            assert!(sessions.put(key(number), vec![1]));
        }
        let is_kept = |number| sessions.get(&key(number)).is_some();
        let before = (0..TLS_SESSIONS).filter(|number| is_kept(*number)).count();
        let oldest = (0..TLS_SESSIONS).find(|number| is_kept(*number)).unwrap();
        assert!(sessions.put(key(TLS_SESSIONS), vec![1]));
        assert!(!is_kept(oldest) && is_kept(oldest + 1) && is_kept(TLS_SESSIONS));
        assert_eq!((0..=TLS_SESSIONS).filter(|number| is_kept(*number)).count(), before);
        assert_eq!(counters.new_sessions.load(Relaxed), TLS_SESSIONS as u64 + 1);
    }
}
