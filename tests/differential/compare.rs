//! Whether both sides did the same with a case, or each what the case says of it.

use crate::case::Case;
use crate::normal;
use crate::side::{Counters, Result};

/// Counters whose values are compared. The others tell of attempts and batches, which depend on the clock.
const COUNTED: &[&str] = &[
    "EventReceivedCount",
    "EventAcceptedCount",
    "EventPutAttemptCount",
    "EventPutSuccessCount",
    "EventTakeSuccessCount",
    "EventDrainSuccessCount",
    "ChannelSize",
    "ChannelCapacity",
    "ChannelFillPercentage",
    "EventReadFail",
    "ChannelWriteFail",
    "EventWriteFail",
    "Type",
];

pub fn compare(case: &Case, theirs: &Result, ours: &Result) -> std::result::Result<(), String> {
    let (their_texts, our_texts) = (normal::shown(case, theirs), normal::shown(case, ours));
    for (side, result) in [("flume", theirs), ("flumen", ours)] {
        let (least, heard) = (case.delivered_by(side), result.heard.as_ref().map(Vec::len));
        if heard.is_some_and(|heard| heard < least) {
            return Err(format!("of {side} its peer heard {:?}, not {least} texts", result.heard));
        }
    }
    match &case.differs {
        Some(differs) => {
            is("Flume", &their_texts, differs.flume)?;
            is("Flumen", &our_texts, differs.flumen)
        }
        None => {
            if their_texts != our_texts {
                return Err(format!("Flume:\n{}\nFlumen:\n{}", list(&their_texts), list(&our_texts)));
            }
            if case.delivered > 0 && their_texts.iter().all(String::is_empty) {
                return Err("both show nothing at all".into());
            }
            let (theirs_named, ours_named) = (normal::names(theirs), normal::names(ours));
            if theirs_named != ours_named {
                return Err(format!("files of Flume: {theirs_named:?}, of Flumen: {ours_named:?}"));
            }
            if let Some((flume, flumen)) = case.inputs_otherwise {
                is("input left by Flume", &theirs.inputs, flume)?;
                is("input left by Flumen", &ours.inputs, flumen)?;
            } else if theirs.inputs != ours.inputs {
                return Err(format!(
                    "input left by Flume: {:?}, by Flumen: {:?}",
                    theirs.inputs, ours.inputs
                ));
            }
            counters(case, theirs, ours)
        }
    }
}

fn is(side: &str, shown: &[String], expected: &[&str]) -> std::result::Result<(), String> {
    if shown.iter().map(String::as_str).eq(expected.iter().copied()) {
        return Ok(());
    }
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    Err(format!("{side}:\n{}\nwhere the case expects\n{}", list(shown), list(&expected)))
}

fn list(texts: &[String]) -> String {
    texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join("\n")
}

/// Every component that Flume counts is there, with all of Flume's counters, and those that are compared are equal.
fn counters(case: &Case, theirs: &Result, ours: &Result) -> std::result::Result<(), String> {
    for (component, counted) in &theirs.counters {
        let Some(own) = ours.counters.get(component) else {
            return Err(format!("Flumen has no counters of {component}"));
        };
        for (name, value) in counted {
            let Some(own) = own.get(name) else {
                return Err(format!("{component} lacks the counter {name}"));
            };
            let whole = format!("{component} {name}");
            if let Some((_, flume, flumen)) = case.counted_otherwise.iter().find(|(is, ..)| **is == *whole) {
                if (&**value, &**own) != (*flume, *flumen) {
                    return Err(format!(
                        "{whole}: the case expects {flume} and {flumen}, not {value} and {own}"
                    ));
                }
            } else if COUNTED.contains(&&**name)
                && !case.uncounted.contains(&&**name)
                && own != value
                && !zeroed_late(name, counted, own)
            {
                return Err(format!(
                    "{component}: {name} is {value} in Flume and {own} in Flumen\nFlume: {}\nFlumen: {}",
                    all(counted),
                    all(&ours.counters[component])
                ));
            }
        }
    }
    Ok(())
}

/// Flume's spooldir source begins to read before it zeroes its counters: what it received in between is lost to them, and
/// what it accepted, which it counts later, is not.
fn zeroed_late(name: &str, flumes: &Counters, own: &str) -> bool {
    let accepted = flumes.get("EventAcceptedCount");
    name == "EventReceivedCount" && accepted.is_some_and(|accepted| accepted == own)
}

fn all(counters: &Counters) -> String {
    counters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}
