//! Interceptors look at or rewrite a batch before channels are selected, in the source's own task.

use async_trait::async_trait;

use crate::batch::Batch;

/// One link of a source's interceptor chain.
#[async_trait]
pub trait Interceptor: Send {
    /// Called once, before the source runs, which waits for it: the place for what takes a while, such as a look-up.
    /// Dropped where the source is stopped meanwhile. Does nothing by default.
    async fn start(&mut self) {}

    /// Changes headers and bodies, or drops events with [`Batch::retain`]; dropped events are counted by the caller.
    /// Never called with an empty batch. Must not wait: other components share the thread.
    fn intercept(&mut self, batch: &mut Batch);
}

/// Turns what a group of `regex_extractor`'s expression matched into a header's value.
pub trait ValueSerializer: Send {
    /// The header's value, or why there is none: then the event goes on without the header, with a line in the log.
    fn serialize(&mut self, matched: &str) -> Result<String, String>;
}
