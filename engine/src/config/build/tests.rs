use flumen_api::batch::Batch;
use flumen_api::channel::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::registry::{Announced, Built};
use flumen_api::selector::{Route, Selector};
use flumen_api::settings::{Key, Unit, settings};
use flumen_api::sink::{Sink, SinkContext, SinkError};
use flumen_api::source::{Runs, Source, SourceContext, SourceError};

use super::*;
use crate::config::{Environment, FileContent, Properties, describe};
use crate::plan::DeadLetterPlan;

settings! {
    /// Keys of the test components.
    struct TestSettings {
        /// A path that must be given.
        directory: String = key("directory") { required: true },
        /// Events of a batch.
        batch_size: usize = key("batchSize") { default: Some("100"), unit: Unit::Events, min: Some(1), max: Some(1000000) },
    }
}

settings! {
    /// Keys of the test channel.
    struct ChannelSettings {
        /// Where it lives.
        data: Option<String> = key("dataDirs") { },
        /// Most events of a transaction.
        capacity: usize = key("transactionCapacity") { default: Some("1000"), min: Some(1) },
    }
}

struct Dummy;

#[async_trait::async_trait]
impl Source for Dummy {
    async fn run(&mut self, _: SourceContext) -> Result<(), SourceError> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl Sink for Dummy {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(1)
    }

    async fn start(&mut self, _: &SinkContext) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, _: &Events) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Selector for Dummy {
    fn route(&mut self, _: &Batch, _: usize) -> Route {
        Route { required: Vec::new(), optional: Vec::new(), nowhere: 0 }
    }
}

fn source(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = TestSettings::load(config, problems)?;
    Some(Built { component: Box::new(Dummy), batch_size: Some(("batchSize", settings.batch_size)) })
}

fn sink(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Sink>> {
    let settings = TestSettings::load(config, problems)?;
    Some(Built { component: Box::new(Dummy), batch_size: Some(("batchSize", settings.batch_size)) })
}

fn announced(config: &ComponentConfig, problems: &mut Problems) -> Option<Announced> {
    let settings = TestSettings::load(config, problems)?;
    Some(Announced { batch_size: Some(("batchSize", settings.batch_size)) })
}

fn selector(_: &ComponentConfig, _: &[String], _: &mut Problems) -> Option<Box<dyn Selector>> {
    Some(Box::new(Dummy))
}

fn directories(config: &ComponentConfig) -> Vec<std::path::PathBuf> {
    config.get("dataDirs").map(Into::into).into_iter().collect()
}

fn registry() -> Registry {
    let spec = |alias, class_names, keys: &'static [Key], factory| Spec {
        alias,
        class_names,
        keys,
        doc: "",
        factory,
    };
    let channel = Factory::Channel {
        check: |config, problems| ChannelSettings::load(config, problems).map(|settings| settings.capacity),
        open: |_, _| Err(flumen_api::channel::OpenError::Other("not in this test".into())),
        directories,
    };
    Registry::empty()
        .with(spec("taildir", &["org.example.Tail"], TestSettings::KEYS, Factory::Source(Runs::Task, source)))
        .with(spec("file_roll", &[], TestSettings::KEYS, Factory::Sink(sink)))
        .with(spec("hdfs", &[], &[], Factory::Unavailable(Kind::Sink, "not built in: use file_roll")))
        .with(spec("later", &[], TestSettings::KEYS, Factory::Announced(Kind::Sink, announced)))
        .with(spec("later", &[], &[], Factory::Announced(Kind::Channel, |_, _| Some(Announced::default()))))
        .with(spec("memory", &[], ChannelSettings::KEYS, channel))
        .with(spec("file", &[], ChannelSettings::KEYS, channel))
        .with(spec("replicating", &[], &[], Factory::Selector(selector)))
        .with_all(crate::processors::specs())
}

/// A whole agent without a fault; tests add to it or replace lines of it.
const WHOLE: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = TAILDIR
a1.sources.r1.directory = /in
a1.sources.r1.channels = c1
a1.channels.c1.type = file
a1.channels.c1.dataDirs = /tmp/flumen-test-c1
a1.sinks.k1.type = file_roll
a1.sinks.k1.directory = /out
a1.sinks.k1.channel = c1
";

/// A second sink and a group of both.
const GROUP: &str = "\
a1.sinks = k1 k2
a1.sinks.k2.type = file_roll
a1.sinks.k2.directory = /out2
a1.sinks.k2.channel = c1
a1.sinkgroups = g1
a1.sinkgroups.g1.sinks = k1 k2
a1.sinkgroups.g1.processor.type = failover
";

