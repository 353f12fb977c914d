use super::*;

fn environment() -> Environment {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Environment {
        variables: map(&[
            ("HOME", "/home/u"),
            ("EMPTY", ""),
            ("INDIRECT", "${env:HOME}/x"),
            ("LOOP", "${env:LOOP}"),
        ]),
        system: map(&[("env", "DEV"), ("port", "4141")]),
        runs_commands: false,
    }
}

fn all(pairs: &[(&str, &str)]) -> Resolved {
    let raw = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    resolve(&raw, &environment())
}

fn one(text: &str) -> String {
    let resolved = all(&[("k", text), ("base", "/data"), ("dir", "${base}/in"), ("DEV_BIND", "10.0.0.1")]);
    assert_eq!(resolved.failures, BTreeMap::new(), "{text}");
    resolved.values["k"].clone()
}

#[test]
fn every_form_resolves() {
    assert_eq!(one("${env:HOME}/log"), "/home/u/log");
    assert_eq!(one("${ENV:HOME}"), "/home/u");
    assert_eq!(one("${sys:port}"), "4141");
    assert_eq!(one("${base}"), "/data");
    assert_eq!(one("${dir}/x"), "/data/in/x");
    assert_eq!(one("${env:INDIRECT}"), "/home/u/x");
    assert_eq!(one("a ${base} b ${sys:port} c"), "a /data b 4141 c");
}

#[test]
fn defaults_apply_only_to_what_resolves_to_nothing() {
    assert_eq!(one("${env:NOPE:-dflt}"), "dflt");
    assert_eq!(one("${nope:-dflt}"), "dflt");
    assert_eq!(one("${nope:-}"), "");
    assert_eq!(one("${env:HOME:-dflt}"), "/home/u");
    assert_eq!(one("[${env:EMPTY:-dflt}]"), "[]");
    assert_eq!(one("${nope:-a:-b}"), "a:-b");
    assert_eq!(one("${nope:-${base}}"), "/data");
}

#[test]
fn the_inner_reference_is_resolved_first() {
    assert_eq!(one("${${sys:env}_BIND}"), "10.0.0.1");
    assert_eq!(one("${${sys:nope:-DEV}_BIND}"), "10.0.0.1");
}

#[test]
fn an_escaped_reference_is_literal() {
    assert_eq!(one("$${base}"), "${base}");
    assert_eq!(one("$$${base}"), "$${base}");
    assert_eq!(one("$${x${base}}"), "${x/data}");
    assert_eq!(one("cost: $5, $$"), "cost: $5, $$");
}

#[test]
fn what_cannot_be_resolved_stays_verbatim_and_is_named() {
    for text in [
        "${nope}",
        "${env:NOPE}",
        "${x",
        "${",
        "${}",
        "a}b",
        "${date:ww}",
        "${java:version}",
        "${f1[\"key\"]}",
    ] {
        assert_eq!(one(text), text);
    }
    assert_eq!(one("${nope ${base}}"), "${nope ${base}}");
    assert_eq!(one("${open ${base}"), "${open /data");
    let resolved = all(&[("k", "${nope}/${env:X}")]);
    let names: Vec<_> = resolved.unresolved["k"].iter().map(String::as_str).collect();
    assert_eq!(names, ["env:X", "nope"]);
}

#[test]
fn a_fruitless_prefix_falls_back_to_the_properties() {
    assert_eq!(one("${env:base}"), "/data");
}

#[test]
fn plain_names_mean_the_environment_only_when_asked_for() {
    let raw = BTreeMap::from([("k".to_string(), "${HOME}/${NOPE}".to_string())]);
    assert_eq!(resolve(&raw, &environment()).values["k"], "${HOME}/${NOPE}");
    let mut asked = environment();
    asked.system.insert("propertiesImplementation".into(), ENV_RESOLVER.into());
    assert_eq!(resolve(&raw, &asked).values["k"], "/home/u/${NOPE}");
}

#[test]
fn a_circle_is_an_error_of_its_members_and_of_what_refers_to_them() {
    let resolved = all(&[("a", "x${b}"), ("b", "${a}y"), ("c", "${a}"), ("self", "${self}"), ("fine", "1")]);
    let failed: Vec<_> = resolved.failures.keys().map(String::as_str).collect();
    assert_eq!(failed, ["a", "b", "c", "self"]);
    assert_eq!(resolved.failures["a"], "refers to itself: ${a} → ${b} → ${a}");
    assert!(resolved.failures["b"].contains("${a} → ${b}"), "{}", resolved.failures["b"]);
    assert_eq!(resolved.values["fine"], "1");
}

#[test]
fn an_environment_variable_that_refers_to_itself_is_an_error() {
    assert!(all(&[("k", "${env:LOOP}")]).failures["k"].contains("refers to itself"));
}

#[test]
fn a_large_value_on_every_line_is_refused_before_memory_is_full() {
    let mut pairs = vec![("big".to_string(), "x".repeat(VALUE_BYTES_MAX))];
    pairs.extend((0..100).map(|line| (format!("k{line:02}"), "${big}".to_string())));
    let resolved = resolve(&pairs.into_iter().collect(), &environment());
    assert_eq!(resolved.failures.len(), 96);
    assert!(resolved.failures["k99"].contains("all values together"), "{}", resolved.failures["k99"]);
}

#[test]
fn a_default_does_not_excuse_a_circle() {
    assert!(all(&[("a", "${b:-x}"), ("b", "${a:-y}")]).failures.contains_key("a"));
}

#[test]
fn hostile_texts_are_answered_with_an_error_soon() {
    let deep = "${".repeat(50_000) + &"}".repeat(50_000);
    assert!(all(&[("k", &deep)]).failures["k"].contains("nested"));

    let open = "${".repeat(50_000);
    assert_eq!(all(&[("k", &open)]).values["k"], open);

    let doubling: Vec<_> = (0..40)
        .map(|n| (format!("k{n:02}"), format!("0123456789${{k{:02}}}${{k{:02}}}", n + 1, n + 1)))
        .collect();
    let raw: BTreeMap<_, _> = doubling.into_iter().collect();
    let resolved = resolve(&raw, &environment());
    assert!(resolved.failures["k00"].contains("beyond"), "{:?}", resolved.failures.get("k00"));

    let chain: BTreeMap<_, _> =
        (0..200).map(|n| (format!("k{n:03}"), format!("${{k{:03}}}", n + 1))).collect();
    assert!(resolve(&chain, &environment()).failures["k000"].contains("chain"));
}

#[test]
fn what_others_refer_to_is_known() {
    let resolved = all(&[("base", "/data"), ("k", "${base}/x")]);
    assert!(resolved.referred.contains("base"));
    assert!(!resolved.referred.contains("k"));
}
