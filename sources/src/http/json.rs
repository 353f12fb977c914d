//! A request as an array of events, in the JSON that Gson reads leniently.
//!
//! ```text
//!   [ {"headers": {"k": "v", …}, "body": "text"}, … ]
//!
//!   array    '[' [value {(',' | ';') value}] ']'          a value that is missing is null
//!   object   '{' [name (':' | '=' | '=>') value {(',' | ';') …}] '}'
//!   name, text     "…" | '…' | letters up to one of / \ ; # = { } [ ] : , or a blank
//!   between them   blanks, // …, # …, /* … */
//! ```
//!
//! Headers and bodies may be numbers, `true` or `false`, which are taken as text. A header that is null is left out; a body
//! that is null or missing is empty. Other members are passed over. Behind the array there may be blanks alone. An event that
//! is null, and a text that is empty or says `null`, are what Flume fails at; its answer to them is kept.

use std::borrow::Cow;

use flumen_api::{Batch, Headers};

use super::charset::Charset;

/// Most events of one request. Even empty ones take room in memory that their text does not tell of.
const EVENTS_MAX: usize = 1_000_000;

const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not the JSON that is wanted: 400.
    Malformed(String),
    /// It has a null where Flume fails: 500, as there.
    Null(&'static str),
    /// It has too many events: 413.
    TooMany,
}

/// The events of a request.
pub(super) fn events(text: &str, charset: Charset) -> Result<Batch, Refusal> {
    let mut reader = Reader { text, at: 0 };
    for prefix in ["\u{feff}", ")]}'\n"] {
        if reader.rest().starts_with(prefix) {
            reader.at += prefix.len();
        }
    }
    let mut batch = Batch::new();
    match reader.peek()? {
        None => return Err(Refusal::Null("the request is empty")),
        Some(b'[') => {}
        Some(b'{') => return Err(reader.wrong("an array of events is wanted, and this is an object")),
        Some(_) => {
            return Err(match reader.scalar()? {
                None => Refusal::Null("the request is null"),
                Some(_) => reader.wrong("an array of events is wanted, and this is a text"),
            });
        }
    }
    reader.at += 1;
    let mut elements = Elements::default();
    while reader.element(&mut elements)? {
        if batch.len() >= EVENTS_MAX {
            return Err(Refusal::TooMany);
        }
        let (headers, body) = reader.event()?;
        let headers = batch.add_headers(headers);
        batch.push_with(&charset.encode(&body), headers);
    }
    // Gson's leniency ends with the array: there is room for blanks, and none for a comment.
    match reader.rest().trim_start_matches(BLANKS).is_empty() {
        true => Ok(batch),
        false => Err(reader.wrong("something follows behind the array")),
    }
}

/// How far an array or object has been read.
#[derive(Default)]
struct Elements {
    begun: bool,
}

