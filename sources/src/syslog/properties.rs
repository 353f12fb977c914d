//! What holds for all bytes: nothing panics, nothing is lost, nothing grows, and how bytes were cut does not matter.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

fn times() -> Times {
    Times { zone: TimeZone::UTC, as_flume: false, now: || 1_413_374_400_000 }
}

/// Bytes that are likely to mean something.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        "[<>0-9 :TZ+.\\-\n\r]{0,24}".prop_map(String::into_bytes),
        "<[0-9]{0,4}>([0-9] ?)?(- |[A-Z][a-z]{2}  ?[0-9]{1,2} [0-9]{2}:[0-9]{2}:[0-9]{2} )?[a-z-]{0,3} ?.{0,9}\n?"
            .prop_map(String::into_bytes),
        "<[0-9]{1,3}>1? ?[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,20})?(Z|[+-][0-9]{2}:?[0-9]{2})? h m\n"
            .prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn legacy(bytes: &[u8], cuts: usize, size_max: usize) -> Vec<(Vec<u8>, bool, bool)> {
    let mut lines = Lines::new(size_max);
    let mut found = Vec::new();
    for mut piece in bytes.chunks(cuts) {
        while let Some(line) = lines.next(&mut piece) {
            found.push((line.bytes.to_vec(), line.bad, line.incomplete));
        }
    }
    let rest = lines.rest();
    found.push((rest.bytes.to_vec(), rest.bad, rest.incomplete));
    found
}

proptest! {
    #[test]
    fn lines_do_not_depend_on_where_the_bytes_were_cut(bytes in bytes(), cut in 1_usize..9, size_max in 10_usize..40) {
        let whole = legacy(&bytes, usize::MAX, size_max);
        prop_assert_eq!(&whole, &legacy(&bytes, cut, size_max));
        for (line, ..) in &whole {
            prop_assert!(line.len() <= size_max);
        }
        // Only line ends are missing.
        let mut kept: Vec<u8> = whole.into_iter().flat_map(|(line, ..)| line).filter(|byte| *byte != b'\n').collect();
        let mut sent: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\n').collect();
        kept.sort_unstable();
        sent.sort_unstable();
        prop_assert_eq!(kept, sent);
    }

    #[test]
    fn pieces_do_not_depend_on_where_the_bytes_were_cut(bytes in bytes(), cut in 1_usize..9, size_max in 1_usize..40) {
        let split = |cut: usize| {
            let mut splitter = Splitter::new(size_max);
            let mut found = Vec::new();
            for mut piece in bytes.chunks(cut) {
                while let Some(piece) = splitter.next(&mut piece) {
                    found.push((piece.bytes.to_vec(), piece.incomplete));
                }
            }
            found
        };
        let whole = split(usize::MAX);
        prop_assert!(whole.iter().all(|(piece, _)| piece.len() <= size_max));
        prop_assert_eq!(whole, split(cut));
    }

    #[test]
    fn every_line_is_an_event_whose_body_is_of_the_line(bytes in bytes(), as_flume: bool) {
        for keep in [KeepFields::NONE, KeepFields::All] {
            let times = Times { as_flume, ..times() };
            let parser = Legacy { keep, times: times.clone(), custom: None };
            for (line, bad, incomplete) in legacy(&bytes, usize::MAX, 64) {
                let line = lines::Line { bytes: &line, bad, incomplete };
                if let Ok(event) = parser.event(line) {
                    prop_assert!(line.bytes.ends_with(&event.body));
                    prop_assert!(keep == KeepFields::NONE || *event.body == *line.bytes);
                    prop_assert_eq!(event.is_invalid(), bad);
                }
                let text = String::from_utf8_lossy(line.bytes);
                let event = Strict { keep, times: times.clone() }.event(&text, incomplete);
                prop_assert!(text.as_bytes().ends_with(&event.body));
                prop_assert!(!event.is_invalid() || event.headers.len() == 1);
            }
        }
    }
}
