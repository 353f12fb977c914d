//! What of the directory needs a person, in one line.

use super::*;

/// So many files are named; of the others only the number.
const NAMED_MAX: usize = 5;

impl Spooler<'_> {
    /// Says what is wrong, or that nothing is.
    pub(super) fn report(&self) {
        let mut parts = Vec::new();
        if !self.aside.is_empty() {
            let named = self.aside.iter().map(|sign| match self.reasons.get(sign) {
                Some(why) => format!("{} ({why})", sign.display()),
                None => sign.display().to_string(),
            });
            parts.push(format!("set aside: {}", list(named, self.aside.len())));
        }
        for one in self.resting.iter().take(NAMED_MAX) {
            parts.push(format!("{} {}", one.path.display(), one.why));
        }
        if self.resting.len() > NAMED_MAX {
            parts.push(format!("{} more files wait likewise", self.resting.len() - NAMED_MAX));
        }
        parts.extend(self.unlisted.iter().map(|why| format!("cannot be listed: {why}")));
        self.context.report((!parts.is_empty()).then(|| parts.join("; ")));
    }
}

fn list(names: impl Iterator<Item = String>, count: usize) -> String {
    let mut text = names.take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if count > NAMED_MAX {
        text.push_str(&format!(" and {} more", count - NAMED_MAX));
    }
    text
}
