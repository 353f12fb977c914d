//! What sources that serve clients over a network share.
//!
//! ```text
//!   Server     accepts on a port, TLS if asked for, so many clients at a time, each in a task of its own
//!   talk       one client that sends and is not answered
//!   Inbox      receives datagrams into a queue of bounded size while a channel has no room
//!   Delivery   puts events that nobody is answered for, and puts them again until the channels have them
//!   serve      one client that calls: puts a call's events, and answers when they are durable
//!   Room       memory for what clients send
//!   Filter     who may connect
//!   Guests     who makes room where all places are taken
//!   names      who a client is, as Java writes it
//! ```
//!
//! One client's garbage, slowness or panic ends at most its own connection, and is counted.

mod calls;
mod datagrams;
mod delivery;
mod filter;
mod guests;
mod listen;
mod names;
mod room;
mod stream;
mod talk;

pub(crate) use calls::{Answer, Ask, Calls, serve};
pub(crate) use datagrams::{Datagram, Inbox};
pub(crate) use delivery::{Budget, Delivery};
pub(crate) use filter::Filter;
pub(crate) use listen::{Connection, Server, bind_tcp, bind_udp};
pub(crate) use names::ClientHeaders;
pub(crate) use room::Room;
pub(crate) use stream::{ReadBuffer, Stream};
pub(crate) use talk::{Protocol, Reading, talk};
