//! Replacement texts as Java's `Matcher.appendReplacement` reads them.
//!
//! ```text
//!   $1 … $12   a group; more digits belong to it as long as there is such a group
//!   ${name}    a group by its name
//!   \c         c itself, whatever it is: `\$`, `\\`
//! ```
//!
//! Anything else after `$`, a group that does not exist, and a `\` at the end are errors. Java finds them with the first
//! match; here they are found when the configuration is read.

use fancy_regex::Captures;

use super::JavaRegex;

/// A replacement text, taken apart.
pub struct Replacement(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Replacement {
    /// Reads `text`, a replacement for matches of `regex`.
    pub fn new(text: &str, regex: &JavaRegex) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            let group = match c {
                '\\' => {
                    literal
                        .push(rest.next().ok_or("a `\\` at the end; for the character itself write `\\\\`")?);
                    continue;
                }
                '$' => match rest.next() {
                    Some('{') => {
                        let name: String = rest.by_ref().take_while(|c| *c != '}').collect();
                        regex.group_called(&name).ok_or_else(|| format!("there is no group `{name}`"))?
                    }
                    Some(digit @ '0'..='9') => {
                        let mut group = value(digit);
                        while let Some(more) =
                            rest.peek().filter(|c| c.is_ascii_digit()).map(|c| group * 10 + value(*c))
                            && more <= regex.groups()
                        {
                            group = more;
                            rest.next();
                        }
                        if group > regex.groups() {
                            return Err(format!(
                                "there is no group {group}; the expression has {}",
                                regex.groups()
                            ));
                        }
                        group
                    }
                    _ => return Err("a `$` without a group; for the character itself write `\\$`".into()),
                },
                c => {
                    literal.push(c);
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Group(group));
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self(parts))
    }

    /// Appends what replaces the match; a group that took no part is nothing.
    pub(super) fn append(&self, captures: &Captures<'_>, out: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => out.push_str(captures.get(*group).map_or("", |group| group.as_str())),
            }
        }
    }
}

fn value(digit: char) -> usize {
    digit.to_digit(10).unwrap_or_default() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, replacement: &str, text: &str) -> Result<Option<String>, String> {
        let regex = JavaRegex::new(pattern)?;
        let replacement = Replacement::new(replacement, &regex)?;
        Ok(regex.replace_all(text, &replacement).expect("few steps"))
    }

    /// What Java 17 gives.
    #[test]
    fn groups_and_escapes_are_javas() {
        for (pattern, replacement, text, result) in [
            ("b", "X", "abcb", "aXcX"),
            ("(a)(b)", "$2$1", "abab", "baba"),
            ("(a)", "$12", "a", "a2"),
            ("(a)", "$0$0", "a", "aa"),
            ("(?<x>a)(?<y>b)", "${y}-${x}", "ab", "b-a"),
            ("(a)|(b)", "[$1$2]", "ab", "[a][b]"),
            ("a", "\\$1\\\\", "a", "$1\\"),
            ("a", "\\x", "a", "x"),
            ("x*", "-", "abxc", "-a-b--c-"),
            ("^", "> ", "line", "> line"),
            ("$", "!", "end\n", "end!\n!"),
            ("\\s+", "", " a b ", "ab"),
            ("a", "", "a", ""),
        ] {
            let found = replaced(pattern, replacement, text);
            assert_eq!(found, Ok(Some(result.to_string())), "{pattern} {replacement} {text}");
        }
        assert_eq!(replaced("z", "x", "abc"), Ok(None));
        assert_eq!(replaced("z", "x", ""), Ok(None));
        assert_eq!(replaced("", "x", ""), Ok(Some("x".into())));
    }

    #[test]
    fn what_java_would_throw_on_is_an_error_at_once() {
        for (replacement, word) in
            [("$2", "no group 2"), ("$", "`\\$`"), ("$x", "`\\$`"), ("${no}", "`no`"), ("a\\", "at the end")]
        {
            let error = replaced("(a)", replacement, "a").expect_err(replacement);
            assert!(error.contains(word), "{error}");
        }
    }
}
