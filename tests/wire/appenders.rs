//! Applications that log to Flumen: through log4j's own Flume appender, and through Flume's appender for log4j 1.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::flume::{self, Version};
use crate::world::{World, eventually, free_port};

/// avro source → file channel → files that have the headers as well.
fn collector(port: u16) -> World {
    World::new(&format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\na1.sources.r1.channels = c1\na1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n\
         a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n\
         a1.sinks.k1.sink.serializer = header_and_text\na1.sinks.k1.channel = c1\n"
    ))
}

fn program(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/java").join(name)
}

/// Runs an application, and says what came of it: headers and body of each line.
fn logged(world: &World, application: &mut Command, lines: usize) -> Vec<(String, String)> {
    let agent = world.start().started();
    let output = application.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all logged"), "{said}");
    let arrived = || String::from_utf8_lossy(&world.output()).into_owned();
    eventually(|| arrived().lines().count() >= lines, || format!("{}\n{said}", arrived()));
    agent.stop();
    let split = |line: &str| {
        let (headers, body) = line.split_once("} ").unwrap();
        (format!("{headers}}}"), body.to_string())
    };
    arrived().lines().map(split).collect()
}

#[test]
fn an_application_logs_through_log4js_flume_appender_line_by_line_and_in_batches() {
    let Some(flume) = flume::found(Version::Today) else { return };
    let port = free_port();
    let world = collector(port);
    let appender = |name: &str, more: &str| {
        format!(
            "<Flume name=\"{name}\" type=\"Avro\" compress=\"false\" ignoreExceptions=\"false\" \
             connectTimeoutMillis=\"300000\" requestTimeoutMillis=\"300000\"{more}>\
             <Agent host=\"127.0.0.1\" port=\"{port}\"/><PatternLayout pattern=\"%m\" charset=\"UTF-8\"/></Flume>"
        )
    };
    let logger = |name: &str| {
        format!(
            "<Logger name=\"{name}\" level=\"info\" additivity=\"false\"><AppenderRef ref=\"{name}\"/></Logger>"
        )
    };
    let configuration = format!(
        "<Configuration status=\"ERROR\"><Appenders>{}{}</Appenders><Loggers>{}{}<Root level=\"off\"/></Loggers>\
         </Configuration>",
        appender("one", ""),
        appender("ten", " batchSize=\"10\""),
        logger("one"),
        logger("ten")
    );
    fs::write(world.path("application.xml"), configuration).unwrap();
    let mut application = flume.java();
    let configuration = world.path("application.xml");
    application.arg(format!("-Dlog4j2.configurationFile={}", configuration.display()));
    let lines = logged(&world, application.arg(program("Appender.java")), 60);
    let bodies: Vec<&str> = lines.iter().map(|(_, body)| body.as_str()).collect();
    let expected = ["one", "ten"].map(|name| (0..30).map(move |i| format!("{name} {i} 漢")));
    assert_eq!(bodies, Vec::from_iter(expected.into_iter().flatten()), "in order, each once");
    for (headers, body) in &lines {
        for header in ["guId=", "timeStamp=", "user=jürgen"] {
            assert!(headers.contains(header), "{body} has {headers}");
        }
    }
}

#[test]
fn an_application_logs_through_flumes_appender_for_log4j_1() {
    let Some(flume) = flume::found(Version::Old) else { return };
    let port = free_port();
    let world = collector(port);
    let lines = logged(&world, flume.java().arg(program("OldAppender.java")).arg(port.to_string()), 25);
    let bodies: Vec<&str> = lines.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(bodies, Vec::from_iter((0..25).map(|i| format!("old {i} 漢"))), "in order, each once");
    for (headers, body) in &lines {
        for header in ["logger.name=old", "log.level=20000", "message.encoding=UTF8", "timestamp="] {
            assert!(headers.contains(&format!("flume.client.log4j.{header}")), "{body} has {headers}");
        }
    }
}
