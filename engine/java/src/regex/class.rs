//! Character classes: Java's names for sets of characters.

/// The members of a set as the inside of a class, and whether the class is negated.
pub(super) struct Set {
    pub members: String,
    pub negated: bool,
}

impl Set {
    fn of(members: impl Into<String>, negated: bool) -> Self {
        Self { members: members.into(), negated }
    }

    /// As a class, which may stand by itself or inside another.
    pub fn text(&self) -> String {
        format!("[{}{}]", if self.negated { "^" } else { "" }, self.members)
    }
}

/// The line ends at which `.` stops.
pub(super) const LINE_ENDS: &str = "\\n\\r\u{85}\u{2028}\u{2029}";
const WORD: &str = "A-Za-z0-9_";
const SPACE: &str = " \\t-\\r";
const HORIZONTAL: &str = " \\t\u{a0}\u{1680}\u{180e}\u{2000}-\u{200a}\u{202f}\u{205f}\u{3000}";
const VERTICAL: &str = "\\n-\\r\u{85}\u{2028}\u{2029}";

/// The set of `\d`, `\W` and the like. With the flag `U` words, digits and spaces are Unicode's.
pub(super) fn shorthand(letter: char, unicode: bool) -> Option<Set> {
    let members = match (letter.to_ascii_lowercase(), unicode) {
        ('d', false) => "0-9",
        ('d', true) => "\\d",
        ('w', false) => WORD,
        ('w', true) => "\\w",
        ('s', false) => SPACE,
        ('s', true) => "\\s",
        ('h', _) => HORIZONTAL,
        ('v', _) => VERTICAL,
        _ => return None,
    };
    Some(Set::of(members, letter.is_ascii_uppercase()))
}

/// The set of `\p{name}`, or `\P{name}` with `negated`.
pub(super) fn property(name: &str, negated: bool) -> Result<Set, String> {
    let members = match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => "\\x00-\\x7f",
        "Alpha" => "A-Za-z",
        "Digit" => "0-9",
        "Alnum" => "A-Za-z0-9",
        "Punct" => "!-/:-@\\[-`{-~",
        "Graph" => "!-~",
        "Print" => " -~",
        "Blank" => " \\t",
        "Cntrl" => "\\x00-\\x1f\\x7f",
        "XDigit" => "0-9A-Fa-f",
        "Space" => SPACE,
        "L1" => "\\x00-\u{ff}",
        "LD" | "javaLetterOrDigit" => "\\p{L}\\p{Nd}",
        "javaLowerCase" => "\\p{Lowercase}",
        "javaUpperCase" => "\\p{Uppercase}",
        "javaAlphabetic" => "\\p{Alphabetic}",
        "javaDigit" => "\\p{Nd}",
        "javaLetter" => "\\p{L}",
        "javaWhitespace" => {
            "\\t-\\r\\x1c-\\x1f \u{1680}\u{2000}-\u{2006}\u{2008}-\u{200a}\u{2028}\u{2029}\u{205f}\u{3000}"
        }
        _ => return unicode(name, negated),
    };
    Ok(Set::of(members, negated))
}

fn unicode(name: &str, negated: bool) -> Result<Set, String> {
    let block = ["In", "block=", "blk="].iter().any(|prefix| name.starts_with(prefix));
    if block || name.starts_with("java") {
        return Err(format!(
            "the set `{name}` is not known here; write the range of its characters, as in `[\\u0370-\\u03ff]`"
        ));
    }
    let name = name.strip_prefix("Is").unwrap_or(name);
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_=- ".contains(c));
    if name.is_empty() || !plain {
        return Err(format!("`{name}` is no name of a set of characters"));
    }
    Ok(Set::of(format!("\\p{{{name}}}"), negated))
}

/// `c` as itself, in a class or outside.
pub(super) fn literal(c: char, out: &mut String) {
    // Angle brackets with a backslash are word boundaries in the other dialect.
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>' | '_') {
        out.push('\\');
    }
    out.push(c);
}
