//! Flumen's engine: configuration, channels, life cycle, metrics.
