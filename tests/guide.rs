//! The guide's tables of keys, and the list of components in the README, are generated from the very tables that parse the
//! keys, and are never edited by hand.
//!
//! ```text
//!   docs/guide/components.md          which types there are             generated
//!   docs/guide/announced.md           keys of types not built yet       generated
//!   docs/guide/<kind>/<type>.md       a page a type                     by hand, but for the block of its keys
//! ```
//!
//! `UPDATE_GUIDE=1 cargo test --test guide` writes them anew, and begins a page where there is none.

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use flumen_api::registry::{Factory, Registry, Spec};
use flumen_api::settings::{Key, Kind, Unit};
use flumen_engine::config::DeadLetterSettings;

/// Kinds that have pages: title, folder, and what its keys stand behind.
const KINDS: &[(Kind, &str, &str, &str)] = &[
    (Kind::Source, "Sources", "sources", "a1.sources.r1."),
    (Kind::Channel, "Channels", "channels", "a1.channels.c1."),
    (Kind::Sink, "Sinks", "sinks", "a1.sinks.k1."),
    (Kind::Serializer, "Serializers", "serializers", "a1.sinks.k1.sink.serializer."),
    (Kind::Interceptor, "Interceptors", "interceptors", "a1.sources.r1.interceptors.i1."),
    (Kind::Selector, "Channel selectors", "selectors", "a1.sources.r1.selector."),
    (Kind::Processor, "Sink processors", "processors", "a1.sinkgroups.g1.processor."),
];

/// The README's lines between these are generated.
const README_MARKS: (&str, &str) =
    ("<!-- types: tests/guide.rs writes these lines -->\n", "<!-- end of types -->\n");

/// A page's lines between these are generated.
const KEY_MARKS: (&str, &str) =
    ("<!-- keys: tests/guide.rs writes these lines -->\n", "<!-- end of keys -->\n");

#[test]
fn the_lists_of_types_say_what_the_registry_says() {
    keep("docs/guide/components.md", |_| index(&flumen::standard_registry()));
    keep("docs/guide/announced.md", |_| announced(&flumen::standard_registry()));
}

#[test]
fn every_component_has_a_page_with_the_keys_that_its_table_has() {
    let registry = flumen::standard_registry();
    for (kind, _, folder, prefix) in KINDS {
        for spec in built_in(&registry, *kind) {
            keep(&format!("docs/guide/{folder}/{}.md", slug(spec)), |page| {
                let begun = if page.is_empty() { begin(*kind, spec) } else { page.to_string() };
                let (head, rest) = begun.split_once(KEY_MARKS.0).expect("the page has the first mark");
                let (_, tail) = rest.split_once(KEY_MARKS.1).expect("the page has the second mark");
                let keys = keys(&registry, spec, prefix);
                format!("{head}{}\n{keys}\n{}{tail}", KEY_MARKS.0, KEY_MARKS.1)
            });
        }
    }
}

#[test]
fn the_page_of_the_dead_letter_has_the_keys_that_its_table_has() {
    keep("docs/guide/sinks/README.md", |page| {
        let (head, rest) = page.split_once(KEY_MARKS.0).expect("the page has the first mark");
        let (_, tail) = rest.split_once(KEY_MARKS.1).expect("the page has the second mark");
        let mut keys = String::new();
        table(&mut keys, DeadLetterSettings::KEYS);
        format!("{head}{}\n{keys}\n{}{tail}", KEY_MARKS.0, KEY_MARKS.1)
    });
}

#[test]
fn every_page_says_what_its_component_does_shows_it_and_says_what_happens_when_things_fail() {
    let registry = flumen::standard_registry();
    for (kind, _, folder, _) in KINDS {
        for spec in built_in(&registry, *kind) {
            let path = format!("docs/guide/{folder}/{}.md", slug(spec));
            let page = read(&path);
            for part in ["\n## Example\n", "\n## Keys\n", "\n## When things fail\n"] {
                let text = page.split_once(part).unwrap_or_else(|| panic!("{path} lacks {part:?}")).1;
                let text = text.split("\n## ").next().unwrap_or_default();
                assert!(text.trim().len() > 40, "{path}: {part:?} says nothing");
            }
        }
    }
}

