//! `host`: a header with this machine's address or name.
//!
//! The address is what the host name resolves to, IPv4 first, as Java's `InetAddress.getLocalHost` has it; the name is
//! what that address resolves to, or the address where it resolves to nothing. Both are asked for with the first batch,
//! not when the configuration is read. Where the host name does not resolve, events go without the header, as in Flume,
//! but it is asked for again after a while: an agent may start before its network does.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use flumen_api::batch::Batch;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, settings};

use super::shared::Memo;

/// How long a host name that did not resolve is not asked for again. A resolver that does not answer holds up the source
/// for as long as it takes to give up.
const RETRY: Duration = Duration::from_secs(60);

settings! {
    /// Keys of the host interceptor.
    pub struct HostSettings {
        /// The address; with `false`, the canonical host name.
        pub use_ip: bool = key("useIP") { default: Some("true") },
        /// Name of the header.
        pub host_header: String = key("hostHeader") { default: Some("host") },
        /// An event that has the header keeps it as it is.
        pub preserve_existing: bool = key("preserveExisting") { default: Some("false") },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "host",
    class_names: &["org.apache.flume.interceptor.HostInterceptor$Builder"],
    keys: HostSettings::KEYS,
    doc: "Adds the address or the name of the host that the agent runs on as a header. Events go without it while the \
          host's name does not resolve.",
    factory: Factory::Interceptor(build),
};

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn Interceptor>> {
    let settings = HostSettings::load(config, problems)?;
    Some(Box::new(Host { settings, resolve: resolve_local, host: Err(None), memo: Memo::default() }))
}

/// This host's address, or with `false` its name.
type Resolve = fn(bool) -> Result<String, String>;

struct Host {
    settings: HostSettings,
    resolve: Resolve,
    /// The header's value, or when it could not be found out.
    host: Result<String, Option<Instant>>,
    memo: Memo,
}

impl Interceptor for Host {
    fn intercept(&mut self, batch: &mut Batch) {
        let HostSettings { use_ip, host_header, preserve_existing } = &self.settings;
        if let Err(failed) = self.host
            && failed.is_none_or(|at| at.elapsed() >= RETRY)
        {
            self.host = (self.resolve)(*use_ip).map_err(|error| {
                tracing::warn!(
                    header = %host_header,
                    %error,
                    "no host header: this host's name does not resolve; it is tried again in {RETRY:?}"
                );
                Some(Instant::now())
            });
        }
        if let Ok(host) = &self.host {
            self.memo.set_all(batch, host_header, host, *preserve_existing);
        }
    }
}

fn resolve_local(use_ip: bool) -> Result<String, String> {
    let name = dns_lookup::get_hostname().map_err(|error| format!("host name: {error}"))?;
    let addresses: Vec<IpAddr> =
        dns_lookup::lookup_host(&name).map_err(|error| format!("{name}: {error}"))?.collect();
    let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address = *address.ok_or_else(|| format!("{name}: no address"))?;
    match use_ip {
        true => Ok(java_text(address)),
        false => Ok(canonical_name(address).unwrap_or_else(|| java_text(address))),
    }
}

/// The name of `address`, if the name has this address: a reverse record alone may say anything.
fn canonical_name(address: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    dns_lookup::lookup_host(&name).ok()?.any(|other| other == address).then_some(name)
}

/// An address as Java writes it: IPv6 with all its eight groups.
fn java_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => java_ipv6(address),
    }
}

fn java_ipv6(address: Ipv6Addr) -> String {
    address.segments().map(|group| format!("{group:x}")).join(":")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use flumen_api::settings::Kind;

    use super::*;

    thread_local! {
        static ASKED: Cell<u32> = const { Cell::new(0) };
    }

    fn host(pairs: &[(&str, &str)], resolve: Resolve) -> Host {
        let config = ComponentConfig::of(Kind::Interceptor, "i1", pairs);
        let settings = HostSettings::load(&config, &mut Problems::default()).expect("settings");
        Host { settings, resolve, host: Err(None), memo: Memo::default() }
    }

    fn through(host: &mut Host) -> String {
        let mut batch = Batch::new();
        batch.push(b"x");
        host.intercept(&mut batch);
        batch.event(0).headers.to_string()
    }

    fn told(use_ip: bool) -> Result<String, String> {
        ASKED.set(ASKED.get() + 1);
        Ok(if use_ip { "10.0.0.1" } else { "h1.example.com" }.into())
    }

    #[test]
    fn the_address_or_the_name_is_set_under_the_header_asked_for() {
        assert_eq!(through(&mut host(&[], told)), "{host=10.0.0.1}");
        let mut named = host(&[("useIP", "false"), ("hostHeader", "hostname")], told);
        assert_eq!(through(&mut named), "{hostname=h1.example.com}");
    }

    #[test]
    fn the_resolver_is_asked_once() {
        let mut host = host(&[], told);
        ASKED.set(0);
        for _ in 0..3 {
            through(&mut host);
        }
        assert_eq!(ASKED.get(), 1);
    }

    #[test]
    fn events_go_without_the_header_while_the_name_does_not_resolve_and_it_is_asked_for_again_later() {
        let mut host = host(&[], |_| {
            ASKED.set(ASKED.get() + 1);
            Err("told to".into())
        });
        ASKED.set(0);
        assert_eq!((through(&mut host), through(&mut host)), ("{}".into(), "{}".into()));
        assert_eq!(ASKED.get(), 1, "not asked again with each batch");
        host.host = Err(Instant::now().checked_sub(RETRY));
        host.resolve = told;
        assert_eq!(through(&mut host), "{host=10.0.0.1}");
    }

    #[test]
    fn an_ipv6_address_is_written_as_java_writes_it() {
        assert_eq!(java_text("2001:db8::1".parse().expect("an address")), "2001:db8:0:0:0:0:0:1");
        assert_eq!(java_text("127.0.0.1".parse().expect("an address")), "127.0.0.1");
    }
}