/// `text` with the lines of `changes` in the place of lines with the same key, or at the end; a change `-key` removes.
fn with(text: &str, changes: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    for change in changes.lines() {
        if let Some(removed) = change.strip_prefix('-') {
            lines.retain(|line| key(line) != removed);
        } else if let Some(line) = lines.iter_mut().find(|line| key(line) == key(change)) {
            *line = change.to_string();
        } else {
            lines.push(change.to_string());
        }
    }
    lines.join("\n")
}

fn planned(text: &str) -> Plan {
    let content = FileContent { name: "f.conf".into(), bytes: text.into() };
    let properties = Properties::merge(&[content], &Environment::default());
    plan(&properties, "a1", &registry())
}

fn shown(plan: &Plan) -> Vec<String> {
    plan.problems.0.iter().map(|problem| problem.to_string()).collect()
}

fn names(plan: &Plan) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
    (
        plan.sources.iter().map(|source| &*source.config.name).collect(),
        plan.channels.iter().map(|channel| &*channel.config.name).collect(),
        plan.sinks.iter().map(|sink| &*sink.config.name).collect(),
    )
}

/// The plan of `text`, one problem of which holds all of `parts`.
#[track_caller]
fn problem(text: &str, parts: &[&str]) -> Plan {
    let plan = planned(text);
    let shown = shown(&plan);
    assert!(
        shown.iter().any(|problem| parts.iter().all(|part| problem.contains(part))),
        "no problem has all of {parts:?}: {shown:#?}"
    );
    plan
}

#[test]
fn a_whole_agent_has_a_plan_without_problems() {
    let plan = planned(WHOLE);
    assert_eq!(shown(&plan), [""; 0]);
    assert_eq!(names(&plan), (vec!["r1"], vec!["c1"], vec!["k1"]));
    assert_eq!(plan.sources[0].config.prefix, "a1.sources.r1.");
    assert_eq!(describe(&plan), ["r1 (taildir) → c1 (file) → k1 (file_roll)"]);
}

#[test]
fn a_class_name_is_as_good_as_an_alias() {
    assert_eq!(shown(&planned(&with(WHOLE, "a1.sources.r1.type = org.example.Tail"))), [""; 0]);
}

#[test]
fn an_unknown_type_leaves_out_its_component_alone_and_names_the_line() {
    let plan = problem(
        &with(WHOLE, "a1.sources.r1.type = tialdir"),
        &["f.conf:4: error", "tialdir", "did you mean `taildir`"],
    );
    assert_eq!(names(&plan), (vec![], vec!["c1"], vec!["k1"]));
    problem(
        &with(WHOLE, "a1.sinks.k1.type = com.example.MySink"),
        &["f.conf:9: error", "com.example.MySink", "Java"],
    );
}

#[test]
fn a_type_that_is_not_built_in_is_refused_with_its_advice() {
    problem(&with(WHOLE, "a1.sinks.k1.type = hdfs"), &["f.conf:9: error", "not built in: use file_roll"]);
}

#[test]
fn copied_mistakes_are_named_even_where_the_type_is_not_built_in() {
    let text =
        with(WHOLE, "a1.sinks.k1.type = hdfs\na1.sinks.k1.hdfs.Unit = minute\na1.sinks.k1.hdfs.path = /%D");
    problem(&text, &["f.conf:12: warning", "hdfs.roundUnit"]);
    problem(&text, &["f.conf:13: warning", "`%d` is the day"]);
}

/// The problems that a check reports.
fn checked(text: &str) -> Vec<String> {
    let content = FileContent { name: "f.conf".into(), bytes: text.into() };
    let properties = Properties::merge(&[content], &Environment::default());
    check(&properties, "a1", &registry()).0.iter().map(ToString::to_string).collect()
}

