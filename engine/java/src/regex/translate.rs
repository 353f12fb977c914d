//! Java's syntax to fancy-regex's, in one pass.
//!
//! Flags are followed here, for theirs and ours differ in scope and meaning. Every construct comes out as one that means
//! the same whatever flags are set, and `i` as a group around every single atom.

use super::class::{self, LINE_ENDS, Set};

/// Groups in groups beyond this are refused: nobody writes them, and each costs stack.
const DEPTH_MAX: usize = 100;

/// A translated expression.
pub(super) struct Translated {
    pub text: String,
    /// It has a `$` or `\Z` that may match before a last line end.
    pub has_end: bool,
    /// The groups' names, by number from 1.
    pub groups: Vec<Option<String>>,
}

/// Translates `pattern`. `line_end`: `$` and `\Z` match before a last line end too.
pub(super) fn translate(pattern: &str, line_end: bool) -> Result<Translated, String> {
    let out = Translated { text: String::new(), has_end: false, groups: Vec::new() };
    let mut reader =
        Reader { chars: pattern.chars().collect(), at: 0, flags: Flags::default(), line_end, out };
    reader.alternatives(0).map_err(|what| {
        format!("`{pattern}` is not a regular expression: {what}, at character {}", reader.at)
    })?;
    Ok(reader.out)
}

#[derive(Clone, Copy, Default)]
struct Flags {
    /// `i`
    case: bool,
    /// `s`
    dot_all: bool,
    /// `m`
    multiline: bool,
    /// `d`
    unix_lines: bool,
    /// `x`
    comments: bool,
    /// `U`
    unicode: bool,
}

/// One element of a class, or what an escape stands for.
enum Atom {
    Char(char),
    Set(Set),
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    flags: Flags,
    line_end: bool,
    out: Translated,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn emit(&mut self, text: &str) {
        self.out.text.push_str(text);
    }

    fn literal(&mut self, c: char) {
        class::literal(c, &mut self.out.text);
    }

    /// With the flag `x`, white space and comments mean nothing.
    fn skip_comments(&mut self) {
        while self.flags.comments {
            match self.peek() {
                Some(c) if c.is_ascii_whitespace() || c == '\u{b}' => self.at += 1,
                Some('#') => while self.next().is_some_and(|c| c != '\n') {},
                _ => break,
            }
        }
    }

