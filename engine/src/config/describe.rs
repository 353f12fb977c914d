//! A plan in a few lines, for the log at the start and after a reload.

use std::fmt::Write;

use super::build::across::type_name;
use crate::plan::Plan;
use crate::processors::failover;

/// One line for each way through the agent, source → channel → sinks, then one for each group.
pub fn describe(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for channel in &plan.channels {
        let name = &channel.config.name;
        let sources: Vec<_> = plan
            .sources
            .iter()
            .filter(|source| source.channels.contains(name))
            .map(|source| {
                let mut text = format!("{} ({}", source.config.name, type_name(&source.spec));
                for (spec, _) in &source.interceptors {
                    // Writing to a String cannot fail.
                    let _infallible = write!(text, ", {}", type_name(spec));
                }
                if source.channels.len() > 1 {
                    let _infallible = write!(text, ", {}", type_name(&source.selector.0));
                }
                text + ")"
            })
            .collect();
        let sinks: Vec<_> = plan
            .sinks
            .iter()
            .filter(|sink| sink.channel == *name)
            .map(|sink| format!("{} ({})", sink.config.name, type_name(&sink.spec)))
            .collect();
        lines.push(format!(
            "{} → {} ({}) → {}",
            or_nothing(&sources),
            name,
            type_name(&channel.spec),
            or_nothing(&sinks)
        ));
    }
    for group in &plan.groups {
        let (spec, config) = &group.processor;
        let mut sinks: Vec<String> = group.sinks.iter().map(ToString::to_string).collect();
        let is_failover = spec.alias == "failover";
        if is_failover {
            let ranks = failover::ranks(config, &sinks, |_key, _reported_by_the_plan| {});
            let ranked =
                ranks.iter().map(|(sink, priority)| format!("{} (priority {priority})", sinks[*sink]));
            sinks = ranked.collect();
        }
        let between = if is_failover { ", then " } else { ", " };
        lines.push(format!("group {} ({}): {}", group.name, type_name(spec), sinks.join(between)));
    }
    lines
}

fn or_nothing(names: &[String]) -> String {
    if names.is_empty() { "(nothing)".to_string() } else { names.join(", ") }
}
