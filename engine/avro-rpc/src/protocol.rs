//! The protocol that both ends tell each other of at the handshake.
//!
//! A protocol is known by the MD5 of its text. Whoever does not know the other's hash asks for the text, and from then on
//! both read what the other writes by the other's own declaration. All of Flume's protocols declare the same records with
//! other words around them; one that declares other records is refused, for its events would be misread.

use serde_json::Value;

/// What identifies a protocol.
pub type Hash = [u8; 16];

/// The hash of the protocol that Flume's own classes of 1.9 to 1.11 have.
pub const FLUME: Hash =
    [0x86, 0xaa, 0xda, 0xe2, 0xc4, 0x54, 0x74, 0xc0, 0xfe, 0x93, 0xff, 0xd0, 0xf2, 0x35, 0x0a, 0x65];

/// The hash of [`TEXT`].
pub const OURS: Hash =
    [0x30, 0xda, 0x54, 0x05, 0x9d, 0xf7, 0x2d, 0x95, 0x84, 0xb8, 0x67, 0xd5, 0x20, 0x2e, 0x20, 0x69];

/// The same protocol as Flume's, without its comments.
pub const TEXT: &str = include_str!("protocol.json");

/// A pair of the handshake's meta data by which a client of ours asks, and a server of ours says, that calls of one
/// connection are taken in in the order in which they were sent. Flume 1.11 takes them in on 16 threads, in any order, and
/// says nothing.
pub(crate) const ORDERED: &[u8] = b"flumen.ordered";

const STATUS: [&str; 3] = ["OK", "FAILED", "UNKNOWN"];

/// Longest text of a peer's protocol that is read; Flume's has 3 KB. As JSON in memory it takes a multiple of its bytes.
const TEXT_MAX: usize = 64 << 10;

/// Whether the protocol declares calls and events as Flume's does; the error says what is different.
pub(crate) fn check(text: &[u8]) -> Result<(), String> {
    if text.len() > TEXT_MAX {
        return Err(format!("it has {} bytes", text.len()));
    }
    let protocol: Value = serde_json::from_slice(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let types = protocol["types"].as_array().ok_or("it declares no types")?;
    let declared = |wanted: &str| {
        let is = |name: &Value| name.as_str().is_some_and(|name| name.rsplit('.').next() == Some(wanted));
        types.iter().find(|declared| is(&declared["name"])).ok_or_else(|| format!("it declares no {wanted}"))
    };
    let event = declared("AvroFlumeEvent")?;
    let fields = event["fields"].as_array().map_or(&[][..], Vec::as_slice);
    match fields {
        [headers, body]
            if is(&headers["type"]["type"], "map")
                && is(&headers["type"]["values"], "string")
                && is(&body["type"], "bytes") => {}
        _ => return Err("its AvroFlumeEvent is not a map of strings and bytes".into()),
    }
    let symbols = declared("Status")?["symbols"].as_array().map_or(&[][..], Vec::as_slice);
    if symbols.len() < 2 || symbols.iter().zip(STATUS).any(|(symbol, known)| symbol != known) {
        return Err("its Status is not OK, FAILED, UNKNOWN".into());
    }
    for (name, is_batch) in [("append", false), ("appendBatch", true)] {
        let message = &protocol["messages"][name];
        // Old Flumes had one of the two.
        if message.is_null() {
            continue;
        }
        let request = message["request"].as_array().map_or(&[][..], Vec::as_slice);
        let fits = match request {
            [one] if is_batch => {
                is(&one["type"]["type"], "array") && names(&one["type"]["items"], "AvroFlumeEvent")
            }
            [one] => names(&one["type"], "AvroFlumeEvent"),
            _ => false,
        };
        if !fits || !names(&message["response"], "Status") {
            return Err(format!("its message {name} has another request or response"));
        }
    }
    Ok(())
}

/// Whether a type is the primitive `wanted`, written plainly or as `{"type": "string", …}`.
fn is(declared: &Value, wanted: &str) -> bool {
    declared == wanted || declared["type"] == wanted
}

/// Whether a type is a name of `wanted`, with or without its name space.
fn names(declared: &Value, wanted: &str) -> bool {
    declared.as_str().is_some_and(|name| name.rsplit('.').next() == Some(wanted))
}

#[cfg(test)]
mod tests {
    use md5::{Digest, Md5};

    use super::*;

    #[test]
    fn a_text_that_would_fill_the_memory_is_not_read() {
        let text = format!("[{}0]", "0,".repeat(TEXT_MAX));
        assert!(check(text.as_bytes()).unwrap_err().contains("bytes"));
    }

    #[test]
    fn our_own_protocol_is_flumes() {
        assert_eq!(Md5::digest(TEXT)[..], OURS);
        assert_eq!(check(TEXT.as_bytes()), Ok(()));
        let java = TEXT.replace("\"string\"", "{\"type\":\"string\",\"avro.java.string\":\"String\"}");
        assert_eq!(check(java.as_bytes()), Ok(()));
        let named = TEXT.replace("\"items\":\"Avro", "\"items\":\"org.apache.flume.source.avro.Avro");
        assert_eq!(check(named.as_bytes()), Ok(()));
    }

    #[test]
    fn a_protocol_whose_events_would_be_misread_is_refused() {
        for (from, to, why) in [
            ("\"values\":\"string\"", "\"values\":\"bytes\"", "AvroFlumeEvent"),
            ("\"body\",\"type\":\"bytes\"", "\"body\",\"type\":\"long\"", "AvroFlumeEvent"),
            ("\"OK\",\"FAILED\"", "\"FAILED\",\"OK\"", "Status"),
            ("{\"type\":\"array\",\"items\":\"AvroFlumeEvent\"}", "\"AvroFlumeEvent\"", "appendBatch"),
            ("\"name\":\"AvroFlumeEvent\"", "\"name\":\"Other\"", "no AvroFlumeEvent"),
            ("{\"protocol\"", "\"protocol\"", "no JSON"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let error = check(TEXT.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
