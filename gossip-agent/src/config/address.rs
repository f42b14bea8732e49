//! `host[:port]` of the options `bind` and `advertise` (serf.md 9.2).

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::net::ToSocketAddrs;

use super::Problem;

/// Reads it and looks a host name up. `option` names the setting in errors.
pub(crate) fn parse(option: &str, text: &str, default_port: u16) -> Result<SocketAddr, Problem> {
    let problem = |why: &str| Problem::new(format!("{option} {text:?}: {why}"));
    let form = "write host[:port], and IPv6 with a port as [addr]:port";
    let (host, port) = split(text).ok_or_else(|| problem(form))?;
    let port = match port {
        None => default_port,
        Some(digits) => {
            let valid = digits.bytes().all(|b| b.is_ascii_digit());
            digits
                .parse()
                .ok()
                .filter(|_| valid)
                .ok_or_else(|| problem("the port is not a number up to 65535"))?
        }
    };
    if host.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found = (host, port).to_socket_addrs().map_err(|error| {
        problem(&format!("the host name cannot be resolved ({error}); check it, or give an IP address"))
    })?;
    let found: Vec<SocketAddr> = found.collect();
    found
        .iter()
        .find(|addr| addr.is_ipv4())
        .or_else(|| found.first())
        .copied()
        .ok_or_else(|| problem("the host name has no address; check it, or give an IP address"))
}

pub(super) fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (host, after) = inner.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(port))),
        Some(_) => text.parse::<IpAddr>().is_ok().then_some((text, None)),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // upstream: TestConfigBindAddrParts
    #[test]
    fn reads_every_form() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1:7946"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("10.0.0.1:0", "10.0.0.1:0"),
            ("::1", "[::1]:7946"),
            ("[::1]", "[::1]:7946"),
            ("[::1]:80", "[::1]:80"),
            (":80", "0.0.0.0:80"),
            ("0.0.0.0", "0.0.0.0:7946"),
        ] {
            assert_eq!(parse("bind", text, 7946).unwrap(), expected.parse().unwrap(), "{text}");
        }
    }

    #[test]
    fn names_the_option_and_the_value() {
        for text in ["10.0.0.1:", "10.0.0.1:x", "10.0.0.1:65536", "10.0.0.1:+1", "[::1", "[::1]x", "a:b:c"] {
            let error = parse("bind", text, 7946).unwrap_err().to_string();
            assert!(error.starts_with(&format!("bind {text:?}: ")), "{error}");
        }
    }
}
