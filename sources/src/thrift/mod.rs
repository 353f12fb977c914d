//! The `thrift` source: calls of Flume's Thrift service, from other agents' thrift sinks and Flume's Java clients, each
//! answered when its events are durable.
//!
//! | answer | when |
//! | --- | --- |
//! | OK | all events of the call are durable in all required channels |
//! | FAILED | none is, as far as is known: a channel has no room within its `keep-alive`, or does not work |
//! | an exception | there is no such method, or its arguments cannot be read |
//!
//! What the calls are is in `engine/thrift`. A call's events are put together: all of them or none. A client may have several
//! calls on their way; they are answered in order. Who sends anything else is let go, with a line that names the peer.

mod settings;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use bytes::BytesMut;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Problems, join};
use flumen_api::source::Runs;
use flumen_api::{Source, SourceContext, SourceError};
use flumen_thrift::call::{self, Asks, Call, put_reply, read_call};
use flumen_thrift::events::{EVENTS_MAX, HEADERS_MAX};
use flumen_thrift::frame::{Frames, HEAD_BYTES};
use flumen_thrift::{Malformed, Protocol, Status};
use flumen_tls::{ServerKeys, ServerTls};

use crate::net::{Answer, Ask, Calls, Connection, Room, Server, bind_tcp, serve};
pub use settings::ThriftSourceSettings;

const KEYS: &[Key] = &join::<{ ThriftSourceSettings::KEYS.len() + ServerKeys::KEYS.len() }>(&[
    ThriftSourceSettings::KEYS,
    ServerKeys::KEYS,
]);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "thrift",
        class_names: &["org.apache.flume.source.ThriftSource"],
        keys: KEYS,
        doc: "Takes events from the thrift sinks and clients of others, and answers when they are durable in the channel.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = ThriftSourceSettings::load(config, problems);
    let tls = ServerTls::load(config, problems);
    let (settings, tls) = (settings?, tls?);
    if settings.kerberos {
        let message = "Kerberos is not spoken by the thrift source here: use `ssl`, or Flume on this hop";
        problems.error(config, "kerberos", message);
        return None;
    }
    let (protocol, doubt) = Protocol::of_key(&settings.protocol);
    if let Some(doubt) = doubt {
        problems.warn(config, "protocol", doubt);
    }
    let room = Room::new(HEAD_BYTES + settings.max_request_bytes);
    let source = ThriftSource { settings, protocol, tls, room };
    Some(Built { component: Box::new(source), batch_size: None })
}

struct ThriftSource {
    settings: ThriftSourceSettings,
    protocol: Protocol,
    tls: ServerTls,
    room: Room,
}

#[async_trait]
impl Source for ThriftSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let ThriftSourceSettings { bind, port, max_connections, max_request_bytes, .. } = &self.settings;
        let tls = self.tls.acceptor().await.map_err(|error| SourceError::new("no TLS", error))?;
        let listener = bind_tcp(Some(bind), *port)
            .await
            .map_err(|error| SourceError::new(format!("thrift cannot listen on {bind}:{port}"), error))?;
        let server = Server::new(context.clone(), tls, *max_connections);
        let (room, protocol, longest) = (self.room.clone(), self.protocol, *max_request_bytes);
        let client = move |connection: Connection| {
            let calls = ThriftCalls { protocol, frames: Frames::new(longest) };
            serve(connection, context.clone(), room.clone(), calls)
        };
        server.serve(listener, client).await;
        Ok(())
    }
}

/// One client's messages.
struct ThriftCalls {
    protocol: Protocol,
    frames: Frames,
}

/// What the reply to a call repeats of it.
struct Head {
    protocol: Protocol,
    name: String,
    serial: i32,
    /// What an exception would be of.
    is_known: bool,
}

impl Calls for ThriftCalls {
    type Head = Head;

    fn next(&mut self) -> Result<Option<(Head, Ask)>, String> {
        let not_ours = |error: Malformed| format!("no Thrift of Flume's: {error}");
        let Some(message) = self.frames.pop().map_err(not_ours)? else { return Ok(None) };
        let Call { name, serial, asks } = read_call(self.protocol, &message).map_err(not_ours)?;
        let is_known = !matches!(asks, Asks::NoSuchMethod);
        let ask = match asks {
            Asks::Append(batch) => Ask::Append(batch),
            Asks::AppendBatch(batch) => Ask::AppendBatch(batch),
            Asks::TooMany => {
                Ask::Fails(format!("more than {EVENTS_MAX} events or {HEADERS_MAX} headers in one call"))
            }
            Asks::NoSuchMethod => Ask::Refused(format!("Invalid method name: '{name}'")),
            Asks::Malformed(why) => Ask::Refused(why.to_string()),
        };
        Ok(Some((Head { protocol: self.protocol, name, serial, is_known }, ask)))
    }

    fn held(&self) -> usize {
        self.frames.held()
    }

    fn wanted(&self) -> usize {
        self.frames.wanted()
    }

    fn buffer(&mut self) -> &mut BytesMut {
        self.frames.buffer()
    }

    fn answer(out: &mut Vec<u8>, head: Head, answer: Answer<'_>) {
        let answer = match answer {
            Answer::Ok => call::Answer::Status(Status::Ok),
            Answer::Failed => call::Answer::Status(Status::Failed),
            Answer::Error(why) if head.is_known => call::Answer::Malformed(why),
            Answer::Error(why) => call::Answer::NoSuchMethod(why),
            // Every call is answered with something.
            Answer::Nothing => return,
        };
        put_reply(head.protocol, &head.name, head.serial, answer, out);
    }
}
