//! Flumen's sinks.
