//! Flumen's engine: configuration, channels, life cycle, metrics.

pub mod channels;
pub mod config;
pub mod plan;
pub mod runtime;
