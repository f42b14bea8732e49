//! What users write for a node to join: `[name/]host[:port]` (spec 4.19).

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::str::FromStr;

use gossip_proto::Name;

/// Where to join, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name of the node there, if it was given.
    pub name: Option<Name>,
    /// Its host.
    pub host: Host,
    /// Its port; the default port where none was given.
    pub port: u16,
}

/// A host, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address: no look-up is needed.
    Literal(SocketAddr),
    /// A name to look up.
    Name(String),
}

impl Target {
    /// Reads `[name/]host[:port]`; without a port it is `default_port`, the port that the local node is bound to.
    ///
    /// IPv6 addresses with a port need brackets, `[::1]:7946`; without a port they may have them.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, AddressError> {
        let error = |why| AddressError { text: text.into(), why };
        let (name, rest) = match text.split_once('/') {
            Some(("", _)) => return Err(error(Why::EmptyName)),
            Some((name, rest)) => (Some(Name::from(name)), rest),
            None => (None, text),
        };
        let (host, port) = split_port(rest).map_err(error)?;
        let port = match port {
            Some(digits) => parse_port(digits).ok_or_else(|| error(Why::Port))?,
            None => default_port,
        };
        if host.is_empty() {
            return Err(error(Why::EmptyHost));
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '[' | ']')) {
            return Err(error(Why::Host));
        }
        let host = match parse_literal(host, port) {
            Some(literal) => Host::Literal(literal),
            // What holds a colon can only have been meant as an address; a look-up would fail with a stranger text.
            None if host.contains(':') && host.contains('%') => return Err(error(Why::Scope)),
            None if host.contains(':') => return Err(error(Why::Literal)),
            None => Host::Name(host.into()),
        };
        Ok(Self { name, host, port })
    }
}

impl FromStr for Target {
    type Err = AddressError;

    /// Reads it with Serf's default port, 7946.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, DEFAULT_PORT)
    }
}

/// A target that cannot be read. The text says what is wrong and how to write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    text: String,
    why: Why,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::EmptyName => "it begins with '/': the node name before the slash is empty",
            Why::EmptyHost => "it has no host",
            Why::Host => "the host has characters that no host name has",
            Why::Literal => "the host is not an IPv6 address",
            // A look-up would give the address without its scope, and that leads nowhere.
            Why::Scope => {
                "the scope after '%' is not the number of an interface, by which alone it can be reached"
            }
            Why::Brackets => "a '[' without its ']', or text after it that is not ':' and a port",
            Why::Port => "the port is not a number from 1 to 65535",
        };
        write!(f, "address {:?}: {why}; write [name/]host[:port], and IPv6 as [addr]:port", self.text)
    }
}

impl core::error::Error for AddressError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    EmptyName,
    EmptyHost,
    Host,
    Literal,
    Scope,
    Brackets,
    Port,
}

/// The host without brackets, and the port if there is one.
fn split_port(text: &str) -> Result<(&str, Option<&str>), Why> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, after) = inner.split_once(']').ok_or(Why::Brackets)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(Why::Brackets),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        // Two colons or more: an IPv6 address without a port.
        _ => Ok((text, None)),
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    // The standard parser takes a sign; a port has none.
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|&port| port != 0)
}

fn parse_literal(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip.to_canonical(), port));
    }
    let (ip, scope) = host.split_once('%')?;
    let ip: Ipv6Addr = ip.parse().ok()?;
    Some(SocketAddrV6::new(ip, port, 0, scope.parse().ok()?).into())
}

/// Port that memberlist and Serf use (spec 1.1).
pub const DEFAULT_PORT: u16 = 7946;

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Host {
        Host::Literal(text.parse().unwrap())
    }

    // upstream: TestMemberList_ResolveAddr, TestUtil_PortFunctions
    #[test]
    fn reads_every_form() {
        let table: &[(&str, Option<&str>, Host, u16)] = &[
            ("10.0.0.1", None, literal("10.0.0.1:7000"), 7000),
            ("10.0.0.1:80", None, literal("10.0.0.1:80"), 80),
            ("[10.0.0.1]", None, literal("10.0.0.1:7000"), 7000),
            ("::1", None, literal("[::1]:7000"), 7000),
            ("[::1]", None, literal("[::1]:7000"), 7000),
            ("[::1]:80", None, literal("[::1]:80"), 80),
            ("::ffff:10.0.0.1", None, literal("10.0.0.1:7000"), 7000),
            ("[::ffff:10.0.0.1]:65535", None, literal("10.0.0.1:65535"), 65535),
            ("fe80::1%2", None, literal("[fe80::1%2]:7000"), 7000),
            ("[fe80::1%2]:80", None, literal("[fe80::1%2]:80"), 80),
            ("host", None, Host::Name("host".into()), 7000),
            ("host.example.org:80", None, Host::Name("host.example.org".into()), 80),
            ("node/host:80", Some("node"), Host::Name("host".into()), 80),
            ("node.x/[::1]:80", Some("node.x"), literal("[::1]:80"), 80),
            ("node/10.0.0.1", Some("node"), literal("10.0.0.1:7000"), 7000),
            ("a:b/10.0.0.1:5", Some("a:b"), literal("10.0.0.1:5"), 5),
        ];
        for (text, name, host, port) in table {
            let target = Target::parse(text, 7000).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                (target.name, target.host, target.port),
                (name.map(Name::from), host.clone(), *port),
                "{text}"
            );
        }
    }

    // upstream: TestMemberList_ResolveAddr
    #[test]
    fn refuses_with_the_reason() {
        let table = [
            ("", Why::EmptyHost),
            ("/host", Why::EmptyName),
            ("/", Why::EmptyName),
            ("node/", Why::EmptyHost),
            (":80", Why::EmptyHost),
            ("node/:80", Why::EmptyHost),
            ("[]:80", Why::EmptyHost),
            ("[]", Why::EmptyHost),
            ("host:", Why::Port),
            ("host:0", Why::Port),
            ("host:65536", Why::Port),
            ("host:+80", Why::Port),
            ("host:-1", Why::Port),
            ("host:http", Why::Port),
            ("[::1]:", Why::Port),
            ("[::1", Why::Brackets),
            ("[::1]80", Why::Brackets),
            ("a/b/c", Why::Host),
            ("ho st", Why::Host),
            ("ho\nst:80", Why::Host),
            ("host]", Why::Host),
            ("a:b:c", Why::Literal),
            ("[host:80]", Why::Literal),
            ("1:2:3:4:5:6:7:8:9", Why::Literal),
            ("fe80::1%eth0", Why::Scope),
            ("node/[fe80::1%eth0]:80", Why::Scope),
            ("fe80::1%", Why::Scope),
        ];
        for (text, why) in table {
            assert_eq!(Target::parse(text, 7000), Err(AddressError { text: text.into(), why }), "{text}");
        }
    }

    #[test]
    fn the_text_names_the_value_and_the_remedy() {
        let error = "host:99999".parse::<Target>().unwrap_err().to_string();
        assert!(error.contains("\"host:99999\"") && error.contains("1 to 65535"), "{error}");
        assert_eq!("host".parse::<Target>().unwrap().port, 7946);
    }
}
