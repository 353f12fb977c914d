//! Keys of the irc sink.

use flumen_api::settings::settings;

settings! {
    /// Keys of the irc sink.
    pub struct IrcSettings {
        /// The server's name or address.
        pub hostname: String = key("hostname") { required: true },
        /// The server's port.
        pub port: u16 = key("port") { default: Some("6667"), min: Some(1), max: Some(65535) },
        /// The name to appear under. While somebody else has it, one with a line below at its end.
        pub nick: String = key("nick") { required: true },
        /// The user's name; the nick where it is not set.
        pub user: Option<String> = key("user") { },
        /// The server's password.
        pub password: Option<String> = key("password") { secret: true },
        /// The IRC channel to write to, without the # that is put before it.
        pub chan: String = key("chan") { required: true },
        /// The real name; the nick where it is not set.
        pub name: Option<String> = key("name") { },
        /// Whether a body is split into lines, each of which is a message. Else it is one message, in which a blank stands
        /// for each line end.
        pub split_lines: bool = key("splitlines") { default: Some("false") },
        /// A regular expression for what stands between lines; a newline where it is not set.
        pub split_chars: Option<String> = key("splitchars") { },
    }
}
