//! Where events are posted to.

use hyper::Uri;

/// A parsed `endpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub tls: bool,
    /// A name or an address; IPv6 without its brackets.
    pub host: String,
    pub port: u16,
    /// What the `Host` header says.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Endpoint {
    /// From a URL. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        let (tls, usual_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(format!("`{text}` is not a URL that begins with http:// or https://")),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| format!("`{text}` names no host"))?;
        let written = uri.authority().and_then(|authority| authority.as_str().rsplit_once(host));
        let port = match (uri.port_u16(), written) {
            (Some(port), _) => port,
            (None, Some((_, rest))) if rest.len() > 1 => {
                return Err(format!("`{text}`: `{rest}` is no port"));
            }
            (None, _) => usual_port,
        };
        let authority = if port == usual_port { host.to_string() } else { format!("{host}:{port}") };
        let path = match uri.path_and_query().map(|path| path.as_str()) {
            None | Some("") => "/".to_string(),
            Some(query) if query.starts_with('?') => format!("/{query}"),
            Some(path) => path.to_string(),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        Ok(Self { tls, host, port, authority, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let parse = |text| Endpoint::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let plain = parse("http://web.example.org:8080/in?x=1&y=2");
        assert_eq!((plain.tls, plain.host.as_str(), plain.port), (false, "web.example.org", 8080));
        assert_eq!((plain.authority.as_str(), plain.path.as_str()), ("web.example.org:8080", "/in?x=1&y=2"));
        let secure = parse("https://u:p@[::1]");
        assert_eq!((secure.tls, secure.host.as_str(), secure.port), (true, "::1", 443));
        assert_eq!((secure.authority.as_str(), secure.path.as_str()), ("[::1]", "/"));
        assert_eq!(parse("http://h?x").path, "/?x");
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for text in
            ["", "web.example.org", "ftp://h/", "http://", "http:///x", "http://h:port/", "http://a b/"]
        {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
