//! What a Flumen component compiles against.
//!
//! This crate says what things *are*: an [`Event`](EventRef), a [`Batch`] on its way in, a [`Chunk`] as channels keep
//! it, the [`Channel`], [`Source`] and [`Sink`] traits, and how a component declares its type names and its keys. It
//! holds no channel, no log, no runtime: those are `flumen-engine`, and a third party's component needs none of them.
//!
//! Reading order: [`event`] → [`batch`] → [`chunk`] → [`channel`] → [`source`] / [`sink`] → [`settings`] → [`registry`].

pub mod batch;
pub mod channel;
pub mod chunk;
pub mod event;
pub mod interceptor;
pub mod metrics;
pub mod order;
pub mod processor;
pub mod progress;
pub mod quiet;
pub mod registry;
pub mod selector;
pub mod serializer;
pub mod settings;
pub mod sink;
pub mod source;

pub use batch::Batch;
pub use channel::{Channel, PutError, Reservation, Space, TakeError, TakeLimit, Taken, Taker, Ticket};
pub use chunk::{Chunk, Events};
pub use event::{EventRef, Headers};
pub use progress::{Position, Progress};
pub use serializer::{AppendError, EventSerializer};
pub use sink::{Sink, SinkContext, SinkError};
pub use source::{Source, SourceContext, SourceError};
