//! Where a log lives.

use std::sync::Arc;

use crate::storage::Directory;

/// Where a log lives. Both directories exist; they may be the same.
#[derive(Clone, Debug)]
pub struct Directories {
    /// Segments.
    pub data: Arc<dyn Directory>,
    /// Checkpoints.
    pub checkpoint: Arc<dyn Directory>,
}
