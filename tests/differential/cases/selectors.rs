//! Channel selectors: which channels get an event.

use crate::case::{Case, Outputs};

const STATES: &[&str] = &["CZ one", "US two", "cz three", "none", "US four"];

/// A source whose events have the header `state`, and these keys of its selector.
fn by_state(name: &'static str, channels: usize, keys: &[&str]) -> Case {
    let mut all = vec![
        "interceptors = i1".to_string(),
        "interceptors.i1.type = regex_extractor".into(),
        "interceptors.i1.regex = ^([A-Za-z]{2}) ".into(),
        "interceptors.i1.serializers = s1".into(),
        "interceptors.i1.serializers.s1.name = state".into(),
    ];
    all.extend(keys.iter().map(|key| format!("selector.{key}")));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Case::lines(name, &all, STATES).channels(channels)
}

pub fn cases() -> Vec<Case> {
    vec![
        by_state("replicating_is_the_default", 3, &[]).delivers(15),
        by_state("replicating_with_an_optional_channel", 2, &["type = replicating", "optional = @C2@"])
            .delivers(10),
        by_state(
            "multiplexing",
            4,
            &[
                "type = multiplexing",
                "header = state",
                "mapping.CZ = @C1@",
                "mapping.US = @C2@ @C3@",
                "default = @C4@",
            ],
        )
        .delivers(7),
        by_state(
            "multiplexing_without_default",
            2,
            &["type = multiplexing", "header = state", "mapping.CZ = @C1@", "mapping.US = @C2@"],
        )
        .delivers(3),
        by_state(
            "multiplexing_with_optional_channels",
            3,
            &[
                "type = multiplexing",
                "header = state",
                "mapping.CZ = @C1@",
                "optional.US = @C2@ @C3@",
                "default = @C3@",
            ],
        )
        .delivers(7),
        by_state("load_balancing_at_random", 2, &["type = load_balancing", "policy = random"])
            .outputs(Outputs::Together)
            .delivers(0)
            .differs(
                5,
                &["", "(connection: connection refused)"],
                &[
                    "{state=CZ} CZ one\n{state=US} US four\n{state=US} US two\n{state=cz} cz three\n{state=no} none",
                    "OK\nOK\nOK\nOK\nOK\n",
                ],
            ),
        by_state("load_balancing", 2, &["type = load_balancing", "policy = round_robin"])
            .outputs(Outputs::Together)
            .delivers(0)
            .differs(
                5,
                &["", "(connection: connection refused)"],
                &[
                    "{state=CZ} CZ one\n{state=US} US four\n{state=US} US two\n{state=cz} cz three\n{state=no} none",
                    "OK\nOK\nOK\nOK\nOK\n",
                ],
            ),
    ]
}