/// What is open while a value is passed over.
#[derive(Clone, Copy)]
enum Open {
    Array,
    Object,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, what: &str) -> Refusal {
        Refusal::Malformed(format!("{what}, at byte {}", self.at))
    }

    /// The next byte that is neither blank nor comment, which is left there.
    fn peek(&mut self) -> Result<Option<u8>, Refusal> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(BLANKS).len();
            self.at += blank;
            let rest = &rest[blank..];
            if rest.starts_with('#') || rest.starts_with("//") {
                self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let end = comment.find("*/").ok_or_else(|| self.wrong("a comment has no end"))?;
                self.at += 2 + end + 2;
            } else {
                return Ok(rest.bytes().next());
            }
        }
    }

    /// The same where the text must not end.
    fn must(&mut self) -> Result<u8, Refusal> {
        self.peek()?.ok_or_else(|| self.wrong("the text ends too early"))
    }

    /// Whether the array, whose `[` has been read, has a further element; stands before it then, else behind the `]`.
    fn element(&mut self, elements: &mut Elements) -> Result<bool, Refusal> {
        let byte = self.must()?;
        if byte == b']' {
            self.at += 1;
            return Ok(false);
        }
        if std::mem::replace(&mut elements.begun, true) {
            if !matches!(byte, b',' | b';') {
                return Err(self.wrong("a comma is wanted, or the end of the array"));
            }
            self.at += 1;
        }
        Ok(true)
    }

    /// The name of the object's next member, whose `{` has been read; stands before its value then, else behind the `}`.
    fn member(&mut self, elements: &mut Elements) -> Result<Option<Cow<'a, str>>, Refusal> {
        let byte = self.must()?;
        if byte == b'}' {
            self.at += 1;
            return Ok(None);
        }
        if std::mem::replace(&mut elements.begun, true) {
            if !matches!(byte, b',' | b';') {
                return Err(self.wrong("a comma is wanted, or the end of the object"));
            }
            self.at += 1;
        }
        let name = match self.must()? {
            b'"' | b'\'' => self.quoted()?,
            _ => self.unquoted("a name is wanted")?.into(),
        };
        match self.must()? {
            b':' => self.at += 1,
            b'=' => {
                self.at += 1;
                if self.rest().starts_with('>') {
                    self.at += 1;
                }
            }
            _ => return Err(self.wrong("a colon is wanted")),
        }
        Ok(Some(name))
    }

    /// A text, number or keyword as text; `None` is null.
    fn scalar(&mut self) -> Result<Option<Cow<'a, str>>, Refusal> {
        match self.must()? {
            b'"' | b'\'' => return self.quoted().map(Some),
            b'{' | b'[' => return Err(self.wrong("a text is wanted")),
            _ => {}
        }
        let word = self.unquoted("a value is wanted")?;
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        Ok(match word {
            _ if is("null") => None,
            _ if is("true") => Some("true".into()),
            _ if is("false") => Some("false".into()),
            word => Some(word.into()),
        })
    }

    fn unquoted(&mut self, wanted: &str) -> Result<&'a str, Refusal> {
        let rest = self.rest();
        let ends = |c: char| "/\\;#={}[]:, \t\u{c}\r\n".contains(c);
        let length = rest.find(ends).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.wrong(wanted));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn quoted(&mut self) -> Result<Cow<'a, str>, Refusal> {
        let quote = self.text.as_bytes()[self.at];
        self.at += 1;
        let mut text = Cow::Borrowed("");
        loop {
            let rest = self.rest();
            let end = memchr::memchr2(quote, b'\\', rest.as_bytes());
            let end = end.ok_or_else(|| self.wrong("a text has no end"))?;
            match text.is_empty() {
                true => text = rest[..end].into(),
                false => text.to_mut().push_str(&rest[..end]),
            }
            self.at += end + 1;
            if rest.as_bytes()[end] == quote {
                return Ok(text);
            }
            let c = self.escaped()?;
            text.to_mut().push(c);
        }
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Result<char, Refusal> {
        let c = self.rest().chars().next().ok_or_else(|| self.wrong("a text has no end"))?;
        self.at += c.len_utf8();
        Ok(match c {
            't' => '\t',
            'b' => '\u{8}',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'u' => {
                let first = self.hex()?;
                match char::from_u32(first) {
                    Some(c) => c,
                    None => self.second_half(first).unwrap_or('?'),
                }
            }
            '\n' | '\'' | '"' | '\\' | '/' => c,
            _ => return Err(self.wrong("a backslash before a character that needs none")),
        })
    }

    fn hex(&mut self) -> Result<u32, Refusal> {
        let digits =
            self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let value = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let value = value.ok_or_else(|| self.wrong("four hexadecimal digits are wanted"))?;
        self.at += 4;
        Ok(value)
    }

    /// The character whose first half is `high`, if its second half follows. A half is no character; Java writes `?`.
    fn second_half(&mut self, high: u32) -> Option<char> {
        let digits = self.rest().strip_prefix("\\u")?.get(..4)?;
        let low = u32::from_str_radix(digits, 16).ok()?;
        if !(0xd800..0xdc00).contains(&high) || !(0xdc00..0xe000).contains(&low) {
            return None;
        }
        self.at += 6;
        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
    }

    /// An element of the array of events.
    fn event(&mut self) -> Result<(Headers, Cow<'a, str>), Refusal> {
        match self.must()? {
            b'{' => self.at += 1,
            b',' | b';' | b']' => return Err(Refusal::Null("an event is missing between two commas")),
            b'[' => return Err(self.wrong("an event is wanted, and this is an array")),
            _ => {
                return Err(match self.scalar()? {
                    None => Refusal::Null("an event is null"),
                    Some(_) => self.wrong("an event is wanted, and this is a text"),
                });
            }
        }
        let (mut headers, mut body) = (Headers::new(), Cow::Borrowed(""));
        let mut members = Elements::default();
        while let Some(name) = self.member(&mut members)? {
            match &*name {
                "headers" => headers = self.headers()?,
                "body" => body = self.scalar()?.unwrap_or_default(),
                _ => self.pass()?,
            }
        }
        Ok((headers, body))
    }

    /// An object, or what Gson takes for one too: an array of pairs.
    fn headers(&mut self) -> Result<Headers, Refusal> {
        let mut headers = Headers::new();
        let mut elements = Elements::default();
        match self.must()? {
            b'{' => {
                self.at += 1;
                while let Some(name) = self.member(&mut elements)? {
                    let value = self.scalar()?;
                    self.header(&mut headers, name, value)?;
                }
            }
            b'[' => {
                self.at += 1;
                while self.element(&mut elements)? {
                    if self.must()? != b'[' {
                        return Err(self.wrong("a pair of name and value is wanted"));
                    }
                    self.at += 1;
                    let mut pair = Elements::default();
                    let mut part = |reader: &mut Self| match reader.element(&mut pair)? {
                        true => reader.scalar(),
                        false => Err(reader.wrong("a pair of name and value is wanted")),
                    };
                    let name = part(self)?.unwrap_or_default();
                    let value = part(self)?;
                    if self.element(&mut pair)? {
                        return Err(self.wrong("a pair of name and value is wanted"));
                    }
                    self.header(&mut headers, name, value)?;
                }
            }
            _ => {
                if self.scalar()?.is_some() {
                    return Err(self.wrong("headers are an object"));
                }
            }
        }
        Ok(headers)
    }

    fn header(
        &self,
        headers: &mut Headers,
        name: Cow<'a, str>,
        value: Option<Cow<'a, str>>,
    ) -> Result<(), Refusal> {
        if headers.get(&name).is_some() {
            return Err(self.wrong("a header occurs twice"));
        }
        if let Some(value) = value {
            headers.set(name, value);
        }
        Ok(())
    }

    /// Passes over a value of any kind and depth.
    fn pass(&mut self) -> Result<(), Refusal> {
        let mut open: Vec<(Open, Elements)> = Vec::new();
        loop {
            match self.must()? {
                b'{' => {
                    self.at += 1;
                    open.push((Open::Object, Elements::default()));
                }
                b'[' => {
                    self.at += 1;
                    open.push((Open::Array, Elements::default()));
                }
                // An element that is missing.
                b',' | b';' | b']' if matches!(open.last(), Some((Open::Array, _))) => {}
                _ => drop(self.scalar()?),
            }
            loop {
                let Some((kind, elements)) = open.last_mut() else { return Ok(()) };
                let goes_on = match kind {
                    Open::Array => self.element(elements)?,
                    Open::Object => self.member(elements)?.is_some(),
                };
                if goes_on {
                    break;
                }
                open.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests;
