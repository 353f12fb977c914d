//! `${date:…}`: the present time in the letters of Java's `SimpleDateFormat`.

/// The present local time; `None` if the pattern is empty or has letters that this reader does not know.
pub(super) fn now(pattern: &str) -> Option<String> {
    let format = strftime(pattern)?;
    jiff::fmt::strtime::format(format, &jiff::Zoned::now()).ok()
}

/// Java's pattern as one for `strftime`.
fn strftime(pattern: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let quoted = rest[1..].split_once('\'')?;
            out.push_str(&if quoted.0.is_empty() { "'".to_string() } else { quoted.0.replace('%', "%%") });
            rest = quoted.1;
            continue;
        }
        let count = rest.chars().take_while(|&c| c == first).count();
        match (first, count) {
            ('y', 2) => out.push_str("%y"),
            ('y', _) => out.push_str("%Y"),
            ('M', 1) => out.push_str("%-m"),
            ('M', 2) => out.push_str("%m"),
            ('M', 3) => out.push_str("%b"),
            ('M', _) => out.push_str("%B"),
            ('d', 1) => out.push_str("%-d"),
            ('d', 2) => out.push_str("%d"),
            ('D', 3) => out.push_str("%j"),
            ('H', 1) => out.push_str("%-H"),
            ('H', 2) => out.push_str("%H"),
            ('h', 1) => out.push_str("%-I"),
            ('h', 2) => out.push_str("%I"),
            ('m', 1) => out.push_str("%-M"),
            ('m', 2) => out.push_str("%M"),
            ('s', 1) => out.push_str("%-S"),
            ('s', 2) => out.push_str("%S"),
            ('S', 3) => out.push_str("%3f"),
            ('E', 1..=3) => out.push_str("%a"),
            ('E', _) => out.push_str("%A"),
            ('a', _) => out.push_str("%p"),
            ('z', _) => out.push_str("%Z"),
            ('Z', _) => out.push_str("%z"),
            ('%', _) => out.push_str(&"%%".repeat(count)),
            (c, _) if c.is_ascii_alphabetic() => return None,
            (c, _) => out.extend(std::iter::repeat_n(c, count)),
        }
        rest = &rest[count * first.len_utf8()..];
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_patterns_translate() {
        assert_eq!(strftime("yyyy-MM-dd").as_deref(), Some("%Y-%m-%d"));
        assert_eq!(strftime("yyMMdd'T'HHmmss.SSS").as_deref(), Some("%y%m%dT%H%M%S.%3f"));
        assert_eq!(strftime("'100%H'").as_deref(), Some("100%%H"));
        assert_eq!(strftime("d MMM ''yy 100%").as_deref(), Some("%-d %b '%y 100%%"));
    }

    #[test]
    fn unknown_letters_are_no_date() {
        assert_eq!(strftime("yyyy-ww"), None);
        assert_eq!(strftime(""), None);
        assert_eq!(strftime("'open"), None);
    }

    #[test]
    fn now_has_the_shape_of_the_pattern() {
        let now = now("yyyy-MM-dd").unwrap();
        assert_eq!(now.len(), 10, "{now}");
        assert!(now.starts_with("20"), "{now}");
    }
}
