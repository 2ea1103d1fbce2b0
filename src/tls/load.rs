//! Reads the files that the `ssl_*` options name.
//!
//! Owns the error texts, which go to the operator at start and to the client that sends `refresh_certs`. Must not know
//! what its results are used for. Called by `tls`.

use crate::settings::{MinVersion, Ssl};
use crate::sys::error_text;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// OpenSSL's numbers of the supported file types.
const PEM: i32 = 1;
const DER: i32 = 2;

/// Protocol versions from `min` on. rustls has none before TLS 1.2: such a minimum is an error, since old clients would
/// fail otherwise.
pub(super) fn versions(min: MinVersion) -> Result<&'static [&'static SupportedProtocolVersion], String> {
    static NEWEST_FIRST: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match min {
        MinVersion::Tls13 => Ok(&NEWEST_FIRST[..1]),
        MinVersion::Tls12 => Ok(&NEWEST_FIRST),
        MinVersion::Tls10 | MinVersion::Tls11 => {
            Err(format!("ssl_min_version: {} is not supported, the oldest is tlsv1.2 (2)", min.text()))
        }
    }
}

fn complaint(what: &str, path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{what}: {} : {why}", path.display())
}

/// Text of a PEM error, for the operator.
fn pem_text(error: &PemError) -> String {
    match error {
        PemError::NoItemsFound => "no such section in the file".to_owned(),
        other => other.to_string(),
    }
}

/// The options, and the base of their paths.
pub(super) struct Files {
    pub ssl: Ssl,
    /// Directory that relative paths start from; `None` = the current one.
    pub directory: Option<PathBuf>,
}

impl Files {
    /// Reads a file; the error text begins with `what`.
    fn read(&self, path: &Path, what: &str) -> Result<Vec<u8>, String> {
        let place = self.directory.as_ref().map_or_else(|| path.to_owned(), |directory| directory.join(path));
        std::fs::read(place).map_err(|e| complaint(what, path, &error_text(&e)))
    }

    /// All certificates of a file, at least one.
    fn certificates(&self, path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
        let bytes = self.read(path, what)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let read = read.and_then(|found| if found.is_empty() { Err(PemError::NoItemsFound) } else { Ok(found) });
        read.map_err(|e| complaint(what, path, &pem_text(&e)))
    }

    /// The server's certificate chain with its key.
    pub(super) fn certified_key(&self, provider: &CryptoProvider) -> Result<Arc<SingleCertAndKey>, String> {
        const CHAIN: &str = "Error loading the certificate chain";
        const KEY: &str = "Error loading the key";
        let ssl = &self.ssl;
        let chain_path = ssl.chain_cert.as_ref().ok_or_else(|| format!("{CHAIN}: -Z needs -o ssl_chain_cert=FILE"))?;
        let chain = self.certificates(chain_path, CHAIN)?;
        let path = ssl.key.as_ref().ok_or_else(|| format!("{KEY}: -Z needs -o ssl_key=FILE"))?;
        let bytes = self.read(path, KEY)?;
        let key = match ssl.keyformat {
            PEM => PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| complaint(KEY, path, &pem_text(&e)))?,
            DER => PrivateKeyDer::try_from(bytes).map_err(|e| complaint(KEY, path, &e))?,
            other => return Err(complaint(KEY, path, &format!("ssl_keyformat {other} is not supported"))),
        };
        let key = provider.key_provider.load_private_key(key).map_err(|e| complaint(KEY, path, &e))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(complaint(KEY, path, &"key values mismatch"))
            }
            Err(Error::InvalidCertificate(CertificateError::BadEncoding)) => {
                Err(complaint(CHAIN, chain_path, &"bad encoding"))
            }
            // Clients judge other oddities, such as a version 1 certificate.
            _ => Ok(Arc::new(SingleCertAndKey::from(certified))),
        }
    }

    /// Trust anchors for client certificates; empty if no file is named.
    pub(super) fn roots(&self) -> Result<Arc<RootCertStore>, String> {
        const CA: &str = "Error loading the CA certificate";
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ssl.ca_cert {
            for certificate in self.certificates(path, CA)? {
                roots.add(certificate).map_err(|e| complaint(CA, path, &e))?;
            }
        }
        Ok(Arc::new(roots))
    }
}
