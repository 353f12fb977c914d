//! Hosts' addresses and names, as Java's `InetAddress` has them.
//!
//! This host's address is what its host name resolves to, IPv4 first (`getLocalHost`). An address has a name only if the
//! name has the address in turn (`getCanonicalHostName`): who owns an address may give it any name. Each function that asks
//! the system may wait for a resolver, for as long as that takes to give up.

use std::net::IpAddr;

/// What this host is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames {
    /// The host name.
    pub local: String,
    /// Its address.
    pub address: String,
    /// Its full name.
    pub canonical: String,
}

impl HostNames {
    /// Asks the system. The error names what did not resolve.
    pub fn look_up() -> Result<Self, String> {
        let (local, address) = local_host()?;
        Ok(Self { local, address: address_text(address), canonical: canonical_text(address) })
    }
}

/// This host's name, and the address that it resolves to. The error names what did not resolve.
pub fn local_host() -> Result<(String, IpAddr), String> {
    let local = dns_lookup::get_hostname().map_err(|error| format!("host name: {error}"))?;
    let failed = |why: String| format!("this host's name {local} does not resolve: {why}");
    let addresses: Vec<IpAddr> =
        dns_lookup::lookup_host(&local).map_err(|error| failed(error.to_string()))?.collect();
    let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address = *address.ok_or_else(|| failed("it has no address".into()))?;
    Ok((local, address))
}

/// The name of an address, if it has one.
pub fn canonical_name(address: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    let mut back = dns_lookup::lookup_host(&name).ok()?;
    back.any(|found| found.to_canonical() == address.to_canonical()).then_some(name)
}

/// The name of an address; the address where it has none.
pub fn canonical_text(address: IpAddr) -> String {
    canonical_name(address).unwrap_or_else(|| address_text(address))
}

/// An address as Java's `getHostAddress` writes it: IPv6 with all of its eight groups.
pub fn address_text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_java_writes_them() {
        for (address, text) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("2001:db8::a", "2001:db8:0:0:0:0:0:a"),
        ] {
            assert_eq!(address_text(address.parse().unwrap()), text);
        }
    }
}
