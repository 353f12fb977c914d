//! A text that is never shown.

use std::fmt;

use flumen_api::settings::{Key, Setting};

/// A password: read like any text, shown as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Setting for Secret {
    const SHAPE: &'static str = "text";

    fn read(_: &Key, text: Option<&str>) -> Result<Self, String> {
        text.map(Self::from).ok_or_else(|| "no value".into())
    }
}
