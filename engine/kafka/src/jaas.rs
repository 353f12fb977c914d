//! `sasl.jaas.config`: the line in which Java's clients have a user and a password.
//!
//! ```text
//!   org.apache.kafka.common.security.plain.PlainLoginModule required username="alice" password="it's \"hers\"";
//!   org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="…";
//! ```

/// A user and a password.
pub(crate) struct Login {
    pub module: String,
    pub username: Option<String>,
    pub password: Option<String>,
    /// The two are a delegation token and its code.
    pub is_token: bool,
}

/// Reads the line; the error does not repeat it, for it holds a password.
pub(crate) fn parse(text: &str) -> Result<Login, &'static str> {
    let text = text.trim();
    let text = text.strip_suffix(';').unwrap_or(text);
    let (module, rest) = text.split_once(char::is_whitespace).ok_or("it has no options")?;
    let rest = rest.trim_start();
    let (_flag, mut rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let mut login = Login { module: module.into(), username: None, password: None, is_token: false };
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(login);
        }
        let (name, after) = rest.split_once('=').ok_or("an option has no value")?;
        let (value, after) = value(after.trim_start())?;
        match name.trim() {
            "username" => login.username = Some(value),
            "password" => login.password = Some(value),
            "tokenauth" => login.is_token = value.eq_ignore_ascii_case("true"),
            _ => {}
        }
        rest = after;
    }
}

fn value(text: &str) -> Result<(String, &str), &'static str> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text[..end].into(), &text[end..]));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, char) in quoted.char_indices() {
        match char {
            _ if escaped => {
                value.push(char);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Ok((value, &quoted[at + 1..])),
            _ => value.push(char),
        }
    }
    Err("a value's quote is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_as_java_reads_it() {
        let line = r#" org.apache.kafka.common.security.plain.PlainLoginModule  required
            username="alice" serviceName=kafka password="it's \"hers\"; a\\b" ; "#;
        let Ok(login) = parse(line) else { panic!("no login") };
        assert!(login.module.ends_with("PlainLoginModule"));
        assert_eq!(login.username.as_deref(), Some("alice"));
        assert_eq!(login.password.as_deref(), Some(r#"it's "hers"; a\b"#));
        for bad in ["", "Module", "Module required username", "Module required username=\"a"] {
            assert!(parse(bad).is_err() || bad == "Module required", "{bad}");
        }
    }
}
