//! Runs a [`Plan`](crate::plan::Plan).
//!
//! ```text
//!   Agent ── ChannelUnit   task              opens, retries, closes; hands out the open channel
//!     │  └── RunnerUnit    OS thread         one group of sinks, or one sink: takes, delivers, flushes, releases
//!     │  └── SourceUnit    task or OS thread runs the source; its puts go through interceptors and selector
//!     └──── Board          states and counters of all of them, for monitoring, health and the state dump
//! ```
//!
//! Every unit has a keeper of its own, which starts it, tries again after growing pauses and ends when told to, so no
//! component can stop another. Units wait for the channels that they hang on, and start in the order channels, sinks,
//! sources; they stop in the order sources, sinks, channels.

mod agent;
mod board;
mod channel_unit;
mod dead_letter;
mod flights;
mod gaps;
mod layout;
pub mod monitoring;
mod pace;
mod positions;
mod put;
mod reload;
mod runner;
mod sink_unit;
mod slot;
mod source_unit;
mod supervise;
#[cfg(test)]
mod tests;

pub use agent::{Agent, AgentOptions, StartupFailure};
pub use board::{ComponentHealth, Health, State};
pub use reload::{Change, ReloadReport, What};
pub use supervise::Pauses;
