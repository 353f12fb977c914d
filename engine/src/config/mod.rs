//! From properties files to a [`Plan`](crate::plan::Plan).
