//! Channels by their names, as selectors' keys list them.

use flumen_api::settings::{ComponentConfig, Problems};

/// The places in `channels` of the names in `text`, each once; every name that is not there is an error with `key`, and
/// then there are none.
pub(super) fn places(
    text: &str,
    key: &str,
    channels: &[String],
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<Vec<usize>> {
    let mut places = Vec::new();
    let mut known = true;
    for name in text.split_whitespace() {
        match channels.iter().position(|channel| channel == name) {
            Some(at) if places.contains(&at) => {}
            Some(at) => places.push(at),
            None => {
                let advice = match name.contains(',') {
                    true => "; names in a list are separated by blanks, not commas",
                    false => "",
                };
                let message = format!("`{name}` is not among the source's channels that run{advice}");
                problems.error(config, key, message);
                known = false;
            }
        }
    }
    known.then_some(places)
}
