//! Which protocols and cipher suites are offered: what is spoken here, narrowed by Java's names.
//!
//! ```text
//!   offered = (include list, if there is one, else all) ∩ spoken here − exclude list
//! ```
//!
//! Lists are written for Java, which speaks more: a name that means nothing here excludes nothing. A list that leaves
//! nothing is an error, for the user asked for something that cannot be had.

use flumen_api::settings::{ComponentConfig, Problems, Words};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use crate::defaults::{EXCLUDE_PROTOCOLS, EXCLUDE_SUITES, INCLUDE_PROTOCOLS, INCLUDE_SUITES};

/// What a TLS end offers.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub versions: Vec<&'static SupportedProtocolVersion>,
    suites: Vec<SupportedCipherSuite>,
}

/// The four list keys of a component; `None` is an absent one.
pub(crate) struct Lists<'a> {
    pub include_protocols: &'a Option<Words>,
    pub exclude_protocols: &'a Option<Words>,
    pub include_suites: &'a Option<Words>,
    pub exclude_suites: &'a Option<Words>,
}

const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("TLSv1.3", &version::TLS13), ("TLSv1.2", &version::TLS12)];

impl Offer {
    /// What the component's lists, or the process's in their place, leave. Problems are reported by key.
    pub fn load(lists: &Lists<'_>, config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let words = |own: &Option<Words>, of_process: crate::defaults::Default| match own {
            Some(words) => words.0.clone(),
            None => of_process.words(&config.process),
        };
        let include = words(lists.include_protocols, INCLUDE_PROTOCOLS);
        let exclude = words(lists.exclude_protocols, EXCLUDE_PROTOCOLS);
        let versions: Vec<_> = VERSIONS
            .iter()
            .filter(|(name, _)| is_left(name, &include, &exclude))
            .map(|(_, version)| *version)
            .collect();
        if versions.is_empty() {
            let message = "no protocol is left: spoken here are TLSv1.2 and TLSv1.3";
            problems.error(config, blamed(&include, "include-protocols", "exclude-protocols"), message);
        }
        let include = words(lists.include_suites, INCLUDE_SUITES);
        let exclude = words(lists.exclude_suites, EXCLUDE_SUITES);
        let suites: Vec<_> = ring::default_provider()
            .cipher_suites
            .into_iter()
            .filter(|suite| is_left(&java_name(*suite), &include, &exclude))
            .filter(|suite| versions.contains(&suite.version()))
            .collect();
        if suites.is_empty() && !versions.is_empty() {
            let spoken: Vec<String> =
                ring::default_provider().cipher_suites.into_iter().map(java_name).collect();
            let message = format!("no cipher suite is left; spoken here are {}", spoken.join(", "));
            problems.error(
                config,
                blamed(&include, "include-cipher-suites", "exclude-cipher-suites"),
                message,
            );
        }
        // A version without a suite would be refused as a whole.
        let versions: Vec<_> = versions
            .into_iter()
            .filter(|version| suites.iter().any(|suite| suite.version() == *version))
            .collect();
        (!versions.is_empty()).then_some(Self { versions, suites })
    }

    /// The algorithms to build a TLS end with.
    pub fn provider(&self) -> CryptoProvider {
        CryptoProvider { cipher_suites: self.suites.clone(), ..ring::default_provider() }
    }
}

fn is_left(name: &str, include: &[String], exclude: &[String]) -> bool {
    (include.is_empty() || include.iter().any(|one| one == name)) && !exclude.iter().any(|one| one == name)
}

/// The key that left nothing.
fn blamed(include: &[String], include_key: &'static str, exclude_key: &'static str) -> &'static str {
    if include.is_empty() { exclude_key } else { include_key }
}

/// The suite's registered name, which Java uses too; rustls calls those of TLS 1.3 `TLS13_…`.
fn java_name(suite: SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn offer(pairs: &[(&str, &str)]) -> Result<(usize, Vec<String>), String> {
        let config = ComponentConfig::of(Kind::Source, "r1", pairs);
        let words = |key: &str| {
            config.get(key).map(|text| Words(text.split_whitespace().map(str::to_string).collect()))
        };
        let lists = Lists {
            include_protocols: &words("include-protocols"),
            exclude_protocols: &words("exclude-protocols"),
            include_suites: &words("include-cipher-suites"),
            exclude_suites: &words("exclude-cipher-suites"),
        };
        let mut problems = Problems::default();
        let offer = Offer::load(&lists, &config, &mut problems);
        match offer {
            Some(offer) => Ok((offer.versions.len(), offer.suites.into_iter().map(java_name).collect())),
            None => Err(problems.0[0].to_string()),
        }
    }

    #[test]
    fn lists_of_javas_names_narrow_what_is_offered() {
        assert_eq!(offer(&[]).unwrap().0, 2);
        assert_eq!(offer(&[("exclude-protocols", "SSLv3 TLSv1 TLSv1.2")]).unwrap().0, 1);
        let (versions, suites) = offer(&[("include-protocols", "TLSv1.2 TLSv1")]).unwrap();
        assert_eq!(versions, 1);
        assert!(suites.contains(&"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_string()), "{suites:?}");
        let only = "TLS_AES_256_GCM_SHA384";
        assert_eq!(offer(&[("include-cipher-suites", only)]).unwrap(), (1, vec![only.to_string()]));
        let (_, suites) = offer(&[("exclude-cipher-suites", only)]).unwrap();
        assert!(!suites.contains(&only.to_string()) && suites.len() > 2, "{suites:?}");
    }

    #[test]
    fn lists_that_leave_nothing_are_an_error_at_their_key() {
        for (key, value) in [
            ("include-protocols", "TLSv1 SSLv3"),
            ("exclude-protocols", "TLSv1.2 TLSv1.3"),
            ("include-cipher-suites", "SSL_RSA_WITH_RC4_128_MD5"),
        ] {
            let error = offer(&[(key, value)]).unwrap_err();
            assert!(error.contains(key) && error.contains("spoken here"), "{error}");
        }
        let error =
            offer(&[("include-protocols", "TLSv1.2"), ("include-cipher-suites", "TLS_AES_128_GCM_SHA256")]);
        assert!(error.unwrap_err().contains("include-cipher-suites"));
    }
}
