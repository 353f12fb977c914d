//! The file's grammar, substitution and config filters: a static header shows what a value became.

use crate::case::Case;

/// A header with this value, as it stands in the file.
fn value(name: &'static str, value: &str) -> Case {
    let key = format!("interceptors.i1.value = {value}");
    Case::lines(name, &["interceptors = i1", "interceptors.i1.type = static", &key], &["x"])
}

pub fn cases() -> Vec<Case> {
    vec![
        value("escapes_of_properties", r"tab\tend\\backslash\u4e2d\q\=\:"),
        value("a_continued_line", "one \\\n   \t two"),
        value("blanks_after_a_value", "one  \t "),
        value("a_hash_in_a_value", "a # b ! c"),
        value("latin1_in_the_file", "\u{e9}").differs(
            1,
            &["{key=\u{c3}\u{a9}} x", "OK\n"],
            &["{key=\u{e9}} x", "OK\n"],
        ),
        value("from_the_environment", "${env:DIFFERENTIAL_VARIABLE}"),
        value("from_the_command_line", "${sys:differential.system}"),
        value("a_default", "${env:DIFFERENTIAL_NOT_THERE:-none}, ${nothing.of.it:-n2}"),
        value("an_escaped_reference", "$${env:DIFFERENTIAL_VARIABLE}"),
        value("an_unknown_reference", "${env:DIFFERENTIAL_NOT_THERE} ${HOME}"),
        value("a_nested_reference", "${${env:DIFFERENTIAL_NOT_THERE:-sys}:differential.system}"),
        value("a_config_filter", "${differential_env[\"DIFFERENTIAL_VARIABLE\"]}").agent(&[
            "a1.configfilters = differential_env differential_command",
            "a1.configfilters.differential_env.type = env",
            "a1.configfilters.differential_command.type = external",
            "a1.configfilters.differential_command.command = echo the secret of",
        ]),
        value("a_config_filter_by_command", "${differential_command['key_1']}"),
        value("a_config_filter_without_an_answer", "${differential_env[DIFFERENTIAL_NOT_THERE]}"),
        Case::lines(
            "a_type_by_its_class",
            &[
                "type = org.apache.flume.source.NetcatSource",
                "selector.type = org.apache.flume.channel.ReplicatingChannelSelector",
            ],
            &["x"],
        ),
        Case::lines(
            "a_type_in_capitals_and_a_separator_of_blanks",
            &["interceptors\ti1", "interceptors.i1.type   STATIC", "interceptors.i1.value:v"],
            &["x"],
        ),
    ]
}
