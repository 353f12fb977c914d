use super::*;

fn content(name: &str, text: &str) -> FileContent {
    FileContent { name: name.into(), bytes: text.into() }
}

fn merge(text: &str) -> Properties {
    Properties::merge(&[content("f.conf", text)], &Environment::default())
}

fn shown(properties: &Properties) -> Vec<String> {
    properties.problems.iter().map(|problem| problem.to_string()).collect()
}

#[track_caller]
fn only_problem(text: &str, parts: &[&str]) {
    let shown = shown(&merge(text));
    assert_eq!(shown.len(), 1, "{shown:#?}");
    for part in parts {
        assert!(shown[0].contains(part), "{part:?} is not in {shown:?}");
    }
}

#[test]
fn a_later_file_overrides_an_earlier_one_key_by_key_without_a_word() {
    let properties = Properties::merge(
        &[content("a", "a1.sources=r1\na1.sinks=k1"), content("b", "# over\na1.sinks=k2")],
        &Environment::default(),
    );
    assert_eq!(properties.values["a1.sources"].resolved, "r1");
    let sinks = &properties.values["a1.sinks"];
    assert_eq!((sinks.resolved.as_str(), &*sinks.file, sinks.line), ("k2", "b", 2));
    assert_eq!(shown(&properties), [""; 0]);
}

#[test]
fn a_duplicate_key_is_named_with_both_lines_and_the_last_wins() {
    only_problem("a1.sources=r1\na1.sources=r2", &["f.conf:2: warning: a1.sources", "line 1"]);
    assert_eq!(merge("a1.sources=r1\na1.sources=r2").values["a1.sources"].resolved, "r2");
}

#[test]
fn a_line_that_is_no_property_is_an_error_with_its_line() {
    only_problem("\nthis is no property", &["f.conf:2: error: this", "key = value"]);
    only_problem("a1.sources.r1.type", &["f.conf:1: error: a1.sources.r1.type"]);
    only_problem("= value", &["f.conf:1: error"]);
    only_problem("a1.sources = \\u12", &["f.conf:1: error: a1.sources", "\\u12"]);
    assert_eq!(merge("this is no property\na1.sources = \\u12").malformed(), 2);
}

#[test]
fn a_key_without_a_value_is_ignored_with_a_warning() {
    only_problem("a1.sinks.k1.suffix =", &["f.conf:1: warning", "no value"]);
    assert!(merge("a1.sinks.k1.suffix =").values.is_empty());
}

#[test]
fn two_properties_on_one_line_are_noticed() {
    only_problem("a.sinks.k.type = hdfs a.sinks.k.hdfs.path = /x", &["`a.sinks.k.hdfs.path`", "line break"]);
    only_problem("a.sinks = k a.sinks.k.type= hdfs", &["`a.sinks.k.type`"]);
    assert_eq!(shown(&merge("a.sources.s.command = sh -c x=1 b.sinks=2")), [""; 0]);
    assert_eq!(shown(&merge("a.sources.s.command = grep a.sinks.k.type")), [""; 0]);
}

#[test]
fn a_circle_names_every_member_with_its_line() {
    let shown = shown(&merge("a1.sources.a = ${a1.sources.b}\na1.sources.b = ${a1.sources.a}"));
    assert_eq!(shown.len(), 2);
    assert!(shown[0].starts_with("f.conf:1: error: a1.sources.a: refers to itself"), "{shown:?}");
    assert!(shown[1].starts_with("f.conf:2: error: a1.sources.b: refers to itself"), "{shown:?}");
}

#[test]
fn what_resolves_to_nothing_is_a_warning_except_where_a_shell_or_a_filter_resolves_it() {
    only_problem(
        "a1.sinks.k1.path = ${env:NO_SUCH_VARIABLE}/x",
        &["f.conf:1: warning", "NO_SUCH_VARIABLE is not set"],
    );
    assert_eq!(shown(&merge("a1.sources.r1.command = echo ${HOME}")), [""; 0]);
    assert_eq!(shown(&merge("a1.sinks.k1.password = ${f1[\"pw\"]}")), [""; 0]);
}

#[test]
fn a_plain_variable_that_the_environment_knows_is_answered_with_the_two_ways_out() {
    let environment =
        Environment { variables: BTreeMap::from([("HOME".into(), "/h".into())]), ..Environment::default() };
    let properties = Properties::merge(&[content("f", "a1.sinks.k.path = ${HOME}")], &environment);
    let shown = shown(&properties);
    assert!(shown[0].contains("${env:HOME}") && shown[0].contains("EnvVarResolverProperties"), "{shown:?}");
}

#[test]
fn keys_that_configure_nothing_are_named_unless_another_refers_to_them() {
    only_problem("a1.sources=r1\na1.sink = k1", &["f.conf:2: warning: a1.sink", "did you mean `sinks`"]);
    only_problem("a1.sources=r1\nbase = /x", &["f.conf:2: warning: base"]);
    assert_eq!(shown(&merge("base = /x\na1.sources.r1.dir = ${base}/y")), [""; 0]);
}

#[test]
fn agents_are_those_with_a_known_kind() {
    let properties = merge("b.sinks=k\na1.sources=r\na1.channels=c\nlog.dir=/x\nc-2.channels.c.type=memory");
    assert_eq!(properties.agents(), ["a1", "b", "c-2"]);
}
