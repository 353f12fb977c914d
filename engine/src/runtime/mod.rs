//! Runs a [`Plan`](crate::plan::Plan).