/// Agents around examples that show only a part: the source, its channel, and a sink.
const AROUND: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
    a1.sources.r1.type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = 44444\n\
    a1.sources.r1.channels = c1\na1.channels.c1.type = memory\na1.sinks.k1.type = logger\na1.sinks.k1.channel = c1\n";

#[test]
fn every_example_of_the_guide_passes_the_check() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide");
    let mut examples = 0;
    let within = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    for place in within(&guide) {
        for page in if place.is_dir() { within(&place) } else { vec![place] } {
            let text = std::fs::read_to_string(&page).unwrap();
            let blocks = text.split("```properties\n").skip(1);
            for example in blocks.map(|block| block.split("```").next().unwrap_or_default()) {
                let whole = if example.contains("a1.sources = ") { "" } else { AROUND };
                let directory = tempfile::tempdir().unwrap();
                std::fs::write(directory.path().join("flume.conf"), format!("{whole}{example}")).unwrap();
                let output = support::run(directory.path(), &["check", "-f", "flume.conf"]);
                let said = support::stdout(&output);
                assert_eq!(said, "0 errors, 0 warnings\n", "{}:\n{whole}{example}", page.display());
                examples += 1;
            }
        }
    }
    assert!(examples >= 15, "{examples} examples");
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
    let written = read(name);
    let should = generate(&written);
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
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

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_default()
}

#[test]
fn every_key_is_documented() {
    let registry = flumen::standard_registry();
    let kinds = KINDS.iter().map(|(kind, ..)| *kind).chain([Kind::ValueSerializer]);
    let specs = kinds.flat_map(|kind| registry.of(kind));
    for (spec, key) in specs.flat_map(|spec| spec.keys.iter().map(move |key| (spec, key))) {
        assert!(!key.doc.trim().is_empty(), "{} of {} has no doc", key.name, name(spec));
    }
}

fn built_in(registry: &Registry, kind: Kind) -> impl Iterator<Item = &Spec> {
    registry.of(kind).filter(|spec| spec.is_built())
}

fn types(registry: &Registry) -> String {
    let mut text = String::from("\n| kind | types |\n| --- | --- |\n");
    for (kind, title, ..) in KINDS {
        let names: Vec<String> = built_in(registry, *kind).map(|spec| format!("`{}`", name(spec))).collect();
        if !names.is_empty() {
            writeln!(text, "| {} | {} |", title.to_lowercase(), names.join(", ")).unwrap();
        }
    }
    text.push('\n');
    text
}

fn index(registry: &Registry) -> String {
    let mut text = String::from(
        "# Components\n\n\
         Generated (`UPDATE_GUIDE=1 cargo test --test guide`): do not edit. Each type has a page with an example, its keys and \
         what happens when things fail.\n\n\
         A key stands after its component's prefix, which its page names. A name that ends in `.` stands for all keys that \
         begin so.\n",
    );
    text.push_str(&live(registry));
    for (kind, title, folder, _) in KINDS {
        writeln!(text, "\n## {title}\n\n| type | |\n| --- | --- |").unwrap();
        for spec in built_in(registry, *kind) {
            writeln!(text, "| [`{}`]({folder}/{}.md) | {} |", name(spec), slug(spec), cell(spec.doc))
                .unwrap();
        }
        let others: Vec<&Spec> = registry.of(*kind).filter(|spec| wins(registry, spec)).collect();
        if others.is_empty() {
            continue;
        }
        writeln!(text, "\nFlume's types that are not built in:\n\n| type | |\n| --- | --- |").unwrap();
        for spec in others {
            let advice = match spec.factory {
                Factory::Unavailable(_, advice) => cell(advice),
                _ => format!(
                    "not built into this version; `check` knows [its keys](announced.md): {}",
                    cell(spec.doc)
                ),
            };
            writeln!(text, "| `{}` | {advice} |", name(spec)).unwrap();
        }
    }
    text
}

