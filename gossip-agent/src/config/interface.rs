//! `interface` (`--iface`): the address to bind to, by the name of its network interface (serf.md 9.2).

use core::net::{IpAddr, SocketAddr};

use super::Problem;

/// The address to bind to: of a wildcard the interface's first that is more than link-local; another one must be the
/// interface's.
pub(crate) fn bind(name: &str, bind: SocketAddr) -> Result<SocketAddr, Problem> {
    let option = format!("interface (--iface) {name:?}");
    let interfaces = if_addrs::get_if_addrs()
        .map_err(|error| Problem::new(format!("{option}: cannot be read: {error}")))?;
    let addresses: Vec<IpAddr> =
        interfaces.iter().filter(|interface| interface.name == name).map(if_addrs::Interface::ip).collect();
    if addresses.is_empty() {
        let mut names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        names.dedup();
        return Err(Problem::new(format!(
            "{option}: no interface of that name has an address; give one of {}",
            names.join(", ")
        )));
    }
    choose(&addresses, bind).map_err(|why| Problem::new(format!("{option}: {why}")))
}

fn choose(addresses: &[IpAddr], bind: SocketAddr) -> Result<SocketAddr, String> {
    let list = || addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !bind.ip().is_unspecified() {
        return match addresses.contains(&bind.ip()) {
            true => Ok(bind),
            false => Err(format!("it has not the address {} of bind (--bind), but {}", bind.ip(), list())),
        };
    }
    let chosen = addresses.iter().find(|ip| !is_link_local(ip) && (bind.is_ipv6() || ip.is_ipv4()));
    let chosen = chosen.ok_or_else(|| format!("it has no address that others can use, only {}", list()))?;
    Ok(SocketAddr::new(*chosen, bind.port()))
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_useful_address_is_taken() {
        let addresses =
            ["169.254.1.1", "fe80::1", "10.0.0.5", "fd00::5", "10.0.0.6"].map(|ip| ip.parse().unwrap());
        let choose = |bind: &str| choose(&addresses, bind.parse().unwrap());
        assert_eq!(choose("0.0.0.0:7000"), Ok("10.0.0.5:7000".parse().unwrap()));
        assert_eq!(choose("[::]:7000"), Ok("10.0.0.5:7000".parse().unwrap()));
        assert_eq!(choose("10.0.0.6:7000"), Ok("10.0.0.6:7000".parse().unwrap()));
        assert!(choose("10.0.0.7:7000").unwrap_err().contains("10.0.0.7"));
        let only = ["fe80::1".parse().unwrap()];
        assert!(super::choose(&only, "0.0.0.0:1".parse().unwrap()).unwrap_err().contains("fe80::1"));
    }

    #[test]
    fn an_interface_must_exist() {
        let error = bind("no-such-0", "0.0.0.0:7946".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("\"no-such-0\"") && error.contains("lo"), "{error}");
        assert_eq!(bind("lo", "0.0.0.0:1".parse().unwrap()).unwrap(), "127.0.0.1:1".parse().unwrap());
    }
}
