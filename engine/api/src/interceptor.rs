//! Interceptors look at or rewrite a batch before channels are selected, in the source's own task.

use crate::batch::Batch;

/// One link of a source's interceptor chain.
pub trait Interceptor: Send {
    /// Changes headers and bodies, or drops events with [`Batch::retain`]; dropped events are counted by the caller.
    fn intercept(&mut self, batch: &mut Batch);
}
