//! This host's names, as Java's `InetAddress.getLocalHost` has them: the host name, the address it resolves to (IPv4
//! first), and the name which that address resolves to, if the name has the address in turn; else the address.

use std::net::IpAddr;

/// What `%[localhost]`, `%[IP]` and `%[FQDN]` stand for.
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
    /// Asks the system. May wait for a resolver. The error names what did not resolve.
    pub fn look_up() -> Result<Self, String> {
        let local = dns_lookup::get_hostname().map_err(|error| format!("host name: {error}"))?;
        let failed = |why: String| format!("this host's name {local} does not resolve: {why}");
        let addresses: Vec<IpAddr> =
            dns_lookup::lookup_host(&local).map_err(|error| failed(error.to_string()))?.collect();
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = *address.ok_or_else(|| failed("it has no address".into()))?;
        let canonical = canonical_name(address).unwrap_or_else(|| java_text(address));
        Ok(Self { local, address: java_text(address), canonical })
    }
}

fn canonical_name(address: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    dns_lookup::lookup_host(&name).ok()?.any(|other| other == address).then_some(name)
}

/// An address as Java writes it: IPv6 with all its eight groups.
fn java_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join(":"),
    }
}
