//! TLS for signalling and REST: a certificate from PEM files, or one that is made at first start and kept, so that
//! people who accepted it are not asked again after a restart.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Certificate, Config};

/// As OpenVidu makes them.
const LIFETIME_DAYS: u64 = 365;
/// A certificate with less than this left is made anew at start.
const RENEW_BEFORE_DAYS: u64 = 30;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or folder that cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file without what it must hold.
    #[error("{}: holds no usable {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// The key does not belong to the certificate, or is of a kind that is not supported.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// No self-signed certificate could be made.
    #[error("self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// The server's TLS configuration (HTTP/1.1, TLS 1.2 and 1.3, aws-lc), making and keeping a self-signed certificate when
/// none is given.
///
/// # Errors
/// [`TlsError`], which names the file at fault.
pub fn server_config(config: &Config) -> Result<Arc<ServerConfig>, TlsError> {
    match &config.certificate {
        Certificate::Files { certificate, key } => from_files(certificate, key),
        Certificate::SelfSigned => {
            let (certificate, key) = self_signed(&config.data_dir, &config.domain_or_public_ip, SystemTime::now())?;
            from_files(&certificate, &key)
        }
    }
}

fn from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let text = read(certificate)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if chain.is_empty() {
        return Err(TlsError::Pem { path: certificate.to_owned(), what: "certificate" });
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| TlsError::Pem { path: key.to_owned(), what: "private key" })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    // WebSockets need HTTP/1.1; offering nothing else spares a choice that nobody wants.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The kept certificate, made when there is none, when it was made for other names, or when it ends soon.
fn self_signed(folder: &Path, host: &str, now: SystemTime) -> Result<(PathBuf, PathBuf), TlsError> {
    let paths = (folder.join("selfsigned.crt"), folder.join("selfsigned.key"));
    let names = names(host);
    let today = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY.as_secs();
    let header = format!("names: {}", names.join(" "));
    if let (Ok(kept), true) = (fs::read_to_string(&paths.0), paths.1.exists()) {
        // PEM allows text before the first block (RFC 7468 2): it says what the certificate was made for.
        let mut lines = kept.lines();
        let same = lines.next() == Some(header.as_str());
        let last_day = lines.next().and_then(|line| line.strip_prefix("last day: ")?.parse::<u64>().ok());
        if same && last_day.is_some_and(|last| last >= today + RENEW_BEFORE_DAYS) {
            return Ok(paths);
        }
    }
    let (certificate, key) = make(&names, today)?;
    fs::create_dir_all(folder).map_err(|source| TlsError::File { path: folder.to_owned(), source })?;
    let text = format!("{header}\nlast day: {}\n{certificate}", today + LIFETIME_DAYS);
    write(&paths.1, &key, 0o600)?;
    write(&paths.0, &text, 0o644)?;
    tracing::info!(file = %paths.0.display(), names = %names.join(" "), "made a self-signed certificate");
    Ok(paths)
}

/// In PEM: certificate and key.
fn make(names: &[String], today: u64) -> Result<(String, String), TlsError> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("localhost", String::as_str));
    params.distinguished_name.push(DnType::OrganizationName, "Millrace (self-signed)");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // A day of slack for clients whose clocks are behind.
    params.not_before = date_time_ymd(1970, 1, 1) + DAY * u32::try_from(today.saturating_sub(1)).unwrap_or(0);
    params.not_after = date_time_ymd(1970, 1, 1) + DAY * u32::try_from(today + LIFETIME_DAYS).unwrap_or(u32::MAX);
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn names(host: &str) -> Vec<String> {
    let host = host.trim_matches(['[', ']']).to_owned();
    let mut names = vec![host];
    for always in ["localhost", "127.0.0.1", "::1"] {
        if !names.iter().any(|name| name == always) {
            names.push(always.to_owned());
        }
    }
    names
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// Replaces a file in one step: a crash leaves the old one or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let replace = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    replace().map_err(|source| TlsError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            Self(std::env::temp_dir().join(format!("millrace-tls-test-{}-{n}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn config(lines: &str) -> Config {
        let args = [std::ffi::OsString::from("x")];
        Config::load(args, &HashMap::new(), &format!("OPENVIDU_SECRET=s\n{lines}")).unwrap().config
    }

    /// Both ends of a handshake in memory, the client trusting exactly this certificate.
    fn handshake(server: Arc<ServerConfig>, certificate: &Path, name: &'static str) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&fs::read(certificate).unwrap()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(name).unwrap())?;
        let mut server = ServerConnection::new(server)?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn the_self_signed_certificate_serves_its_names_and_stays() {
        let folder = Folder::new();
        let config = config(&format!("MILLRACE_DATA_DIR={}\nDOMAIN_OR_PUBLIC_IP=meet.example.org", folder.0.display()));
        let file = folder.0.join("selfsigned.crt");
        let server = server_config(&config).unwrap();
        for name in ["meet.example.org", "localhost", "127.0.0.1", "::1"] {
            handshake(Arc::clone(&server), &file, name).unwrap();
        }
        handshake(server, &file, "other.example.org").unwrap_err();
        let first = fs::read(&file).unwrap();
        server_config(&config).unwrap();
        assert_eq!(fs::read(&file).unwrap(), first);
        let mode = fs::metadata(folder.0.join("selfsigned.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn it_is_made_anew_for_another_name_and_before_it_ends() {
        let folder = Folder::new();
        let now = SystemTime::now();
        let (file, _) = self_signed(&folder.0, "a.example", now).unwrap();
        let first = fs::read(&file).unwrap();
        self_signed(&folder.0, "a.example", now + DAY * 300).unwrap();
        assert_eq!(fs::read(&file).unwrap(), first);
        self_signed(&folder.0, "a.example", now + DAY * 340).unwrap();
        let second = fs::read(&file).unwrap();
        assert_ne!(second, first);
        self_signed(&folder.0, "[2001:db8::1]", now + DAY * 340).unwrap();
        assert_ne!(fs::read(&file).unwrap(), second);
    }

    #[test]
    fn errors_name_the_file() {
        let folder = Folder::new();
        let (certificate, key) = self_signed(&folder.0, "localhost", SystemTime::now()).unwrap();
        let missing = folder.0.join("missing.pem");
        let error = from_files(&missing, &key).unwrap_err().to_string();
        assert!(error.contains("missing.pem"), "{error}");
        assert!(matches!(from_files(&key, &key), Err(TlsError::Pem { what: "certificate", .. })));
        assert!(matches!(from_files(&certificate, &certificate), Err(TlsError::Pem { what: "private key", .. })));
        let other = Folder::new();
        let (_, foreign) = self_signed(&other.0, "localhost", SystemTime::now()).unwrap();
        assert!(matches!(from_files(&certificate, &foreign), Err(TlsError::Unusable(_))));
    }
}
