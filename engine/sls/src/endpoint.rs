//! Where the service is: `cn-hangzhou.log.aliyuncs.com`, `https://…`, or an address with a port.
//!
//! ```text
//!   endpoint                        connects to                          Host
//!   cn-x.log.aliyuncs.com           project.cn-x.log.aliyuncs.com:80     project.cn-x.log.aliyuncs.com
//!   https://cn-x.log.aliyuncs.com   project.cn-x.log.aliyuncs.com:443    project.cn-x.log.aliyuncs.com
//!   http://10.0.0.7:8080            10.0.0.7:8080                        project.10.0.0.7:8080
//! ```
//!
//! Without a scheme it is plain HTTP, as Aliyun's own clients take it: requests are signed, but logs can be read on their way.

use std::net::IpAddr;

/// A parsed endpoint with its project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// What is connected to; IPv6 without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What the header `Host` says.
    pub authority: String,
}

impl Endpoint {
    /// From the endpoint's text and the project. The error says what is wrong with the text.
    pub fn parse(text: &str, project: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is no endpoint: {why}");
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, _)) => return Err(wrong(&format!("{scheme} is neither http nor https"))),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let usual = if tls { 443 } else { 80 };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("`]` is missing"))?;
                (host, rest.strip_prefix(':'))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port {
            None => usual,
            Some(port) => port.parse().map_err(|_not| wrong(&format!("`{port}` is no port")))?,
        };
        let address = host.parse::<IpAddr>().ok();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if address.is_none() && (host.is_empty() || !host.bytes().all(is_name)) {
            return Err(wrong("a host name is expected, such as cn-hangzhou.log.aliyuncs.com"));
        }
        let named = match address {
            Some(IpAddr::V6(address)) => format!("{project}.[{address}]"),
            _ => format!("{project}.{host}"),
        };
        let authority = if port == usual { named.clone() } else { format!("{named}:{port}") };
        // A project is no part of an address: an emulator or a tunnel is asked under its own.
        let host = if address.is_some() { host.to_string() } else { named };
        Ok(Self { tls, host, port, authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_taken_apart() {
        let parse = |text| Endpoint::parse(text, "p").unwrap_or_else(|why| panic!("{why}"));
        let plain = parse("cn-x.log.aliyuncs.com");
        assert_eq!((plain.tls, plain.host.as_str(), plain.port), (false, "p.cn-x.log.aliyuncs.com", 80));
        assert_eq!(plain.authority, "p.cn-x.log.aliyuncs.com");
        let secure = parse("https://cn-x.log.aliyuncs.com/");
        assert_eq!((secure.tls, secure.port), (true, 443));
        assert_eq!(secure.authority, "p.cn-x.log.aliyuncs.com");
        let address = parse("http://127.0.0.1:8080");
        assert_eq!((address.host.as_str(), address.port), ("127.0.0.1", 8080));
        assert_eq!(address.authority, "p.127.0.0.1:8080");
        assert_eq!(parse("http://[::1]:80").host, "::1");
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in ["", "ftp://h", "http://", "h:port", "h/path", "a b", "http://[::1", "h:99999"] {
            assert!(Endpoint::parse(text, "p").is_err(), "{text}");
        }
    }
}
