//! Whom the sink's keys name, and how to talk to it; `avro-client` reads the same keys from its own files.
//!
//! | `client.type` | who gets the events |
//! | --- | --- |
//! | `DEFAULT` | `hostname` and `port`, or the first of `hosts` |
//! | `DEFAULT_FAILOVER` | one of `hosts`, as long as it works |
//! | `DEFAULT_LOADBALANCE` | all of `hosts` in turns |

use std::time::Duration;

use flumen_api::order::{BackOff, REST_MAX_DEFAULT, Random, RoundRobin};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_avro_rpc::connect::{Connector, Target};
use flumen_tls::{ClientTls, TlsError};

use super::choice::{Choice, Failover};
use super::settings::AvroSinkSettings;
use crate::hosts;

/// Calls for the same events beyond which nothing is gained, whatever `max-attempts` says.
const ATTEMPTS_MAX: usize = 1000;

/// A destination as its keys say.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The keys.
    pub settings: AvroSinkSettings,
    tls: ClientTls,
    hosts: Vec<(String, u16)>,
    client: Client,
}

/// Flume's clients that speak Avro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    One,
    Failover,
    Balance { is_random: bool },
}

impl Destination {
    /// Reads the keys; touches nothing outside.
    pub fn load(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = AvroSinkSettings::load(config, problems);
        let tls = ClientTls::load(config, problems);
        let (settings, tls) = (settings?, tls?);
        let client = client(&settings).map_err(|(key, why)| problems.error(config, key, why)).ok()?;
        let hosts = match client {
            Client::One => {
                let own = (settings.hostname.clone(), settings.port);
                vec![hosts::first(&settings.hosts.0, own, config, problems)?]
            }
            Client::Failover | Client::Balance { .. } => several(&settings, client, config, problems)?,
        };
        Some(Self { settings, tls, hosts, client })
    }

    /// Their addresses.
    #[cfg(test)]
    pub(super) fn hosts(&self) -> &[(String, u16)] {
        &self.hosts
    }

    /// What makes connections, of each host; reads the files of TLS.
    pub async fn connectors(&self) -> Result<Vec<Connector>, TlsError> {
        let AvroSinkSettings { connect_timeout, request_timeout, .. } = &self.settings;
        let is_deflated = self.settings.compression_type.eq_ignore_ascii_case("deflate");
        let tls = self.tls.connector().await?;
        let connector = |(host, port): &(String, u16)| {
            Connector::new(Target {
                host: host.clone(),
                port: *port,
                tls: tls.clone(),
                deflate: is_deflated.then_some(self.settings.compression_level),
                connect_timeout: Duration::from_millis(*connect_timeout),
                request_timeout: Duration::from_millis(*request_timeout),
            })
        };
        Ok(self.hosts.iter().map(connector).collect())
    }

    /// How one of them is chosen.
    pub(super) fn choice(&self) -> Choice {
        let hosts = self.hosts.len();
        let rest_max = match self.settings.max_backoff {
            0 => REST_MAX_DEFAULT,
            millis => Duration::from_millis(millis),
        };
        let back_off = BackOff::new(hosts, self.settings.backoff, rest_max);
        match self.client {
            Client::One => Choice::Failover(Failover::new(hosts, 1)),
            Client::Failover => {
                let calls = Some(self.settings.max_attempts).filter(|calls| *calls > 0).unwrap_or(hosts);
                Choice::Failover(Failover::new(hosts, calls.min(ATTEMPTS_MAX)))
            }
            Client::Balance { is_random: false } => Choice::Balance(Box::new(RoundRobin::new(back_off))),
            Client::Balance { is_random: true } => Choice::Balance(Box::new(Random::new(back_off))),
        }
    }
}

/// The client that `client.type` names, or the key that is wrong and why.
fn client(settings: &AvroSinkSettings) -> Result<Client, (&'static str, String)> {
    let name = settings.client_type.as_str();
    let is = |word: &str, class: &str| name.eq_ignore_ascii_case(word) || name == class;
    if is("DEFAULT", "org.apache.flume.api.NettyAvroRpcClient") {
        return Ok(Client::One);
    }
    if is("DEFAULT_FAILOVER", "org.apache.flume.api.FailoverRpcClient") {
        return Ok(Client::Failover);
    }
    if is("DEFAULT_LOADBALANCE", "org.apache.flume.api.LoadBalancingRpcClient") {
        return match settings.host_selector.to_ascii_uppercase().as_str() {
            "ROUND_ROBIN" => Ok(Client::Balance { is_random: false }),
            "RANDOM" => Ok(Client::Balance { is_random: true }),
            other => {
                let why = format!("there is no host selector `{other}` here: ROUND_ROBIN or RANDOM");
                Err(("host-selector", why))
            }
        };
    }
    let why = match is("THRIFT", "org.apache.flume.api.ThriftRpcClient") {
        true => "this speaks Avro: the sink type that speaks Thrift is `thrift`".into(),
        false => {
            format!("there is no client `{name}` here: DEFAULT, DEFAULT_FAILOVER or DEFAULT_LOADBALANCE")
        }
    };
    Err(("client.type", why))
}

/// The hosts of a client that has several. As in Flume a name without an address is left out, and `hostname` and `port` count
/// only where no names are given.
fn several(
    settings: &AvroSinkSettings,
    client: Client,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<Vec<(String, u16)>> {
    let mut found = Vec::new();
    let own = [hosts::OWN.to_string()];
    let names = if settings.hosts.0.is_empty() { &own[..] } else { &settings.hosts.0[..] };
    for name in names {
        if hosts::is_given(name, config) {
            found.push(hosts::address(name, config, problems)?);
        } else if name == hosts::OWN {
            found.push((settings.hostname.clone(), settings.port));
        } else {
            problems.warn(config, "hosts", format!("`{name}` is left out: there is no `hosts.{name}`"));
        }
    }
    let least = if client == Client::Failover { 1 } else { 2 };
    if found.len() < least {
        let message = format!("{} needs at least {least} with their addresses", settings.client_type);
        problems.error(config, "hosts", message);
        return None;
    }
    Some(found)
}
