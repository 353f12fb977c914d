//! Flumen's engine: configuration, channels, life cycle, metrics.

pub mod channels;
pub mod config;
pub mod interceptors;
pub mod plan;
pub mod processors;
pub mod runtime;
pub mod selectors;