#[test]
fn an_announced_type_is_left_out_of_a_run_and_checked_as_if_it_were_built() {
    let text = with(WHOLE, "a1.sinks.k1.type = later");
    let plan = problem(&text, &["f.conf:9: error: a1.sinks.k1.type", "not built", "left out"]);
    assert_eq!(names(&plan), (vec!["r1"], vec!["c1"], vec![]));
    let said = checked(&text);
    assert!(
        said.len() == 1 && said[0].contains("f.conf:9: warning") && said[0].contains("not built"),
        "{said:#?}"
    );
    let mistakes = "a1.sinks.k1.batchsize = 5\na1.sinks.k1.batchSize = 5000";
    let said = checked(&with(&text, mistakes));
    assert!(
        said.iter().any(|line| line.contains("f.conf:12: warning") && line.contains("`batchSize`")),
        "{said:#?}"
    );
    assert!(
        said.iter().any(|line| line.contains("f.conf:13: error") && line.contains("transactionCapacity"))
    );
    let said = checked(&with(&text, "-a1.sinks.k1.directory"));
    assert!(said.iter().any(|line| line.contains("error: a1.sinks.k1.directory")), "{said:#?}");
}

#[test]
fn an_announced_channel_counts_for_what_is_attached_to_it() {
    let text = with(WHOLE, "a1.channels.c1.type = later");
    let plan = problem(&text, &["f.conf:7: error: a1.channels.c1.type", "left out"]);
    assert_eq!(names(&plan), (vec![], vec![], vec![]));
    assert_eq!(checked(&text).len(), 1, "{:#?}", checked(&text));
}

#[test]
fn a_missing_type_and_a_missing_key_are_errors_near_their_component() {
    problem(&with(WHOLE, "-a1.sinks.k1.type"), &["f.conf:10: error: a1.sinks.k1.type", "required"]);
    let plan = problem(
        &with(WHOLE, "-a1.sinks.k1.directory"),
        &["f.conf:9: error: a1.sinks.k1.directory", "required"],
    );
    assert_eq!(names(&plan), (vec!["r1"], vec!["c1"], vec![]));
}

#[test]
fn a_value_out_of_range_is_an_error_with_its_line() {
    problem(
        &with(WHOLE, "a1.sinks.k1.batchSize = 0"),
        &["f.conf:12: error: a1.sinks.k1.batchSize", "smallest allowed"],
    );
    problem(&with(WHOLE, "a1.sinks.k1.batchSize = many"), &["f.conf:12: error", "`many`"]);
}

#[test]
fn a_listed_component_that_is_not_configured_is_an_error_and_the_reverse_a_warning() {
    problem(&with(WHOLE, "a1.sinks = k1 k9"), &["f.conf:3: error: a1.sinks", "k9"]);
    problem(&with(WHOLE, "a1.sinks.k9.type = file_roll"), &["f.conf:12: warning", "k9", "not listed"]);
    problem(&with(WHOLE, "a1.sinks = k1,k2"), &["separated by blanks"]);
}

#[test]
fn unknown_channels_are_named_and_a_component_without_any_is_left_out() {
    let plan =
        problem(&with(WHOLE, "a1.sinks.k1.channel = c9"), &["f.conf:11: error: a1.sinks.k1.channel", "c9"]);
    assert_eq!(names(&plan), (vec!["r1"], vec!["c1"], vec![]));
    let plan = problem(&with(WHOLE, "a1.sources.r1.channels = c1 c9"), &["f.conf:6: error", "c9"]);
    assert_eq!(names(&plan), (vec!["r1"], vec!["c1"], vec!["k1"]));
    let plan = problem(
        &with(WHOLE, "-a1.sources.r1.channels\na1.sources.r1.channel = c1"),
        &["a sink's is `channel`"],
    );
    assert_eq!(names(&plan).0, [""; 0]);
    problem(&with(WHOLE, "-a1.sinks.k1.channel"), &["f.conf:9: error: a1.sinks.k1.channel", "required"]);
}

#[test]
fn without_a_channel_the_agent_runs_nothing() {
    let plan = problem(&with(WHOLE, "-a1.channels"), &["error: a1.channels", "no channel"]);
    assert_eq!(names(&plan), (vec![], vec![], vec![]));
    let plan = problem(&with(WHOLE, "a1.channels.c1.transactionCapacity = 0"), &["f.conf:12: error"]);
    assert_eq!(names(&plan), (vec![], vec![], vec![]));
}

#[test]
fn a_batch_beyond_the_transaction_names_both_keys() {
    let text = with(WHOLE, "a1.sinks.k1.batchSize = 5000\na1.channels.c1.transactionCapacity = 500");
    let plan = problem(
        &text,
        &[
            "f.conf:12: error: a1.sinks.k1.batchSize",
            "a1.channels.c1.transactionCapacity",
            "f.conf:13",
            "Raise",
        ],
    );
    assert_eq!(names(&plan), (vec!["r1"], vec!["c1"], vec![]));
    problem(&with(WHOLE, "a1.sources.r1.batchSize = 5000"), &["error: a1.sources.r1.batchSize", "1000"]);
}

