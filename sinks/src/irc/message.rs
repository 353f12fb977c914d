//! Lines of the protocol (RFC 1459 and 2812).
//!
//! ```text
//!   [@tags ] [:prefix ] COMMAND [param …] [:last param, blanks and all] CR LF      at most 512 bytes, without tags
//! ```
//!
//! What a server sends is read leniently: any line end, any prefix, tags skipped. A line without a command is skipped.

use flumen_java::JavaRegex;

/// Longest line that a server passes on, its end included.
const LINE_MAX: usize = 512;
/// Longest host name that servers put into a prefix.
const HOST_MAX: usize = 63;
/// What is left for text in any case.
const TEXT_MIN: usize = 32;

/// A line from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Who sent it: the nick of a `nick!user@host`, or a server.
    pub from: String,
    /// Upper case, or three digits.
    pub command: String,
    pub params: Vec<String>,
}

impl Message {
    /// From a line without its end; `None` if it has no command.
    pub fn parse(line: &str) -> Option<Self> {
        let mut rest = line.trim_start_matches(' ');
        if rest.starts_with('@') {
            rest = rest.split_once(' ')?.1.trim_start_matches(' ');
        }
        let mut from = "";
        if let Some(prefixed) = rest.strip_prefix(':') {
            let (prefix, after) = prefixed.split_once(' ')?;
            from = prefix.split('!').next().unwrap_or(prefix);
            rest = after;
        }
        let (middle, last) = match rest.split_once(" :") {
            Some((middle, last)) => (middle, Some(last)),
            None => (rest, None),
        };
        let mut words = middle.split(' ').filter(|word| !word.is_empty());
        let command = words.next()?.to_ascii_uppercase();
        let params = words.chain(last).map(str::to_string).collect();
        Some(Self { from: from.to_string(), command, params })
    }

    /// The number of a reply.
    pub fn number(&self) -> Option<u16> {
        (self.command.len() == 3).then(|| self.command.parse().ok())?
    }

    /// The last parameter: what is meant for people.
    pub fn text(&self) -> &str {
        self.params.last().map_or("", String::as_str)
    }
}

/// How many bytes of text a message to `target` may have, so that nobody gets it cut: the server puts who we are in front.
pub(super) fn text_max(nick: &str, user: &str, target: &str) -> usize {
    // ":nick!~user@host PRIVMSG target :text\r\n"
    let around =
        1 + nick.len() + 2 + user.len() + 1 + HOST_MAX + " PRIVMSG ".len() + target.len() + " :\r\n".len();
    LINE_MAX.saturating_sub(around).max(TEXT_MIN)
}

/// A text in pieces of at most `max` bytes, cut between characters, the last of which is blank or not at all.
pub(super) fn pieces(text: &str, max: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut end = rest.len().min(max);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// A text that cannot end its line and begin another, which the server would take for a command.
pub(super) fn in_one_line(text: &str) -> String {
    text.replace("\r\n", " ").replace(['\r', '\n', '\0'], " ")
}

/// Whether a word can stand in a line as a parameter.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(':') && !text.contains([' ', '\r', '\n', '\0'])
}

/// A body's messages. One whose split takes too many steps is a single message.
pub(super) fn lines(body: &str, separator: &JavaRegex) -> Vec<String> {
    separator.split(body).unwrap_or_else(|_gave_up| vec![body.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_servers_are_taken_apart() {
        let parse = |line| Message::parse(line).unwrap_or_else(|| panic!("{line}"));
        let welcome = parse(":irc.example.org 001 flumen :Welcome to IRC");
        assert_eq!((welcome.number(), welcome.text()), (Some(1), "Welcome to IRC"));
        let privmsg = parse("@time=now;x=y :nick!~u@host PRIVMSG #chan :one : two");
        assert_eq!(
            (privmsg.from.as_str(), privmsg.params.as_slice()),
            ("nick", ["#chan".to_string(), "one : two".into()].as_slice())
        );
        assert_eq!(parse("ping token").params, ["token"]);
        assert_eq!(parse("PING :").params, [""]);
        assert_eq!(parse(":s  433  *  nick  :in use").params, ["*", "nick", "in use"]);
        for line in ["", " ", ":", ":prefix", ":prefix ", "@tags", "@tags "] {
            assert_eq!(Message::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(100);
        let cut: Vec<&str> = pieces(&text, 33).collect();
        assert!(cut.iter().all(|piece| piece.len() == 32 || piece.len() == 8), "{cut:?}");
        assert_eq!(cut.concat(), text);
        assert_eq!(pieces("", 10).count(), 0);
        assert!(text_max("flumen", "flumen", "#logs") > 400);
        assert_eq!(text_max(&"n".repeat(600), "u", "#c"), TEXT_MIN);
    }

    #[test]
    fn no_text_smuggles_a_command() {
        assert_eq!(in_one_line("a\r\nQUIT\rx\ny\0z"), "a QUIT x y z");
        for word in ["", ":x", "a b", "a\nQUIT", "a\r", "a\0"] {
            assert!(!is_word(word), "{word:?}");
        }
    }
}
