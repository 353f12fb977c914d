//! A selector names, for a batch, the channels that its events go to.

use crate::batch::Batch;

/// The events of a batch that go to one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// None of them (progress is written all the same).
    None,
    /// All of them.
    All,
    /// Those with these indexes, rising.
    Some(Vec<u32>),
}

/// Where a batch goes: one entry for each channel of the source, in the order in which the source lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Events that the put must bring to the channel: no room is an error.
    pub required: Vec<Selected>,
    /// Events that it brings there if there is room at once; else they are dropped for this channel and counted.
    pub optional: Vec<Selected>,
    /// How many events go to no channel at all: they count as accepted, and in a metric.
    pub nowhere: usize,
}

/// Routes batches of one source over its channels.
pub trait Selector: Send {
    /// The batch's route. `channels` is how many channels the source has; both lists of the route are that long.
    fn route(&mut self, batch: &Batch, channels: usize) -> Route;

    /// Called once, before the first route, if more than one channel keeps its source's positions. From then on an event
    /// that comes again, with the same key and position, has to be routed as it was the first time: after a crash each
    /// channel drops what it stands beyond, so an event that had gone to another channel, and did not get there, would
    /// be lost. A selector that decides by the event alone needs nothing.
    fn route_by_position(&mut self) {}

    /// Whether some batch may require channel `channel`. One that is optional for every batch has no vote on where its
    /// source resumes, for it may lack events that were acked.
    fn may_require(&self, channel: usize) -> bool {
        let _ = channel;
        true
    }
}