#[test]
fn a_default_batch_beyond_the_transaction_is_lowered_with_a_warning() {
    let plan = problem(
        &with(WHOLE, "a1.channels.c1.transactionCapacity = 10"),
        &["f.conf:9: warning: a1.sinks.k1.batchSize", "10 is used"],
    );
    assert_eq!(plan.problems.errors(), 0);
    assert_eq!(plan.sinks[0].config.get("batchSize"), Some("10"));
}

#[test]
fn two_channels_on_one_directory_are_an_error_of_the_second() {
    let text = with(
        WHOLE,
        "a1.channels = c1 c2\na1.channels.c2.type = file\na1.channels.c2.dataDirs = /tmp/../tmp/flumen-test-c1\n\
         a1.sources.r1.channels = c1 c2",
    );
    let plan = problem(&text, &["error: a1.channels.c2.dataDirs", "belongs to the channel c1"]);
    assert_eq!(names(&plan).1, ["c1"]);
}

#[test]
fn a_channel_with_nothing_attached_is_removed_with_a_warning() {
    let text = with(WHOLE, "a1.channels = c1 c2\na1.channels.c2.type = memory");
    let plan = problem(&text, &["f.conf:12: warning: a1.channels.c2", "not opened"]);
    assert_eq!(names(&plan).1, ["c1"]);
    assert_eq!(plan.problems.errors(), 0);
}

#[test]
fn memory_between_a_source_that_can_seek_and_a_durable_sink_is_a_warning() {
    problem(&with(WHOLE, "a1.channels.c1.type = memory"), &["f.conf:7: warning", "type = file"]);
}

#[test]
fn a_mistyped_key_is_a_warning_with_the_nearest_name() {
    let plan = problem(
        &with(WHOLE, "a1.sinks.k1.batchsize = 5"),
        &["f.conf:12: warning: a1.sinks.k1.batchsize", "did you mean `batchSize`"],
    );
    assert_eq!(plan.sinks.len(), 1);
    let shown = shown(&planned(&with(WHOLE, "a1.sources.r1.selector.type = replicating")));
    assert_eq!(shown, [""; 0]);
}

#[test]
fn circles_leave_out_the_components_that_need_them_and_nothing_else() {
    let text = with(
        WHOLE,
        "a1.sinks.k1.directory = ${a1.sinks.k1.other}\na1.sinks.k1.other = ${a1.sinks.k1.directory}",
    );
    let plan = problem(&text, &["f.conf:10: error: a1.sinks.k1.directory", "refers to itself"]);
    assert_eq!(names(&plan), (vec!["r1"], vec!["c1"], vec![]));
    problem(&text, &["error: a1.sinks.k1: the sink is left out"]);
    assert!(plan.left_out.contains(&(Kind::Sink, "k1".into())));
}

#[test]
fn an_agent_that_the_files_do_not_know_is_an_error_that_names_those_they_know() {
    let properties =
        Properties::merge(&[FileContent { name: "f".into(), bytes: WHOLE.into() }], &Environment::default());
    let plan = plan(&properties, "a2", &registry());
    assert!(shown(&plan)[0].contains("it has: a1"), "{:?}", shown(&plan));
    assert!(plan.channels.is_empty());
}

#[test]
fn of_two_agents_in_one_file_each_has_its_own_components_and_problems() {
    let text = format!(
        "{WHOLE}{}",
        WHOLE.replace("a1.", "a2.").replace("a2.sinks.k1.type = file_roll", "a2.sinks.k1.type = no")
    );
    assert_eq!(shown(&planned(&text)), [""; 0]);
    let content = FileContent { name: "f".into(), bytes: text.into() };
    let properties = Properties::merge(&[content], &Environment::default());
    assert_eq!(plan(&properties, "a2", &registry()).problems.errors(), 1);
}

#[test]
fn a_group_is_planned_with_its_processor() {
    let text = with(
        &with(WHOLE, GROUP),
        "a1.sinkgroups.g1.processor.priority.k1 = 5\na1.sinkgroups.g1.processor.priority.k2 = 10",
    );
    let plan = problem(
        &text,
        &[
            "warning: a1.sinkgroups.g1.processor.priority.k1",
            "the higher number wins",
            "k2 (10) does the work",
        ],
    );
    assert_eq!(plan.groups[0].processor.0.alias, "failover");
    assert_eq!(plan.groups[0].sinks, ["k1".into(), "k2".into()]);
    assert_eq!(describe(&plan)[1], "group g1 (failover): k2 (priority 10), then k1 (priority 5)");
    assert_eq!(shown(&planned(&text.replace("k1 = 5", "k1 = 50"))), [""; 0]);
}

