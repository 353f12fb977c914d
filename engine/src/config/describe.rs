//! A plan in a few lines, for the log at the start and after a reload.

use std::fmt::Write;

use super::build::across::type_name;
use crate::plan::Plan;

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
        let (processor, config) = &group.processor;
        let mut sinks: Vec<_> = group.sinks.iter().map(|sink| sink.to_string()).collect();
        if processor == "failover" {
            let priority = |at: usize, sink: &str| -> i64 {
                let default = -1 - i64::try_from(at).unwrap_or(i64::MAX - 1);
                config.get(&format!("priority.{sink}")).and_then(|text| text.parse().ok()).unwrap_or(default)
            };
            let mut ranked: Vec<_> =
                sinks.into_iter().enumerate().map(|(at, sink)| (priority(at, &sink), sink)).collect();
            ranked.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
            sinks =
                ranked.into_iter().map(|(priority, sink)| format!("{sink} (priority {priority})")).collect();
        }
        let between = if processor == "failover" { ", then " } else { ", " };
        lines.push(format!("group {} ({processor}): {}", group.name, sinks.join(between)));
    }
    lines
}

fn or_nothing(names: &[String]) -> String {
    if names.is_empty() { "(nothing)".to_string() } else { names.join(", ") }
}
