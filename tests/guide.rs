//! The guide to the components, and the list of them in the README, are generated from the very tables that parse their
//! keys, and are never edited by hand.
//!
//! `UPDATE_GUIDE=1 cargo test --test guide` writes them anew.

use std::fmt::Write as _;
use std::path::Path;

use flumen_api::registry::{Factory, Registry, Spec};
use flumen_api::settings::{Key, Kind, Unit};

const KINDS: &[(Kind, &str)] = &[
    (Kind::Source, "Sources"),
    (Kind::Channel, "Channels"),
    (Kind::Sink, "Sinks"),
    (Kind::Interceptor, "Interceptors"),
    (Kind::ValueSerializer, "Serializers of regex_extractor"),
    (Kind::Selector, "Channel selectors"),
    (Kind::Processor, "Sink processors"),
];

/// The README's lines between these are generated.
const README_MARKS: (&str, &str) =
    ("<!-- types: tests/guide.rs writes these lines -->\n", "<!-- end of types -->\n");

#[test]
fn the_guide_says_what_the_key_tables_say() {
    keep("docs/guide/components.md", |_| guide(&flumen::standard_registry()));
}

#[test]
fn the_readme_lists_what_is_built_in() {
    keep("README.md", |readme| {
        let (head, rest) = readme.split_once(README_MARKS.0).expect("the README has the first mark");
        let (_, tail) = rest.split_once(README_MARKS.1).expect("the README has the second mark");
        let types = types(&flumen::standard_registry());
        format!("{head}{}{types}{}{tail}", README_MARKS.0, README_MARKS.1)
    });
}

/// Fails if the file is not as `generate` makes it of itself, or with UPDATE_GUIDE writes it.
fn keep(name: &str, generate: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let should = generate(&written);
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        std::fs::write(&path, should).unwrap();
        return;
    }
    let stale = written.lines().zip(should.lines()).position(|(is, should)| is != should);
    assert!(
        written == should,
        "{name} is stale from line {}; UPDATE_GUIDE=1 cargo test --test guide writes it anew",
        stale.unwrap_or(written.lines().count().min(should.lines().count())) + 1,
    );
}

#[test]
fn every_key_is_documented() {
    let registry = flumen::standard_registry();
    let specs = KINDS.iter().flat_map(|(kind, _)| registry.of(*kind));
    for (spec, key) in specs.flat_map(|spec| spec.keys.iter().map(move |key| (spec, key))) {
        assert!(!key.doc.trim().is_empty(), "{} of {} has no doc", key.name, name(spec));
    }
}

fn built_in(registry: &Registry, kind: Kind) -> impl Iterator<Item = &Spec> {
    registry.of(kind).filter(|spec| !matches!(spec.factory, Factory::Unavailable(..)))
}

fn types(registry: &Registry) -> String {
    let mut text = String::from("\n| kind | types |\n| --- | --- |\n");
    for (kind, title) in KINDS {
        let names: Vec<String> = built_in(registry, *kind).map(|spec| format!("`{}`", name(spec))).collect();
        if !names.is_empty() {
            writeln!(text, "| {} | {} |", title.to_lowercase(), names.join(", ")).unwrap();
        }
    }
    text.push('\n');
    text
}

fn guide(registry: &Registry) -> String {
    let mut text = String::from(
        "# Components and their keys\n\n\
         Generated from the tables that parse the keys (`UPDATE_GUIDE=1 cargo test --test guide`): do not edit.\n\n\
         A key stands after its component's prefix: `a1.sources.r1.` for a source, `a1.channels.c1.` for a channel, \
         `a1.sinks.k1.` for a sink, `a1.sources.r1.interceptors.i1.` for an interceptor, `a1.sources.r1.selector.` for a \
         selector, `a1.sinkgroups.g1.processor.` for a sink processor. A name that ends in `.` stands for all keys that begin so. *Live* keys are changed by a reload in \
         place; any other restarts its component.\n",
    );
    for (kind, title) in KINDS {
        // A later type of the same name wins over an earlier one; only what `find` returns can ever run.
        let built_in: Vec<&Spec> = built_in(registry, *kind).collect();
        let unavailable: Vec<(String, &str)> = registry
            .of(*kind)
            .filter_map(|spec| match spec.factory {
                Factory::Unavailable(_, advice) if wins(registry, spec) => Some((name(spec), advice)),
                _ => None,
            })
            .collect();
        if built_in.is_empty() && unavailable.is_empty() {
            continue;
        }
        writeln!(text, "\n## {title}").unwrap();
        for spec in built_in {
            component(&mut text, spec);
        }
        if !unavailable.is_empty() {
            writeln!(text, "\n### Flume's types that are not built in\n\n| type | |\n| --- | --- |").unwrap();
            for (name, advice) in unavailable {
                writeln!(text, "| `{name}` | {} |", cell(advice)).unwrap();
            }
        }
    }
    text
}

fn wins(registry: &Registry, spec: &Spec) -> bool {
    let name = name(spec);
    registry.find(spec.kind(), &name).is_some_and(|found| matches!(found.factory, Factory::Unavailable(..)))
}

fn name(spec: &Spec) -> String {
    match spec.alias {
        "" => spec.class_names.first().copied().unwrap_or("?").into(),
        alias => alias.into(),
    }
}

fn component(text: &mut String, spec: &Spec) {
    writeln!(text, "\n### {}\n\n{}", name(spec), spec.doc.trim()).unwrap();
    let names: Vec<String> = spec.class_names.iter().map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        writeln!(text, "\nFlume's class name: {}", names.join(", ")).unwrap();
    }
    if spec.keys.is_empty() {
        return;
    }
    writeln!(text, "\n| key | value | default | |\n| --- | --- | --- | --- |").unwrap();
    for key in spec.keys {
        let default = match (key.default, key.required) {
            (_, true) => "**required**".into(),
            (Some(default), _) => format!("`{default}`"),
            (None, _) => String::new(),
        };
        writeln!(text, "| `{}` | {} | {default} | {} |", key.name, value(key), meaning(key)).unwrap();
    }
}

/// What a value looks like: words allowed, else shape, unit and bounds.
fn value(key: &Key) -> String {
    if !key.one_of.is_empty() {
        let words: Vec<String> = key.one_of.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    let unit = match key.unit {
        Unit::None => "",
        Unit::Events => ", events",
        Unit::Bytes => ", bytes",
        Unit::Millis => ", ms",
        Unit::Seconds => ", s",
        Unit::Percent => ", %",
    };
    let bounds = match (key.min, key.max) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        (Some(min), None) => format!(", at least {min}"),
        (None, Some(max)) => format!(", at most {max}"),
        (None, None) => String::new(),
    };
    format!("{}{unit}{bounds}", key.shape)
}

fn meaning(key: &Key) -> String {
    let mut words = vec![cell(key.doc)];
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if !key.aliases.is_empty() {
        words.push(format!("Also {}.", list(key.aliases)));
    }
    if !key.deprecated.is_empty() {
        words.push(format!("Old name: {}.", list(key.deprecated)));
    }
    if let Some(why) = key.inert {
        words.push(format!("*Accepted, changes nothing:* {}.", cell(why)));
    }
    if let Some(instead) = key.refused {
        words.push(format!("*Refused:* {}.", cell(instead)));
    }
    if key.secret {
        words.push("Secret: never shown.".into());
    }
    if key.live {
        words.push("*Live.*".into());
    }
    if !key.since.is_empty() {
        words.push(format!("Since {}.", key.since));
    }
    words.join(" ")
}

/// Text that cannot break a table's row.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