#[test]
fn a_group_without_sinks_drops_the_group_alone() {
    let plan = problem(
        &with(&with(WHOLE, GROUP), "-a1.sinkgroups.g1.sinks"),
        &["error: a1.sinkgroups.g1.sinks", "required"],
    );
    assert_eq!((plan.groups.len(), plan.sinks.len()), (0, 2));
}

#[test]
fn a_broken_sink_leaves_its_group_the_others() {
    let plan = problem(&with(&with(WHOLE, GROUP), "-a1.sinks.k2.directory"), &["warning", "k2 has an error"]);
    assert_eq!(plan.groups[0].sinks, ["k1".into()]);
}

#[test]
fn processor_mistakes_do_to_the_group_what_they_say() {
    let group = with(WHOLE, GROUP);
    let counts = |plan: &Plan| (plan.groups.len(), plan.sinks.len());
    let plan = problem(
        &with(&group, "-a1.sinkgroups.g1.processor.type\na1.sinkgroups.g1.processor.x = 1"),
        &["error", "processor.type"],
    );
    assert_eq!(counts(&plan), (0, 0));
    let plan = problem(&with(&group, "a1.sinkgroups.g1.processor.type = default"), &["runs by itself"]);
    assert_eq!(counts(&plan), (0, 2));
    let plan = problem(
        &with(&group, "a1.sinkgroups.g1.processor.type = load_balance\na1.sinkgroups.g1.sinks = k1"),
        &["more than one"],
    );
    assert_eq!(counts(&plan), (0, 2));
    let plan =
        problem(&with(&group, "a1.sinkgroups.g1.processor.type = failver"), &["did you mean `failover`"]);
    assert_eq!(counts(&plan), (0, 0));
    let plan =
        problem(&with(&group, "a1.sinkgroups.g1.processor.maxpenality = 9"), &["warning", "`maxpenalty`"]);
    assert_eq!(counts(&plan), (1, 2));
    let plan = problem(&with(&group, "a1.sinkgroups.g1.sinks = k1,k2"), &["separated by blanks"]);
    assert_eq!(counts(&plan), (0, 2));
    problem(
        &with(
            &group,
            "a1.sinkgroups.g1.processor.priority.k1 = 1\na1.sinkgroups.g1.processor.priority.k2 = 1",
        ),
        &["warning", "same priority"],
    );
}

#[test]
fn sinks_of_different_channels_are_no_group() {
    let text = with(
        &with(WHOLE, GROUP),
        "a1.channels = c1 c2\na1.channels.c2.type = file\na1.sources.r1.channels = c1 c2\na1.sinks.k2.channel = c2",
    );
    let plan = problem(&text, &["error: a1.sinkgroups.g1.sinks", "different channels, c1 and c2"]);
    assert_eq!((plan.groups.len(), plan.sinks.len()), (0, 2));
}

#[test]
fn a_sink_in_two_groups_stays_in_the_first() {
    let text = with(
        &with(WHOLE, GROUP),
        "a1.sinkgroups = g1 g2\na1.sinkgroups.g2.sinks = k2\na1.sinkgroups.g2.processor.type = default",
    );
    let plan = problem(&text, &["error: a1.sinkgroups.g2.sinks", "in the group g1 already"]);
    assert_eq!(plan.groups.len(), 1);
}

#[test]
fn all_problems_come_at_once() {
    let text = with(
        WHOLE,
        "a1.sources.r1.type = nosuch\na1.sinks.k1.batchSize = -1\n-a1.sinks.k1.directory\na1.channels = c1 c2",
    );
    assert_eq!(planned(&text).problems.errors(), 5, "{:#?}", shown(&planned(&text)));
}

