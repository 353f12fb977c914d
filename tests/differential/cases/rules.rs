//! What a mistake in the configuration costs: its component, or less.

use crate::case::{Case, Outputs};

/// What a client of a source that does not run sees.
const LINES: &[&str] = &["one", "two"];

pub fn cases() -> Vec<Case> {
    vec![
        Case::lines("a_channel_that_is_not_there", &["channels = nowhere @C1@"], LINES),
        Case::lines("no_channel_that_is_there", &["channels = nowhere"], LINES).delivers(0),
        Case::lines(
            "a_pattern_that_does_not_compile",
            &["interceptors = i1", "interceptors.i1.type = regex_filter", "interceptors.i1.regex = a(b"],
            LINES,
        )
        .delivers(0),
        Case::lines("an_interceptor_without_type", &["interceptors = i1", "interceptors.i1.key = a"], LINES)
            .delivers(0),
        Case::lines("a_number_that_is_none", &["max-line-length = many"], LINES).delivers(0),
        Case::lines("a_key_that_nobody_reads", &["max-line-lenght = 3"], LINES),
        Case::new("a_batch_beyond_the_transaction", &["type = seq", "totalEvents = 5", "batchSize = 1001"])
            .delivers(0),
        Case::lines("a_sink_without_its_directory_key", &[], LINES)
            .sinks(&[(1, &["type = null"]), (1, &["type = file_roll", "sink.rollInterval = 0"])])
            .delivers(0),
        Case::lines("default_processor_over_two_sinks", &[], LINES)
            .sinks(&[(1, &[]), (1, &[])])
            .agent(&["a1.sinkgroups.@G@.sinks = @K1@ @K2@", "a1.sinkgroups.@G@.processor.type = default"])
            .outputs(Outputs::Together)
            .delivers(0)
            .differs(2, &["", "OK\nOK\n"], &["{} one\n{} two", "OK\nOK\n"]),
        Case::lines("load_balance_over_one_sink", &[], LINES)
            .sinks(&[(1, &[])])
            .agent(&["a1.sinkgroups.@G@.sinks = @K1@", "a1.sinkgroups.@G@.processor.type = load_balance"])
            .delivers(0)
            .differs(2, &["", "OK\nOK\n"], &["{} one\n{} two", "OK\nOK\n"]),
        Case::lines("failover_with_the_same_priority_twice", &[], LINES)
            .sinks(&[(1, &[]), (1, &[])])
            .agent(&[
                "a1.sinkgroups.@G@.sinks = @K1@ @K2@",
                "a1.sinkgroups.@G@.processor.type = failover",
                "a1.sinkgroups.@G@.processor.priority.@K1@ = 5",
                "a1.sinkgroups.@G@.processor.priority.@K2@ = 5",
            ])
            .differs(2, &["", "{} one\n{} two", "OK\nOK\n"], &["{} one\n{} two", "", "OK\nOK\n"]),
        Case::lines("failover_without_priorities", &[], LINES)
            .sinks(&[(1, &[]), (1, &[])])
            .agent(&["a1.sinkgroups.@G@.sinks = @K1@ @K2@", "a1.sinkgroups.@G@.processor.type = failover"]),
        Case::lines("a_sink_of_a_channel_that_is_not_there", &[], LINES)
            .sinks(&[(1, &[]), (1, &["channel = nowhere"])]),
    ]
}
