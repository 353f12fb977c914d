//! What is left of an output when nothing remains in it that must differ from side to side.

use regex::Regex;

use crate::avro;
use crate::case::{Case, Outputs};
use crate::side::Result;

/// The outputs of a side as texts: one a sink (or one of all sinks), one of what a peer heard, then one an answer.
pub fn shown(case: &Case, result: &Result) -> Vec<String> {
    let bytes =
        |files: &[(String, Vec<u8>)]| files.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>();
    let mut shown: Vec<String> = match case.outputs {
        Outputs::Bytes => result.files.iter().map(|files| bytes(files).escape_ascii().to_string()).collect(),
        Outputs::Avro => result.files.iter().map(|files| avro::shown(&bytes(files))).collect(),
        Outputs::Logged(text) => vec![logged(&result.log, text)],
        Outputs::Ordered => result.files.iter().map(|files| events(case, &bytes(files)).join("\n")).collect(),
        Outputs::Sorted => result.files.iter().map(|files| sorted(events(case, &bytes(files)))).collect(),
        Outputs::Together => {
            vec![sorted(result.files.iter().flat_map(|files| events(case, &bytes(files))).collect())]
        }
    };
    shown.extend(result.heard.iter().map(|heard| heard.join("\n")));
    shown.extend(result.answers.iter().cloned());
    shown.iter().map(|text| masked(case, &text.replace(&result.directory, "@DIR@"))).collect()
}

/// Names of the files that have something in them, their numbers masked.
pub fn names(result: &Result) -> Vec<String> {
    let digits = Regex::new("[0-9]+").unwrap();
    let files = result.files.iter().flatten().filter(|(_, bytes)| !bytes.is_empty());
    files.map(|(name, _)| digits.replace_all(name, "N").into_owned()).collect()
}

fn masked(case: &Case, text: &str) -> String {
    case.masks.iter().fold(text.to_string(), |text, (pattern, instead)| {
        Regex::new(pattern).unwrap().replace_all(&text, *instead).into_owned()
    })
}

/// Sources of Flume that copy an event's headers into a map of another size, or fill it in one go: behind a memory channel
/// their order is that map's. All else is in the order that a file channel gives it on both sides.
const OF_ANOTHER_SIZE: &[&str] =
    &["type = syslog", "type = multiport_syslog", "type = http", "type = TAILDIR"];

/// Events as HEADER_AND_TEXT writes them, a line each; where their order means nothing, with their headers by name.
fn events(case: &Case, bytes: &[u8]) -> Vec<String> {
    let is_ordered =
        !case.source.iter().any(|key| OF_ANOTHER_SIZE.iter().any(|start| key.starts_with(start)));
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines.into_iter().map(|line| event(line, is_ordered)).collect()
}

fn event(line: &[u8], is_ordered: bool) -> String {
    let whole = || line.escape_ascii().to_string();
    let Some(end) = line.windows(2).position(|pair| pair == b"} ") else { return whole() };
    let Some(headers) = line[..end].strip_prefix(b"{") else { return whole() };
    let headers = String::from_utf8_lossy(headers);
    let mut headers: Vec<&str> = headers.split(", ").collect();
    if !is_ordered {
        headers.sort_unstable();
    }
    format!("{{{}}} {}", headers.join(", "), line[end + 2..].escape_ascii())
}

fn sorted(mut events: Vec<String>) -> String {
    events.sort();
    events.join("\n")
}

/// What the logger sink says of events with `text`, from where its own words begin: a line, and one more for each further
/// 16 bytes.
fn logged(log: &str, text: &str) -> String {
    let offset = Regex::new("^[0-9A-F]{8} ").unwrap();
    let mut shown: Vec<&str> = Vec::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(at) = line.find("Event: {").filter(|_| line.contains(text)) else { continue };
        shown.push(line[at..].trim_end());
        while let Some(more) = lines.next_if(|line| offset.is_match(line)) {
            shown.push(more.trim_end());
        }
    }
    shown.join("\n")
}
