//! Sinks and sink processors.

use crate::case::{Case, Outputs};

const BODIES: &[&str] =
    &["", "abc", "sixteen bytes ok", "seventeen bytes a", "more than sixteen bytes and cut"];

/// Which of the group's sinks has how many events depends on the clock; together they have all.
const SHARED: &[&str] = &["EventDrainSuccessCount", "EventWriteFail"];

const NOWHERE: &[&str] = &["sink.directory = @DIR@/does/not/exist"];

pub fn cases() -> Vec<Case> {
    let case_of = |name: &'static str, mark: &'static str| {
        Case::lines(
            name,
            &[
                "interceptors = i1",
                "interceptors.i1.type = static",
                &format!("interceptors.i1.value = {mark}"),
            ],
            BODIES,
        )
    };
    vec![
        case_of("logger", "of logger")
            .sinks(&[(1, &["type = logger"])])
            .outputs(Outputs::Logged("key=of logger}")),
        Case::lines(
            "logger_with_more_bytes",
            &["interceptors = i1", "interceptors.i1.type = static", "interceptors.i1.value = of name"],
            &["seventeen bytes a"],
        )
        .sinks(&[(1, &["type = logger", "maxBytesToLog = 40"])])
        .outputs(Outputs::Logged("key=of name}"))
        .differs(
            0,
            &[
                "Event: { headers:{key=of name} body: 73 65 76 65 6E 74 65 65 6E 20 62 79 74 65 73 20 seventeen bytes  }",
                "OK\n",
            ],
            &[
                "Event: { headers:{key=of name} body: 73 65 76 65 6E 74 65 65 6E 20 62 79 74 65 73 20 seventeen bytes\n\
                 00000010 61                                              a }",
                "OK\n",
            ],
        ),
        Case::lines("default_processor", &[], BODIES)
            .sinks(&[(1, &[])])
            .agent(&["a1.sinkgroups.@G@.sinks = @K1@", "a1.sinkgroups.@G@.processor.type = default"]),
        Case::lines("failover_to_the_highest", &[], BODIES).sinks(&[(1, &[]), (1, &[]), (1, &[])]).agent(&[
            "a1.sinkgroups.@G@.sinks = @K1@ @K2@ @K3@",
            "a1.sinkgroups.@G@.processor.type = failover",
            "a1.sinkgroups.@G@.processor.priority.@K1@ = 5",
            "a1.sinkgroups.@G@.processor.priority.@K2@ = 15",
            "a1.sinkgroups.@G@.processor.priority.@K3@ = 10",
        ]),
        Case::lines("failover_from_a_broken_sink", &[], BODIES).sinks(&[(1, NOWHERE), (1, &[])]).agent(&[
            "a1.sinkgroups.@G@.sinks = @K1@ @K2@",
            "a1.sinkgroups.@G@.processor.type = failover",
            "a1.sinkgroups.@G@.processor.priority.@K1@ = 10",
            "a1.sinkgroups.@G@.processor.priority.@K2@ = 5",
        ])
        .counted_otherwise(&[("SINK1 EventWriteFail", "0", "1")]),
        Case::lines("load_balance_in_turn", &[], BODIES)
            .sinks(&[(1, &[]), (1, &[])])
            .agent(&[
                "a1.sinkgroups.@G@.sinks = @K1@ @K2@",
                "a1.sinkgroups.@G@.processor.type = load_balance",
            ])
            .outputs(Outputs::Together)
            .uncounted(SHARED),
        Case::lines("load_balance_around_a_broken_sink", &[], BODIES)
            .sinks(&[(1, NOWHERE), (1, &[])])
            .agent(&[
                "a1.sinkgroups.@G@.sinks = @K1@ @K2@",
                "a1.sinkgroups.@G@.processor.type = load_balance",
                "a1.sinkgroups.@G@.processor.selector = random",
                "a1.sinkgroups.@G@.processor.backoff = true",
            ])
            .outputs(Outputs::Together)
            .uncounted(SHARED),
    ]
}
