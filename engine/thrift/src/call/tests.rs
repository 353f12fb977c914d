use flumen_api::Headers;
use proptest::prelude::*;

use super::*;
use crate::events::written_bytes;

const PROTOCOLS: [Protocol; 2] = [Protocol::Compact, Protocol::Binary];

type Event<'a> = (&'a [(&'a str, &'a str)], &'a [u8]);

fn batch_call(protocol: Protocol, events: &[Event<'_>]) -> Vec<u8> {
    let sets: Vec<Headers> = events.iter().map(|(headers, _)| headers.iter().copied().collect()).collect();
    let events = sets.iter().zip(events).map(|(headers, (_, body))| EventRef { headers, body });
    let mut out = Vec::new();
    put_append_batch(protocol, 7, sets.len(), events, &mut out);
    out
}

/// The message of the only frame.
fn message(frame: &[u8]) -> Bytes {
    let (head, message) = frame.split_first_chunk().unwrap();
    assert_eq!(crate::frame::length(*head, usize::MAX), Ok(message.len()));
    Bytes::copy_from_slice(message)
}

fn read(protocol: Protocol, frame: &[u8]) -> Call {
    read_call(protocol, &message(frame)).unwrap()
}

#[test]
fn calls_are_flumes_to_the_byte() {
    let events: &[Event<'_>] = &[(&[("k", "v")], b"hi"), (&[], b"")];
    assert_eq!(
        batch_call(Protocol::Compact, events),
        b"\0\0\0\x23\x82\x21\x07\x0bappendBatch\x19\x2c\x1b\x01\x88\x01k\x01v\x18\x02hi\0\x1b\0\x18\0\0\0"
    );
    let binary = [
        b"\0\0\0\x4a\x80\x01\0\x01\0\0\0\x0bappendBatch\0\0\0\x07".as_slice(),
        b"\x0f\0\x01\x0c\0\0\0\x02",
        b"\x0d\0\x01\x0b\x0b\0\0\0\x01\0\0\0\x01k\0\0\0\x01v\x0b\0\x02\0\0\0\x02hi\0",
        b"\x0d\0\x01\x0b\x0b\0\0\0\0\x0b\0\x02\0\0\0\0\0",
        b"\0",
    ]
    .concat();
    assert_eq!(batch_call(Protocol::Binary, events)[4..], binary[4..]);
    let mut one = Vec::new();
    put_append(Protocol::Compact, -1, EventRef { headers: &Headers::new(), body: b"x" }, &mut one);
    assert_eq!(one, b"\0\0\0\x16\x82\x21\xff\xff\xff\xff\x0f\x06append\x1c\x1b\0\x18\x01x\0\0");
}

#[test]
fn replies_are_flumes_to_the_byte() {
    let reply = |protocol, answer| {
        let mut out = Vec::new();
        put_reply(protocol, "append", 1, answer, &mut out);
        out
    };
    assert_eq!(
        reply(Protocol::Compact, Answer::Status(Status::Ok)),
        b"\0\0\0\x0e\x82\x41\x01\x06append\x05\0\0\0"
    );
    assert_eq!(
        reply(Protocol::Compact, Answer::Status(Status::Failed)),
        b"\0\0\0\x0e\x82\x41\x01\x06append\x05\0\x02\0"
    );
    assert_eq!(
        reply(Protocol::Binary, Answer::Status(Status::Failed)),
        b"\0\0\0\x1a\x80\x01\0\x02\0\0\0\x06append\0\0\0\x01\x08\0\0\0\0\0\x01\0"
    );
    assert_eq!(
        reply(Protocol::Binary, Answer::NoSuchMethod("Invalid method name: 'append'"))[4..],
        [
            b"\x80\x01\0\x03\0\0\0\x06append\0\0\0\x01".as_slice(),
            b"\x0b\0\x01\0\0\0\x1dInvalid method name: 'append'\x08\0\x02\0\0\0\x01\0"
        ]
        .concat()
    );
}

#[test]
fn events_are_read_as_they_are_written_over_the_message_itself() {
    let many: Vec<Event<'_>> = (0..40).map(|_| (&[("host", "h1")][..], b"line".as_slice())).collect();
    let few: &[Event<'_>] = &[
        (&[], b"plain"),
        (&[("host", "h1"), ("schl\u{fc}ssel", "wert \u{2713}")], b"\x00\xff"),
        (&[("host", "h1"), ("schl\u{fc}ssel", "wert \u{2713}")], b""),
        (&[("", "")], b"an empty key and value"),
        (&[("host", "h1"), ("schl\u{fc}ssel", "wert \u{2713}")], b"again"),
    ];
    for protocol in PROTOCOLS {
        for (events, sets) in [(few, 3), (&many, 2), (&[], 1)] {
            let call = read(protocol, &batch_call(protocol, events));
            assert_eq!((call.name.as_str(), call.serial), ("appendBatch", 7));
            let Asks::AppendBatch(batch) = call.asks else { panic!("{call:?}") };
            assert_eq!(batch.len(), events.len());
            for (event, (headers, body)) in batch.iter().zip(events) {
                assert_eq!(event.body, *body);
                assert_eq!(*event.headers, headers.iter().copied().collect());
            }
            assert!(batch.spans().iter().all(|span| (span.start as usize) <= batch.base().len()));
            assert_eq!(batch.sets().len(), sets, "sets are shared, the common one is empty");
        }
    }
}

#[test]
fn an_event_has_headers_and_a_body() {
    for (event, missing) in [(&b"\x1b\0\0"[..], "body"), (b"\x28\x01x\0", "headers")] {
        let message = [b"\x82\x21\x07\x0bappendBatch\x19\x1c", event, b"\0"].concat();
        let asks = read_call(Protocol::Compact, &message.into()).unwrap().asks;
        let Asks::Malformed(why) = asks else { panic!("{asks:?}") };
        assert!(why.to_string().contains(&format!("an event without `{missing}`")), "{why}");
    }
}

#[test]
fn an_event_takes_no_more_bytes_than_is_said_before_it_is_written() {
    let long = "x".repeat(300);
    let events: [Event<'_>; 4] = [
        (&[], b""),
        (&[("", "")], b"b"),
        (&[("k", "v"), ("host", "h1")], &[7; 200]),
        (&[("long", &long)], b""),
    ];
    for (protocol, (headers, body)) in PROTOCOLS.into_iter().flat_map(|one| events.map(|event| (one, event)))
    {
        let (none, many) =
            (batch_call(protocol, &[]).len(), batch_call(protocol, &[(headers, body); 100]).len());
        let headers = headers.iter().copied().collect();
        let said = 100 * written_bytes(EventRef { headers: &headers, body });
        assert!(many - none <= said && said < 2 * many + 3000, "{protocol:?}: {many} {said}");
    }
}

#[test]
fn one_event_is_read_as_it_is_written() {
    for protocol in PROTOCOLS {
        let mut frame = Vec::new();
        let headers: Headers = [("k", "v")].into_iter().collect();
        put_append(protocol, i32::MIN, EventRef { headers: &headers, body: b"body" }, &mut frame);
        let call = read(protocol, &frame);
        assert_eq!(call.serial, i32::MIN);
        let Asks::Append(batch) = call.asks else { panic!("{call:?}") };
        assert_eq!((batch.len(), batch.event(0).body), (1, b"body".as_slice()));
        assert_eq!(*batch.event(0).headers, headers);
    }
}

#[test]
fn fields_that_are_not_known_are_passed_over() {
    // Events as someone writes them who has added fields: a struct in front, a truth and a list behind.
    let compact = b"\x82\x21\x01\x06append\x1c\x1c\x15\x02\0\x1b\0\x18\x02hi\x11\x19\x23\x01\x02\0\x15\x02\0";
    // The struct took field 1: headers and body are fields 2 and 3, and not known either.
    let call = read_call(Protocol::Compact, &Bytes::from_static(compact)).unwrap();
    assert!(matches!(&call.asks, Asks::Malformed(why) if why.what.contains("headers")), "{call:?}");
    let compact = b"\x82\x21\x01\x06append\x1c\x1b\0\x18\x02hi\x11\x19\x23\x01\x02\0\x15\x02\0";
    let call = read_call(Protocol::Compact, &Bytes::from_static(compact)).unwrap();
    let Asks::Append(batch) = call.asks else { panic!("{call:?}") };
    assert_eq!(batch.event(0).body, b"hi");
}

#[test]
fn binary_calls_without_a_version_are_read() {
    let old = b"\0\0\0\x0bappendBatch\x01\0\0\0\x05\x0f\0\x01\x0c\0\0\0\0\0";
    let call = read_call(Protocol::Binary, &Bytes::from_static(old)).unwrap();
    assert_eq!((call.name.as_str(), call.serial), ("appendBatch", 5));
    assert!(matches!(call.asks, Asks::AppendBatch(batch) if batch.is_empty()));
}

#[test]
fn text_that_is_no_utf_8_is_read_as_java_reads_it() {
    let call = b"\x82\x21\x01\x06append\x1c\x1b\x01\x88\x01\xff\x01v\x18\0\0\0";
    let call = read_call(Protocol::Compact, &Bytes::from_static(call)).unwrap();
    let Asks::Append(batch) = call.asks else { panic!("{call:?}") };
    assert_eq!(batch.event(0).headers.get("\u{fffd}"), Some("v"));
}

#[test]
fn what_is_no_call_is_refused_with_a_word() {
    let refused = |protocol, bytes: &'static [u8]| {
        read_call(protocol, &Bytes::from_static(bytes)).map(|call| call.name).unwrap_err().to_string()
    };
    assert!(refused(Protocol::Compact, b"\x80\x01\0\x01").contains("`protocol` is compact here"));
    assert!(refused(Protocol::Binary, b"\x82\x21\x01\x06append\0").contains("`protocol` is binary here"));
    assert!(refused(Protocol::Compact, b"\x82\x41\x01\x06append\0").contains("kind 2"));
    assert!(refused(Protocol::Compact, b"\x82\x81\x01\x06append\0").contains("no reply"));
    assert!(refused(Protocol::Compact, b"\x82\x22\x01\x06append\0").contains("version 2"));
    assert!(refused(Protocol::Compact, b"hello").contains("0x68"));
    assert!(refused(Protocol::Binary, b"\x80\x02\0\x01abcd").contains("version"));
    assert!(refused(Protocol::Binary, b"").contains("too early"));
}

#[test]
fn calls_that_cannot_be_answered_with_a_status_keep_their_name_and_serial() {
    let call = read_call(Protocol::Compact, &Bytes::from_static(b"\x82\x21\x09\x03Log\0")).unwrap();
    assert_eq!((call.name.as_str(), call.serial), ("Log", 9));
    assert!(matches!(call.asks, Asks::NoSuchMethod));
    for arguments in [b"\0".as_slice(), b"\x19\xfc\xff\xff\xff\xff\x07\0", b"\x19\x15\x02\0", b"\x19\x0c\0x"]
    {
        let message = [b"\x82\x21\x09\x0bappendBatch".as_slice(), arguments].concat();
        let call = read_call(Protocol::Compact, &Bytes::from(message)).unwrap();
        assert!(matches!(call.asks, Asks::Malformed(_)), "{call:?}");
        assert_eq!(call.serial, 9);
    }
}

#[test]
fn more_events_or_sets_than_memory_is_given_for_are_no_batch() {
    let count = crate::events::EVENTS_MAX + 1;
    let events = vec![(&[][..], b"".as_slice()); count];
    assert!(matches!(read(Protocol::Compact, &batch_call(Protocol::Compact, &events)).asks, Asks::TooMany));
    // One event that has its headers again and again, each time others.
    let mut message = b"\x82\x21\x01\x06append\x1c".to_vec();
    for i in 0..=count as u32 {
        message.extend_from_slice(b"\x0b\x02\x01\x88\x04");
        message.extend_from_slice(&i.to_be_bytes().map(|byte| byte & 0x7f));
        message.push(4);
        message.extend_from_slice(&(i >> 7).to_be_bytes().map(|byte| byte & 0x7f));
    }
    message.extend_from_slice(b"\x18\0\0\0");
    let call = read_call(Protocol::Compact, &Bytes::from(message)).unwrap();
    assert!(matches!(call.asks, Asks::TooMany), "{}", call.name);
    // One event with more headers than that.
    let pairs = vec![("k", ""); crate::events::HEADERS_MAX + 1];
    let mut message = b"\x82\x21\x01\x06append\x1c\x1b".to_vec();
    // Their count, as the protocol writes numbers, and that keys and values are strings.
    message.extend_from_slice(&[0x81, 0x80, 0x40, 0x88]);
    pairs.iter().for_each(|(key, _)| {
        message.push(key.len() as u8);
        message.extend_from_slice(key.as_bytes());
        message.push(0);
    });
    message.extend_from_slice(b"\x18\0\0\0");
    let call = read_call(Protocol::Compact, &Bytes::from(message)).unwrap();
    assert!(matches!(call.asks, Asks::TooMany), "{:?}", call.asks);
}

#[test]
fn replies_are_read_as_they_are_written() {
    for protocol in PROTOCOLS {
        let reply = |answer| {
            let mut out = Vec::new();
            put_reply(protocol, "appendBatch", 300, answer, &mut out);
            read_reply(protocol, 300, &message(&out)).unwrap()
        };
        for status in [Status::Ok, Status::Failed, Status::Error, Status::Unknown] {
            assert_eq!(reply(Answer::Status(status)), Ok(status));
        }
        assert_eq!(reply(Answer::NoSuchMethod("no such")), Err("no such".to_string()));
        assert_eq!(reply(Answer::Malformed(&"x".repeat(1000))).unwrap_err().len(), TEXT_MAX);
        let mut out = Vec::new();
        put_reply(protocol, "appendBatch", 300, Answer::Status(Status::Ok), &mut out);
        let whole = message(&out);
        assert!(read_reply(protocol, 301, &whole).unwrap_err().what.contains("call 300"));
        for cut in 0..whole.len() {
            assert!(read_reply(protocol, 300, &whole[..cut]).is_err(), "{cut}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_written_is_read(
        events in prop::collection::vec(
            (prop::collection::vec((".{0,8}", ".{0,200}"), 0..3), prop::collection::vec(any::<u8>(), 0..300)),
            0..40,
        ),
    ) {
        let sets: Vec<Headers> = events.iter().map(|(headers, _)| headers.iter().cloned().collect()).collect();
        for protocol in PROTOCOLS {
            let mut frame = Vec::new();
            let refs = sets.iter().zip(&events).map(|(headers, (_, body))| EventRef { headers, body });
            let most: usize = refs.clone().map(crate::events::written_bytes).sum();
            put_append_batch(protocol, 1, sets.len(), refs, &mut frame);
            prop_assert!(frame.len() <= most + 64, "{} {most}", frame.len());
            let Asks::AppendBatch(batch) = read(protocol, &frame).asks else { panic!() };
            prop_assert_eq!(batch.len(), events.len());
            for (event, (headers, (_, body))) in batch.iter().zip(sets.iter().zip(&events)) {
                prop_assert_eq!(event.headers, headers);
                prop_assert_eq!(event.body, body.as_slice());
            }
        }
    }

    #[test]
    fn no_bytes_are_too_wild(bytes in prop::collection::vec(any::<u8>(), 0..300), protocol in prop::sample::select(&PROTOCOLS[..])) {
        let bytes = Bytes::from(bytes);
        drop(read_call(protocol, &bytes));
        drop(read_reply(protocol, 1, &bytes));
        let named = [b"\x82\x21\x01\x0bappendBatch".as_slice(), &bytes[..]].concat();
        drop(read_call(Protocol::Compact, &Bytes::from(named)));
    }
}
