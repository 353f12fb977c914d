//! Addresses that the keys of Flume's RPC client name: `hosts = h1 h2`, `hosts.h1 = host:port`.

use flumen_api::settings::{ComponentConfig, Problems};

/// The name that the sink's own `hostname` and `port` have among the hosts, as in Flume.
pub(crate) const OWN: &str = "h1";

/// The address under `hosts.<name>`; `None` after an error.
pub(crate) fn address(
    name: &str,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<(String, u16)> {
    let key = format!("hosts.{name}");
    let text = config.get(&key).unwrap_or_default();
    let parts = text.rsplit_once(':');
    let found = parts.and_then(|(host, port)| Some((host.trim().to_string(), port.trim().parse().ok()?)));
    if found.is_none() {
        problems.error(config, &key, format!("`{text}`: host:port is wanted"));
    }
    found
}

/// Whether there is a `hosts.<name>`.
pub(crate) fn is_given(name: &str, config: &ComponentConfig) -> bool {
    config.get(&format!("hosts.{name}")).is_some()
}

/// The only host that a client without a choice uses: the first one of `names`, or the sink's own.
pub(crate) fn first(
    names: &[String],
    own: (String, u16),
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<(String, u16)> {
    let name = names.first().map_or(OWN, String::as_str);
    if name == OWN && !is_given(OWN, config) {
        return Some(own);
    }
    let (host, port) = address(name, config, problems)?;
    let message =
        format!("{host}:{port} is used in place of `hostname` and `port`, as in Flume; of several the first");
    problems.warn(config, "hosts", message);
    Some((host, port))
}
