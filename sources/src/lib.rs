//! Flumen's sources.