#[test]
fn types_of_ones_own_are_found_wherever_a_type_is_named() {
    use flumen_api::interceptor::{Interceptor, ValueSerializer};
    use flumen_api::processor::SinkSelector;

    struct Own;
    impl Interceptor for Own {
        fn intercept(&mut self, _: &mut Batch) {}
    }
    impl ValueSerializer for Own {
        fn serialize(&mut self, matched: &str) -> Result<String, String> {
            Ok(matched.to_uppercase())
        }
    }
    impl SinkSelector for Own {
        fn order(&mut self, _: std::time::Instant) -> Vec<usize> {
            vec![0]
        }
    }
    let own = |factory| Spec {
        alias: "own",
        class_names: &["com.example.Own$Builder", "com.example.Own"],
        keys: TestSettings::KEYS,
        doc: "",
        factory,
    };
    let registry = registry()
        .with_all(crate::interceptors::specs())
        .with(own(Factory::Interceptor(|_, _| Some(Box::new(Own)))))
        .with(own(Factory::ValueSerializer(|_, _| Some(Box::new(Own)))))
        .with(own(Factory::SinkSelector(|_, _, _| Some(Box::new(Own)))))
        .with(own(Factory::Selector(selector)));
    let text = with(
        &with(WHOLE, GROUP),
        "a1.sources.r1.interceptors = i1 i2\na1.sources.r1.interceptors.i1.type = com.example.Own$Builder\n\
         a1.sources.r1.interceptors.i1.directroy = x\na1.sources.r1.interceptors.i2.type = regex_extractor\n\
         a1.sources.r1.interceptors.i2.regex = (a)\na1.sources.r1.interceptors.i2.serializers = s1\n\
         a1.sources.r1.interceptors.i2.serializers.s1.name = h\n\
         a1.sources.r1.interceptors.i2.serializers.s1.type = com.example.Own\n\
         a1.sources.r1.selector.type = OWN\na1.sinkgroups.g1.processor.type = load_balance\n\
         a1.sinkgroups.g1.processor.selector = com.example.Own\na1.sinkgroups.g1.processor.selector.weights = 1",
    );
    let content = FileContent { name: "f.conf".into(), bytes: text.into() };
    let plan = plan(&Properties::merge(&[content], &Environment::default()), "a1", &registry);
    assert_eq!(plan.problems.errors(), 0, "{:#?}", shown(&plan));
    assert!(shown(&plan)[0].contains("did you mean `directory`"), "{:#?}", shown(&plan));
    assert_eq!((plan.sources.len(), plan.groups.len(), plan.sinks.len()), (1, 1, 2));
}

#[test]
fn dead_letters_in_a_circle_are_an_error_that_names_the_sinks_on_the_way() {
    let text = with(
        WHOLE,
        "a1.channels = c1 c2 c3\na1.sinks = k1 k2 k3\n\
         a1.channels.c2.type = memory\na1.channels.c3.type = memory\n\
         a1.sinks.k1.deadLetter.type = channel\na1.sinks.k1.deadLetter.channel = c2\n\
         a1.sinks.k2.type = file_roll\na1.sinks.k2.directory = /out2\na1.sinks.k2.channel = c2\n\
         a1.sinks.k2.deadLetter.type = channel\na1.sinks.k2.deadLetter.channel = c3\n\
         a1.sinks.k3.type = file_roll\na1.sinks.k3.directory = /out3\na1.sinks.k3.channel = c3\n",
    );
    assert_eq!(shown(&planned(&text)), [""; 0], "a chain is none");
    let circle =
        format!("{text}\na1.sinks.k3.deadLetter.type = channel\na1.sinks.k3.deadLetter.channel = c1");
    let expected = ["error: a1.sinks.k3.deadLetter.channel", "circle", "k1 (at c1), then k2 (at c2)"];
    let plan = problem(&circle, &expected);
    assert_eq!(names(&plan).2, ["k1", "k2"]);
}

#[test]
fn a_dead_letters_channel_has_a_file_for_what_it_cannot_take() {
    let text = with(
        WHOLE,
        "a1.channels = c1 c2\na1.channels.c2.type = memory\n\
         a1.sinks.k1.deadLetter.type = channel\na1.sinks.k1.deadLetter.channel = c2",
    );
    let beyond = |text: &str| match &planned(text).sinks[0].dead_letter {
        Some(DeadLetterPlan::Channel { beyond, .. }) => beyond.clone(),
        other => panic!("{other:?}"),
    };
    if std::env::var_os("HOME").is_some() {
        assert!(beyond(&text).expect("a file").ends_with(".flume/dead-letter/a1.k1.json"));
    }
    let named = format!("{text}\na1.sinks.k1.deadLetter.file = /var/beyond.json");
    assert_eq!(beyond(&named), Some("/var/beyond.json".into()));
}
