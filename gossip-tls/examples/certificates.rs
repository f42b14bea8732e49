//! Writes the certificates of a cluster: an authority, and a certificate and key for each member.
//!
//! ```text
//! cargo run -p gossip-tls --example certificates -- pki web-1 web-2 web-3
//! ```
//!
//! Each node needs `authority.pem` and its own `NAME.pem`. `authority.key` belongs on none of them; as long as it is in
//! the directory, more members can be added.
use core::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;

use gossip_tls::{Authority, Identity};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: certificates DIRECTORY NAME...")?;
    let directory = Path::new(&directory);
    fs::create_dir_all(directory)?;
    let (certificate, key) = (directory.join("authority.pem"), directory.join("authority.key"));
    let authority = if certificate.exists() {
        Authority::from_pem_files(&certificate, &key)?
    } else {
        let authority = Authority::new("gossip")?;
        secret(&key)?.write_all(authority.key_pem().as_bytes())?;
        fs::write(&certificate, authority.certificate_pem())?;
        authority
    };
    for name in arguments {
        let member: Identity = authority.issue(&name)?;
        let path = directory.join(format!("{name}.pem"));
        member.save(&path)?;
        println!("{} {}", member.fingerprint(), path.display());
    }
    Ok(())
}

/// A new file that only its owner can read.
fn secret(path: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
