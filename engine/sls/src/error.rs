//! Why a call failed.
//!
//! The service answers `{"errorCode":"…","errorMessage":"…"}`; the code decides what is to be done, for the statuses of the codes are
//! documented nowhere.

use serde::Deserialize;

/// How much of a message is shown.
const MESSAGE_MAX: usize = 300;

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {what}")]
pub struct Error {
    /// Which call, with shard and group.
    pub call: String,
    /// What went wrong.
    pub what: What,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// No whole answer came: connection, time, TLS. Whether the service did it is unknown.
    #[error("{0}")]
    Transport(String),
    /// The service said no.
    #[error("the service answered {status} {code}: {message} (request {request})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The service's code.
        code: String,
        /// Its words.
        message: String,
        /// `x-log-requestid`, for Aliyun's support.
        request: String,
    },
    /// The answer cannot be understood.
    #[error("an answer that cannot be understood: {0}")]
    Malformed(String),
    /// The answer is larger than what is taken in.
    #[error("an answer of more than {0} bytes")]
    TooLarge(usize),
}

impl Error {
    /// The service's code; empty if it gave none.
    pub fn code(&self) -> &str {
        match &self.what {
            What::Refused { code, .. } => code,
            _ => "",
        }
    }

    /// The shard is not this member's, or the member unknown: another one has it, and nothing is wrong.
    pub fn is_not_ours(&self) -> bool {
        // `Exsit` is how the service writes it.
        const CODES: [&str; 4] =
            ["ConsumerNotExsit", "ConsumerNotExist", "ConsumerNotMatch", "ConsumerGroupNotExist"];
        CODES.contains(&self.code())
    }

    /// The shard is gone: its records have expired after a split or a merge.
    pub fn is_shard_gone(&self) -> bool {
        self.code() == "ShardNotExist"
    }

    /// The cursor points at nothing: what it meant has expired.
    pub fn is_cursor_gone(&self) -> bool {
        self.code() == "InvalidCursor"
    }

    /// The consumer group is gone.
    pub fn is_group_gone(&self) -> bool {
        self.code() == "ConsumerGroupNotExist"
    }

    /// Nobody but a person can help: credentials, rights, names.
    pub fn needs_a_person(&self) -> bool {
        const CODES: [&str; 5] = [
            "SignatureNotMatch",
            "Unauthorized",
            "SecurityTokenExpired",
            "ProjectNotExist",
            "LogStoreNotExist",
        ];
        matches!(&self.what, What::Refused { status: 401 | 403, .. }) || CODES.contains(&self.code())
    }

    /// The answer would be another if less was asked for: a pull too large, or damaged.
    pub fn is_about_the_answer(&self) -> bool {
        matches!(self.what, What::Malformed(_) | What::TooLarge(_))
    }
}

/// An answer other than 200.
pub(crate) fn refused(status: u16, body: &[u8], request: &str) -> What {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Said {
        #[serde(rename = "errorCode")]
        code: String,
        #[serde(rename = "errorMessage")]
        message: String,
    }
    let said: Said = serde_json::from_slice(body).unwrap_or_default();
    let code = said.code.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect();
    let message = said.message.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect();
    What::Refused { status, code, message, request: request.chars().take(64).collect() }
}
