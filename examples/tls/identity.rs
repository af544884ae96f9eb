//! Who a node is: a key and a certificate for it, signed by itself, in one file.

use std::error::Error;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The name in each certificate. Nobody looks at it.
pub(crate) const NAME: &str = "node";

/// A certificate and its key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads a file, which is made with a new key if there is none.
    pub(crate) fn load(path: &Path) -> Result<Self, Box<dyn Error>> {
        if !path.try_exists()? {
            let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()])?;
            write_secret(path, &(signing_key.serialize_pem() + &cert.pem()))?;
        }
        Ok(Self {
            certificate: CertificateDer::from_pem_file(path)?,
            key: PrivateKeyDer::from_pem_file(path)?,
        })
    }
}

/// A file that only its owner can read.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// SHA-256 of a certificate, by which a peer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut fingerprint = [0; SHA256_OUTPUT_LEN];
        fingerprint.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(fingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a fingerprint has {} hexadecimal digits", 2 * SHA256_OUTPUT_LEN);
        if text.len() != 2 * SHA256_OUTPUT_LEN || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut fingerprint = [0; SHA256_OUTPUT_LEN];
        for (byte, digits) in fingerprint.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(fingerprint))
    }
}
