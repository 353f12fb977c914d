//! What an answer's status leads to.
//!
//! ```text
//!   rollback.503 = false      for 503 alone
//!   rollback.5XX = true       for 500 to 599, unless a key names the status alone
//!   defaultRollback = true    for all others
//! ```

use std::collections::BTreeMap;

use flumen_api::settings::{ComponentConfig, Family, Problems};

/// One decision, by status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Codes {
    default: bool,
    one: BTreeMap<u16, bool>,
    hundred: BTreeMap<u16, bool>,
}

impl Codes {
    /// From the keys below `prefix`. As in Flume, what is neither a status nor a hundred of them is never looked at; that
    /// is a warning.
    pub fn of(
        prefix: &str,
        family: &Family,
        default: bool,
        config: &ComponentConfig,
        problems: &mut Problems,
    ) -> Self {
        let mut codes = Self { default, one: BTreeMap::new(), hundred: BTreeMap::new() };
        for (code, value) in &family.0 {
            let decision = value.resolved.eq_ignore_ascii_case("true");
            let key = format!("{prefix}{code}");
            if !decision && !value.resolved.eq_ignore_ascii_case("false") {
                problems.warn(
                    config,
                    &key,
                    format!("`{}` is read as false, as Flume reads it", value.resolved),
                );
            }
            let digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
            match code.strip_suffix("XX") {
                Some(first) if first.len() == 1 && matches!(first.as_bytes()[0], b'1'..=b'9') => {
                    codes.hundred.insert(u16::from(first.as_bytes()[0] - b'0'), decision);
                }
                None if digits => drop(codes.one.insert(code.parse().unwrap_or(0), decision)),
                _ => {
                    let message = format!(
                        "`{code}` is neither a status such as 503 nor a hundred such as 5XX: ignored"
                    );
                    problems.warn(config, &key, message);
                }
            }
        }
        codes
    }

    /// What holds for `status`.
    pub fn get(&self, status: u16) -> bool {
        let found = self.one.get(&status).or_else(|| self.hundred.get(&(status / 100)));
        found.copied().unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::{Key, Kind, Setting};

    use super::*;

    fn codes(pairs: &[(&str, &str)], default: bool) -> (Codes, Problems) {
        let config = ComponentConfig::of(Kind::Sink, "k1", pairs);
        let mut problems = Problems::default();
        let family = Family::load(&Key::new("rollback.", "", ""), &config, &mut problems).expect("a family");
        (Codes::of("rollback.", &family, default, &config, &mut problems), problems)
    }

    #[test]
    fn a_status_wins_over_its_hundred_and_that_over_the_default() {
        let pairs = [("rollback.2XX", "false"), ("rollback.202", "TRUE"), ("rollback.503", "false")];
        let (codes, problems) = codes(&pairs, true);
        assert!(problems.0.is_empty());
        let of = |status| codes.get(status);
        assert_eq!([200, 202, 299, 503, 500, 404].map(of), [false, true, false, false, true, true]);
    }

    #[test]
    fn what_is_no_status_is_ignored_with_a_warning() {
        let pairs = [
            ("rollback.2xx", "false"),
            ("rollback.XX", "false"),
            ("rollback.20", "false"),
            ("rollback.all", "x"),
        ];
        let (codes, problems) = codes(&pairs, true);
        assert!(codes.get(200));
        assert_eq!((problems.0.len(), problems.errors()), (5, 0));
    }
}
