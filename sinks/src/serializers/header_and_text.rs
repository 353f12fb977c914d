//! `HEADER_AND_TEXT`: the headers as Java prints a map, a blank, the body, and a newline unless `appendNewline` is
//! false. Nothing is escaped, so the text cannot be read back when headers hold `, ` or `=`.

use std::io::Write;

use flumen_api::event::EventRef;

use super::EventSerializer;

/// Writes headers and bodies.
#[derive(Clone, Copy, Debug)]
pub struct HeaderAndText {
    newline: bool,
}

impl HeaderAndText {
    /// A serializer that ends each event with a newline, or not.
    pub fn new(newline: bool) -> Self {
        Self { newline }
    }
}

impl EventSerializer for HeaderAndText {
    fn append(&self, event: EventRef<'_>, out: &mut Vec<u8>) {
        write!(out, "{} ", event.headers).expect("a Vec takes all that is written");
        out.extend_from_slice(event.body);
        if self.newline {
            out.push(b'\n');
        }
    }

    fn writes_plain_lines(&self) -> bool {
        false
    }

    fn layout(&self) -> &'static str {
        if self.newline { "HEADER_AND_TEXT+newline" } else { "HEADER_AND_TEXT" }
    }
}
