//! `TEXT`: the body, and a newline unless `appendNewline` is false.

use flumen_api::event::EventRef;

use super::EventSerializer;

/// Writes bodies.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    newline: bool,
}

impl Text {
    /// A serializer that ends each body with a newline, or not.
    pub fn new(newline: bool) -> Self {
        Self { newline }
    }
}

impl EventSerializer for Text {
    fn append(&self, event: EventRef<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(event.body);
        if self.newline {
            out.push(b'\n');
        }
    }

    fn writes_plain_lines(&self) -> bool {
        self.newline
    }

    fn layout(&self) -> &'static str {
        if self.newline { "TEXT+newline" } else { "TEXT" }
    }
}
