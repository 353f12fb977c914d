//! Channels: what they count, and what they let in.

use crate::case::{Case, Feed};

const TAILDIR: &[&str] = &[
    "type = TAILDIR",
    "positionFile = @DIR@/position.json",
    "filegroups = f1",
    "filegroups.f1 = @DIR@/in/.*log",
];

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("file_channel", TAILDIR)
            .agent(&[
                "a1.channels.@C1@.type = file",
                "a1.channels.@C1@.checkpointDir = @DIR@/checkpoint",
                "a1.channels.@C1@.dataDirs = @DIR@/data1,@DIR@/data2",
            ])
            .feed(Feed::File("in/a.log", (0..500).flat_map(|n| format!("line {n}\n").into_bytes()).collect()))
            .delivers(500),
        Case::new("spillable_memory_channel", TAILDIR)
            .keys(&["batchSize = 50"])
            .agent(&[
                "a1.channels.@C1@.type = SPILLABLEMEMORY",
                "a1.channels.@C1@.memoryCapacity = 100",
                "a1.channels.@C1@.overflowCapacity = 1000",
                "a1.channels.@C1@.checkpointDir = @DIR@/checkpoint",
                "a1.channels.@C1@.dataDirs = @DIR@/data",
            ])
            .feed(Feed::File("in/a.log", (0..500).flat_map(|n| format!("line {n}\n").into_bytes()).collect()))
            .delivers(500),
        // Below the home directory, which is the side's own.
        Case::lines("jdbc_channel", &[], &["one", "", "three"]).agent(&["a1.channels.@C1@.type = jdbc"]),
        Case::lines("pseudo_channel", &[], &["one", "", "three"])
            .agent(&["a1.channels.@C1@.type = org.apache.flume.channel.PseudoTxnMemoryChannel"])
            // Flume's counts takes of nothing too.
            .uncounted(&["EventTakeSuccessCount"])
            .counted_otherwise(&[
                ("CHANNEL1 ChannelCapacity", "0", "1000"),
                ("CHANNEL1 ChannelFillPercentage", "1.7976931348623157E308", "0.0"),
            ]),
        // A line over TCP is a transaction of its own, so each finds room or does not.
        Case::lines("memory_channel_without_room", &[], &["one", "two", "three"])
            .sinks(&[(1, &["sink.directory = @DIR@/does/not/exist"])])
            .agent(&[
                "a1.channels.@C1@.capacity = 2",
                "a1.channels.@C1@.transactionCapacity = 1",
                "a1.channels.@C1@.keep-alive = 0",
                "a1.sinks.@K1@.sink.batchSize = 1",
            ])
            .masks(&[("FAILED: .*", "FAILED: WHY")])
            .uncounted(&["EventWriteFail"])
            .delivers(0),
    ]
}