/// What a reload changes in place.
fn live(registry: &Registry) -> String {
    let mut text = String::from(
        "\n## What a reload changes in place\n\n\
         The *live* keys of channels, whose events stay where they are. A change of any other key restarts its component and \
         what hangs on it, no more: a source goes on where it stood, what a sink has not released comes again.\n\n\
         | channel | live keys |\n| --- | --- |\n",
    );
    for spec in built_in(registry, Kind::Channel) {
        let keys: Vec<String> =
            spec.keys.iter().filter(|key| key.live).map(|key| format!("`{}`", key.name)).collect();
        if !keys.is_empty() {
            writeln!(text, "| `{}` | {} |", name(spec), keys.join(", ")).unwrap();
        }
    }
    text
}

/// The runtime changes channels in place and nothing else: a key of another kind that is declared live would promise what
/// nobody keeps.
#[test]
fn only_channels_have_live_keys() {
    let registry = flumen::standard_registry();
    for (kind, ..) in KINDS.iter().filter(|(kind, ..)| *kind != Kind::Channel) {
        for spec in registry.of(*kind) {
            let live: Vec<&str> = spec.keys.iter().filter(|key| key.live).map(|key| key.name).collect();
            assert!(live.is_empty(), "{}: {live:?}", name(spec));
        }
    }
}

fn announced(registry: &Registry) -> String {
    let mut text = String::from(
        "# Types that are announced\n\n\
         Generated (`UPDATE_GUIDE=1 cargo test --test guide`): do not edit. Their keys are known, and `flumen check` reads \
         them; a run leaves such a component out, with a line that says so.\n",
    );
    for (kind, title, _, prefix) in KINDS {
        let announced = registry.of(*kind).filter(|spec| matches!(spec.factory, Factory::Announced(..)));
        for spec in announced.filter(|spec| wins(registry, spec)) {
            let title = title.to_lowercase();
            writeln!(text, "\n## {} ({title})\n\n{}\n", name(spec), spec.doc.trim()).unwrap();
            text.push_str(&keys(registry, spec, prefix));
        }
    }
    text
}

/// Whether a type that cannot run is what its name finds: a later type of the same name wins over an earlier one.
fn wins(registry: &Registry, spec: &Spec) -> bool {
    let name = name(spec);
    !spec.is_built()
        && registry.find(spec.kind(), &name).is_some_and(|found| {
            !found.is_built()
                && std::mem::discriminant(&found.factory) == std::mem::discriminant(&spec.factory)
        })
}

fn name(spec: &Spec) -> String {
    match spec.alias {
        "" => spec.class_names.first().copied().unwrap_or("?").into(),
        alias => alias.into(),
    }
}

/// The name of a type's page.
fn slug(spec: &Spec) -> String {
    let name = name(spec);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.trim_end_matches("$Builder").to_string()
}

/// A page to begin with.
fn begin(kind: Kind, spec: &Spec) -> String {
    format!(
        "# The {} {kind}\n\n{}\n\n## Example\n\n## Keys\n\n{}{}\n## When things fail\n",
        name(spec),
        spec.doc.trim(),
        KEY_MARKS.0,
        KEY_MARKS.1
    )
}

/// A type's class name and keys, and those of what its keys name.
fn keys(registry: &Registry, spec: &Spec, prefix: &str) -> String {
    let mut text = String::new();
    let names: Vec<String> = spec.class_names.iter().map(|name| format!("`{name}`")).collect();
    if !names.is_empty() {
        writeln!(text, "Flume's class name: {}\n", names.join(", ")).unwrap();
    }
    match spec.keys {
        [] => writeln!(text, "It has no keys of its own but `type`.").unwrap(),
        some => {
            writeln!(text, "Behind `{prefix}`:\n").unwrap();
            table(&mut text, some);
        }
    }
    if spec.alias == "regex_extractor" {
        for serializer in registry.of(Kind::ValueSerializer).filter(|spec| spec.is_built()) {
            let name = name(serializer);
            writeln!(text, "\n`serializers.<name>.type = {name}`: {}\n", serializer.doc.trim()).unwrap();
            if !serializer.keys.is_empty() {
                table(&mut text, serializer.keys);
            }
        }
    }
    text
}

fn table(text: &mut String, keys: &[Key]) {
    writeln!(text, "| key | value | default | |\n| --- | --- | --- | --- |").unwrap();
    for key in keys {
        let default = match (key.default, key.required) {
            (_, true) => "**required**".into(),
            (None | Some(""), _) => String::new(),
            (Some(default), _) => format!("`{default}`"),
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