    /// Up to the closing parenthesis, which is left, or the end.
    fn alternatives(&mut self, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("groups are nested more than {DEPTH_MAX} deep"));
        }
        let outside = self.flags;
        // Whether a quantifier may follow.
        let mut after_atom = false;
        loop {
            self.skip_comments();
            let Some(c) = self.peek() else { break };
            if c == ')' {
                if depth == 0 {
                    return Err("a `)` without its `(`".into());
                }
                break;
            }
            self.at += 1;
            match c {
                '|' => {
                    self.emit("|");
                    after_atom = false;
                }
                '*' | '+' | '?' | '{' => {
                    if !after_atom {
                        return Err(format!(
                            "`{c}` has nothing to repeat; for the character itself write `\\{c}`"
                        ));
                    }
                    self.quantifier(c)?;
                    after_atom = false;
                }
                '(' => after_atom = self.group(depth)?,
                _ => {
                    self.atom(c)?;
                    after_atom = true;
                }
            }
        }
        self.flags = outside;
        Ok(())
    }

    fn quantifier(&mut self, c: char) -> Result<(), String> {
        if c != '{' {
            self.out.text.push(c);
        } else {
            let mut counts = String::new();
            while let Some(digit) = self.peek().filter(|c| c.is_ascii_digit() || *c == ',') {
                counts.push(digit);
                self.at += 1;
            }
            let (first, rest) = counts.split_once(',').unwrap_or((&counts, ""));
            if first.is_empty() || rest.contains(',') || !self.eat("}") {
                return Err("`{` begins no count; for the character itself write `\\{`".into());
            }
            self.emit(&format!("{{{counts}}}"));
        }
        self.skip_comments();
        if let Some(mode @ ('?' | '+')) = self.peek() {
            self.at += 1;
            self.out.text.push(mode);
        }
        Ok(())
    }

    /// After the opening parenthesis; says whether a quantifier may follow.
    fn group(&mut self, depth: usize) -> Result<bool, String> {
        let outside = self.flags;
        if !self.eat("?") {
            self.out.groups.push(None);
            self.emit("(");
        } else if let Some(kind) = [":", "=", "!", ">", "<=", "<!"].into_iter().find(|kind| self.eat(kind)) {
            self.emit(&format!("(?{kind}"));
        } else if self.eat("<") {
            let name = self.name()?;
            if self.out.groups.iter().flatten().any(|other| *other == name) {
                return Err(format!("two groups are called `{name}`"));
            }
            self.emit(&format!("(?<{name}>"));
            self.out.groups.push(Some(name));
        } else if !self.flags_and_colon()? {
            return Ok(false);
        }
        self.alternatives(depth + 1)?;
        if !self.eat(")") {
            return Err("a `(` without its `)`".into());
        }
        self.emit(")");
        self.flags = outside;
        Ok(true)
    }

    /// `idmsux-idmsux)` or `…:` after `(?`; says whether a group begins.
    fn flags_and_colon(&mut self) -> Result<bool, String> {
        let mut on = true;
        loop {
            let flags = &mut self.flags;
            match self.chars.get(self.at) {
                Some('i') => flags.case = on,
                Some('s') => flags.dot_all = on,
                Some('m') => flags.multiline = on,
                Some('d') => flags.unix_lines = on,
                Some('x') => flags.comments = on,
                Some('U') => flags.unicode = on,
                // Letters match in either case by Unicode's rules here, with the flag or without.
                Some('u') => {}
                Some('-') if on => on = false,
                Some(')') => {
                    self.at += 1;
                    return Ok(false);
                }
                Some(':') => {
                    self.at += 1;
                    self.emit("(?:");
                    return Ok(true);
                }
                _ => return Err("`(?` begins no group that is known".into()),
            }
            self.at += 1;
        }
    }

    /// A group's name and the `>` behind it.
    fn name(&mut self) -> Result<String, String> {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(char::is_ascii_alphanumeric) {
            name.push(c);
            self.at += 1;
        }
        let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins_well || !self.eat(">") {
            return Err("a group's name is letters and digits, a letter first, between `<` and `>`".into());
        }
        Ok(name)
    }

    fn atom(&mut self, c: char) -> Result<(), String> {
        // Quoted characters are atoms each; all others are one, and its case is settled around it.
        let case = self.flags.case && !(c == '\\' && self.peek() == Some('Q'));
        if case {
            self.emit("(?i:");
        }
        match c {
            '.' if self.flags.dot_all => self.emit("(?s:.)"),
            '.' if self.flags.unix_lines => self.emit("[^\\n]"),
            '.' => self.emit(&format!("[^{LINE_ENDS}]")),
            '^' if self.flags.multiline => self.emit("(?m:^)"),
            '^' => self.emit("\\A"),
            '$' if self.flags.multiline => self.emit("(?m:$)"),
            '$' => self.end(),
            '[' => {
                let class = self.class(0)?;
                self.emit(&class);
            }
            '\\' => self.escape()?,
            c => self.literal(c),
        }
        if case {
            self.emit(")");
        }
        Ok(())
    }

    /// The end of the text, or where the last line end begins.
    fn end(&mut self) {
        self.out.has_end = true;
        self.emit(match (self.line_end, self.flags.unix_lines) {
            (false, _) => "\\z",
            (true, true) => "(?=\\n?\\z)",
            (true, false) => "(?:\\z|(?=\\r\\n\\z)|(?<!\\r)(?=\\n\\z)|(?=[\\r\u{85}\u{2028}\u{2029}]\\z))",
        });
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some(c) = self.peek() else { return Err("a `\\` at the end".into()) };
        match c {
            'A' | 'b' | 'B' | 'G' | 'z' => {
                self.at += 1;
                self.emit(&format!("\\{c}"));
            }
            'Z' => {
                self.at += 1;
                self.end();
            }
            'R' => {
                self.at += 1;
                self.emit("(?:\\r\\n|[\\n-\\r\u{85}\u{2028}\u{2029}])");
            }
            'Q' => {
                self.at += 1;
                while self.at < self.chars.len() && !self.eat("\\E") {
                    let quoted = self.chars[self.at];
                    self.at += 1;
                    if self.flags.case {
                        self.emit("(?i:");
                        self.literal(quoted);
                        self.emit(")");
                    } else {
                        self.literal(quoted);
                    }
                }
            }
            'k' => {
                self.at += 1;
                let name = if self.eat("<") { self.name()? } else { String::new() };
                if !self.out.groups.iter().flatten().any(|other| *other == name) {
                    return Err("`\\k` names no group before it".into());
                }
                self.emit(&format!("\\k<{name}>"));
            }
            '1'..='9' => {
                let group = self.back_reference()?;
                self.emit(&format!("(?:\\{group})"));
            }
            _ => match self.escaped()? {
                Atom::Char(c) => self.literal(c),
                Atom::Set(set) => self.emit(&set.text()),
            },
        }
        Ok(())
    }

    /// More digits belong to the number as long as there are so many groups.
    fn back_reference(&mut self) -> Result<usize, String> {
        let mut group = 0;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            let more = group * 10 + digit as usize;
            if group > 0 && more > self.out.groups.len() {
                break;
            }
            group = more;
            self.at += 1;
        }
        match group <= self.out.groups.len() {
            true => Ok(group),
            false => Err(format!("`\\{group}` refers to a group that does not come before it")),
        }
    }

    /// What stands behind a backslash, in a class or outside.
    fn escaped(&mut self) -> Result<Atom, String> {
        let c = self.next().ok_or("a `\\` at the end")?;
        Ok(Atom::Char(match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'a' => '\u{7}',
            'e' => '\u{1b}',
            'c' => {
                let control = self.next().filter(char::is_ascii).ok_or("`\\c` without its character")?;
                char::from(control as u8 ^ 64)
            }
            '0' => self.octal()?,
            'x' => self.hexadecimal()?,
            'u' => self.utf_16()?,
            'p' | 'P' => {
                let name = match self.next().ok_or("`\\p` without a name")? {
                    '{' => {
                        let rest = &self.chars[self.at..];
                        let length = rest.iter().position(|c| *c == '}').ok_or("`\\p{` without its `}`")?;
                        self.at += length + 1;
                        rest[..length].iter().collect()
                    }
                    c => c.to_string(),
                };
                return class::property(&name, c == 'P').map(Atom::Set);
            }
            c if !c.is_ascii_alphabetic() => c,
            c => {
                let set = class::shorthand(c, self.flags.unicode);
                return set.map(Atom::Set).ok_or_else(|| format!("`\\{c}` is not known here"));
            }
        }))
    }

    fn number(&mut self, digits: usize, radix: u32) -> Option<u32> {
        let text = self.chars.get(self.at..self.at + digits)?;
        let number = text.iter().try_fold(0, |number, c| Some(number * radix + c.to_digit(radix)?))?;
        self.at += digits;
        Some(number)
    }

    fn octal(&mut self) -> Result<char, String> {
        // Three digits only up to \0377.
        let most = if matches!(self.peek(), Some('0'..='3')) { 3 } else { 2 };
        let number = (1..=most).rev().find_map(|digits| self.number(digits, 8));
        number.and_then(char::from_u32).ok_or_else(|| "`\\0` without octal digits".to_string())
    }

    fn hexadecimal(&mut self) -> Result<char, String> {
        let number = if self.eat("{") {
            let digits = self.chars[self.at..]
                .iter()
                .position(|c| *c == '}')
                .filter(|digits| (1..=6).contains(digits));
            let number = digits.and_then(|digits| self.number(digits, 16));
            self.at += 1;
            number
        } else {
            self.number(2, 16)
        };
        number
            .and_then(char::from_u32)
            .ok_or_else(|| "`\\x` without a character's hexadecimal number".to_string())
    }

    /// A character outside the first plane is written as two halves.
    fn utf_16(&mut self) -> Result<char, String> {
        let wrong = || "`\\u` without four hexadecimal digits of a character".to_string();
        let first = self.number(4, 16).ok_or_else(wrong)? as u16;
        let mut units = vec![first];
        if (0xd800..0xdc00).contains(&first) && self.eat("\\u") {
            units.push(self.number(4, 16).ok_or_else(wrong)? as u16);
        }
        match char::decode_utf16(units).next() {
            Some(Ok(c)) => Ok(c),
            _ => Err(wrong()),
        }
    }

    /// After the opening bracket, past the closing one.
    fn class(&mut self, depth: usize) -> Result<String, String> {
        if depth > DEPTH_MAX {
            return Err(format!("classes are nested more than {DEPTH_MAX} deep"));
        }
        let mut text = String::from(if self.eat("^") { "[^" } else { "[" });
        let mut is_first = true;
        loop {
            self.skip_comments();
            let atom = match self.next().ok_or("a `[` without its `]`")? {
                ']' if !is_first => break,
                '[' => {
                    text.push_str(&self.class(depth + 1)?);
                    is_first = false;
                    continue;
                }
                '&' if self.eat("&") => {
                    text.push_str("&&");
                    continue;
                }
                '\\' if self.eat("Q") => {
                    while self.at < self.chars.len() && !self.eat("\\E") {
                        class::literal(self.chars[self.at], &mut text);
                        self.at += 1;
                    }
                    is_first = false;
                    continue;
                }
                '\\' => self.escaped()?,
                c => Atom::Char(c),
            };
            is_first = false;
            match atom {
                Atom::Set(set) => text.push_str(&set.text()),
                Atom::Char(from) => {
                    if from == ':' && text == "[" {
                        // Twice, lest it begin a POSIX class in brackets, which Java does not have.
                        text.push(':');
                    }
                    class::literal(from, &mut text);
                    if let Some(to) = self.range_end()? {
                        if to < from {
                            return Err(format!("the range `{from}-{to}` is empty"));
                        }
                        text.push('-');
                        class::literal(to, &mut text);
                    }
                }
            }
        }
        text.push(']');
        Ok(text)
    }

    /// The last character of a range, if `-` makes one of the character before it.
    fn range_end(&mut self) -> Result<Option<char>, String> {
        if self.peek() != Some('-') || matches!(self.chars.get(self.at + 1), None | Some(']' | '[')) {
            return Ok(None);
        }
        self.at += 1;
        match self.next() {
            Some('\\') => match self.escaped()? {
                Atom::Char(c) => Ok(Some(c)),
                Atom::Set(_) => Err("a range ends with a character, not with a set".into()),
            },
            c => Ok(c),
        }
    }
}
