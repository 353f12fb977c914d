//! Regular expressions as Java's `java.util.regex` reads them: users' expressions were written for it.
//!
//! ```text
//!   Java's text ──translate──> the syntax of fancy-regex, with Java's meaning ──> one of two engines
//!        without look-around and back references: an automaton, in time linear in the text
//!        with them: backtracking, given up after a million steps
//! ```
//!
//! What the two dialects write alike and mean otherwise is translated: `\d`, `\w`, `\s` and POSIX classes are ASCII, `.`
//! stops at five line ends, `$` also matches before the last one, `\h`, `\v`, `\<` and `--` in a class are what they are
//! in Java. The few differences that are left stand in `docs/migration.md`.
//!
//! `$` before a line end needs a look-ahead. Bodies seldom end with one, so the look-ahead is compiled into a second
//! expression, for texts that do.

mod class;
mod replacement;
mod translate;

use fancy_regex::{Captures, CompileError, Error, Regex, RegexBuilder};

pub use replacement::Replacement;
use translate::translate;

/// Most bytes of an expression's automaton. Java counts repetitions as it reads; here each stands for itself, and
/// `\p{L}{1,1000}` takes 20 MiB.
const SIZE_MAX: usize = 64 << 20;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct JavaRegex {
    /// For texts that do not end with a line end.
    plain: Regex,
    /// For those that do, where `$` or `\Z` occurs.
    with_line_end: Option<Regex>,
    groups: Vec<Option<String>>,
}

/// An expression took more than its steps over a text; Java would go on for minutes, or overflow its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaveUp;

impl JavaRegex {
    /// Compiles `pattern`; the error says what is wrong and where.
    pub fn new(pattern: &str) -> Result<Self, String> {
        Self::between("", pattern, "")
    }

    /// One that has to match a whole text.
    pub fn whole(pattern: &str) -> Result<Self, String> {
        Self::between("\\A(?:", pattern, ")\\z")
    }

    fn between(before: &str, pattern: &str, after: &str) -> Result<Self, String> {
        let compile = |text: &str| compiled(&format!("{before}{text}{after}"), pattern, SIZE_MAX);
        let plain = translate(pattern, false)?;
        let with_line_end = match plain.has_end {
            true => Some(compile(&translate(pattern, true)?.text)?),
            false => None,
        };
        Ok(Self { plain: compile(&plain.text)?, with_line_end, groups: plain.groups })
    }

    /// How many groups it has, the whole match not counted.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The number of the group called `name`.
    fn group_called(&self, name: &str) -> Option<usize> {
        Some(1 + self.groups.iter().position(|group| group.as_deref() == Some(name))?)
    }

    fn over(&self, text: &str) -> &Regex {
        let ends_line = || text.ends_with(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
        match &self.with_line_end {
            Some(regex) if ends_line() => regex,
            _ => &self.plain,
        }
    }

    /// Whether it matches somewhere in `text`.
    pub fn is_match(&self, text: &str) -> Result<bool, GaveUp> {
        self.over(text).is_match(text).map_err(|_steps| GaveUp)
    }

    /// Its first match in `text`.
    pub fn captures<'t>(&self, text: &'t str) -> Result<Option<Captures<'t>>, GaveUp> {
        self.over(text).captures(text).map_err(|_steps| GaveUp)
    }

    /// The pieces of `text` between matches; like Java's, without empty ones at the end.
    pub fn split(&self, text: &str) -> Result<Vec<String>, GaveUp> {
        let mut pieces = Vec::new();
        let mut from = 0;
        for found in self.over(text).find_iter(text) {
            let found = found.map_err(|_steps| GaveUp)?;
            // An empty match at the beginning separates nothing.
            if found.end() > 0 {
                pieces.push(text[from..found.start()].to_string());
                from = found.end();
            }
        }
        pieces.push(text[from..].to_string());
        pieces.truncate(pieces.iter().rposition(|piece| !piece.is_empty()).map_or(0, |last| last + 1));
        Ok(pieces)
    }

    /// `text` with all matches replaced; `None` if there are none. As in Java, an empty match may follow right behind
    /// another one.
    pub fn replace_all(&self, text: &str, replacement: &Replacement) -> Result<Option<String>, GaveUp> {
        let regex = self.over(text);
        let mut replaced = None;
        // What is copied up to, and where the next match may begin.
        let (mut copied, mut at) = (0, 0);
        while at <= text.len() {
            let captures = regex.captures_from_pos(text, at).map_err(|_steps| GaveUp)?;
            let Some((captures, whole)) = captures.and_then(|found| found.get(0).map(|whole| (found, whole)))
            else {
                break;
            };
            let replaced: &mut String = replaced.get_or_insert_default();
            replaced.push_str(&text[copied..whole.start()]);
            replacement.append(&captures, replaced);
            copied = whole.end();
            at = copied;
            if whole.start() == whole.end() {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        Ok(replaced.map(|replaced| replaced + &text[copied..]))
    }
}

/// Compiles `text`, which is what `pattern` was translated to.
fn compiled(text: &str, pattern: &str, size_max: usize) -> Result<Regex, String> {
    RegexBuilder::new(text).delegate_size_limit(size_max).build().map_err(|error| match &error {
        Error::CompileError(CompileError::InnerError(inner)) if inner.size_limit().is_some() => {
            format!(
                "`{pattern}` takes more than {size_max} bytes: its repetitions are too many, or of too much"
            )
        }
        _ => format!("`{pattern}` is not a regular expression: {error}"),
    })
}

#[cfg(test)]
mod tests;
