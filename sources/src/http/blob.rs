//! A request whose body is one event, and whose parameters are its headers.
//!
//! ```text
//!   POST /?app=shop&zone=eu        BLOBHandler   headers app, zone
//!   Content-Type: image/png        BlobHandler   headers Content-Type, app, zone; a body above maxBlobLength is several events
//! ```
//!
//! Of a parameter that occurs twice the first value counts.

use std::borrow::Cow;

use flumen_api::{Batch, Headers};

/// The parameters of a query, decoded.
pub(super) fn parameters(query: &str) -> Headers {
    let mut headers = Headers::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name);
        if headers.get(&name).is_none() {
            headers.set(name, decoded(value));
        }
    }
    headers
}

/// `+` is a blank, `%C3%A9` is UTF-8; a `%` that begins nothing stays.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [] => return String::from_utf8_lossy(&bytes).into_owned().into(),
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            [byte, after @ ..] => {
                bytes.push(if *byte == b'+' { b' ' } else { *byte });
                rest = after;
            }
        }
    }
}

/// The body in pieces of at most `longest` bytes; one without bytes is one event too.
pub(super) fn events(headers: Headers, body: bytes::Bytes, longest: usize) -> Batch {
    let length = body.len();
    let mut batch = Batch::over(body);
    batch.set_common_headers(headers.into());
    if length == 0 {
        batch.push_slice(0, 0);
    }
    for start in (0..length).step_by(longest) {
        batch.push_slice(start, longest.min(length - start));
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_the_first_value_counts() {
        let headers = parameters("a=1&b=x+y%C3%A9&&a=2&c&d=100%&e=%4&%66=");
        assert_eq!(headers.to_string(), "{a=1, b=x yé, c=, d=100%, e=%4, f=}");
        assert!(parameters("").is_empty());
    }

    #[test]
    fn a_body_is_an_event_or_several() {
        let bodies = |body: &'static str, longest| {
            let batch = events(Headers::new(), body.into(), longest);
            let bodies: Vec<_> =
                batch.iter().map(|event| String::from_utf8(event.body.to_vec()).unwrap()).collect();
            bodies
        };
        assert_eq!(bodies("hello", 5), ["hello"]);
        assert_eq!(bodies("hello!", 5), ["hello", "!"]);
        assert_eq!(bodies("", 5), [""]);
    }
}
