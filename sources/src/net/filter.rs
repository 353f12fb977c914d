//! Who may connect: rules such as `allow:ip:10.*,deny:name:*.example.org,deny:ip:*`.
//!
//! ```text
//!   allow|deny : ip|name : pattern      the first rule that fits decides; where none does, the client may
//! ```
//!
//! In a pattern `*` is any text and `?` any character; it has to fit all of the address, as Java writes it, or of the
//! host's name. What else it holds is part of a regular expression, as in Flume. `name:localhost` is this very machine.

use std::net::SocketAddr;
use std::sync::Arc;

use flumen_java::JavaRegex;
use flumen_java::host::address_text;

use super::names::Names;

/// The rules of a source.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    rules: Arc<[Rule]>,
    names: Arc<Names>,
}

#[derive(Debug)]
struct Rule {
    allows: bool,
    what: What,
}

#[derive(Debug)]
enum What {
    Ip(JavaRegex),
    Name(JavaRegex),
    ThisMachine,
}

impl Filter {
    /// From the rules' texts; the error says which is none.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let rules: Vec<Rule> = texts.iter().map(|text| rule(text)).collect::<Result<_, _>>()?;
        Ok(Self { rules: rules.into(), names: Arc::new(Names::new()) })
    }

    /// Whether this client may connect.
    pub async fn admits(&self, peer: SocketAddr, local: SocketAddr) -> bool {
        let address = peer.ip().to_canonical();
        let ip = address_text(address);
        let mut name = None;
        for Rule { allows, what } in self.rules.iter() {
            let fits = match what {
                What::ThisMachine => address.is_loopback() || address == local.ip().to_canonical(),
                What::Ip(pattern) => matches(pattern, &ip),
                What::Name(pattern) => {
                    if name.is_none() {
                        name = Some(self.names.of(address).await);
                    }
                    matches(pattern, name.as_deref().unwrap_or_default())
                }
            };
            if fits {
                return *allows;
            }
        }
        true
    }
}

/// A pattern that takes too long fits nobody: such a rule neither lets in nor keeps out.
fn matches(pattern: &JavaRegex, text: &str) -> bool {
    pattern.is_match(text) == Ok(true)
}

impl What {
    fn pattern(text: &str) -> Result<JavaRegex, String> {
        JavaRegex::whole(&text.replace('.', "\\.").replace('*', ".*").replace('?', "."))
    }
}

fn rule(text: &str) -> Result<Rule, String> {
    let shape = || {
        format!("`{text}` is no rule: write allow or deny, ip or name, and a pattern, as in allow:ip:10.*")
    };
    let (access, rest) = text.split_once(':').ok_or_else(shape)?;
    let (kind, pattern) = rest.split_once(':').ok_or_else(shape)?;
    let allows = match access {
        "allow" => true,
        "deny" => false,
        _ => return Err(shape()),
    };
    let pattern = pattern.trim();
    let what = match kind {
        "name" if pattern == "localhost" => What::ThisMachine,
        "name" => What::Name(What::pattern(pattern)?),
        "ip" => What::Ip(What::pattern(pattern)?),
        _ => return Err(shape()),
    };
    Ok(Rule { allows, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn admits(rules: &str, peer: &str) -> bool {
        let rules: Vec<String> = rules.split(',').map(str::to_string).collect();
        let local = "192.0.2.9:41414".parse().unwrap();
        Filter::parse(&rules).unwrap().admits(peer.parse().unwrap(), local).await
    }

    #[tokio::test]
    async fn the_first_rule_that_fits_decides_and_without_one_a_client_may() {
        for (rules, peer, expected) in [
            ("allow:ip:127.*,deny:ip:*", "127.0.0.1:9", true),
            ("allow:ip:10.*,deny:ip:*", "127.0.0.1:9", false),
            ("deny:ip:127.0.0.2,allow:ip:*,deny:ip:127.0.0.1", "127.0.0.1:9", true),
            ("deny:ip:10.1.*", "10.10.0.1:9", true),
            ("deny:ip:10.?.0.1", "10.2.0.1:9", false),
            ("deny:ip:10.?.0.1", "10.20.0.1:9", true),
            ("deny:ip:192.0.2.1", "[::ffff:192.0.2.1]:9", false),
            ("deny:ip:2001:db8:*", "[2001:db8::1]:9", false),
            ("allow:name:localhost,deny:ip:*", "127.0.0.1:9", true),
            ("allow:name:localhost,deny:ip:*", "192.0.2.9:9", true),
            ("allow:name:localhost,deny:ip:*", "192.0.2.8:9", false),
            ("deny:name:*", "127.0.0.1:9", false),
        ] {
            assert_eq!(admits(rules, peer).await, expected, "{rules} for {peer}");
        }
    }

    #[test]
    fn what_is_no_rule_is_said() {
        for text in ["homer:ip:45.4.23.1", "allow:sleeps:45.4.23.1", "allow", "allow:ip"] {
            let error = Filter::parse(&[text.to_string()]).unwrap_err();
            assert!(error.contains(text) && error.contains("allow:ip:10.*"), "{error}");
        }
    }
}
