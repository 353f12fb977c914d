//! The `avro` source: calls of Flume's Avro RPC, from other agents' avro sinks, `avro-client`, Flume's Java clients and
//! log4j's appender, each answered when its events are durable.
//!
//! | answer | when |
//! | --- | --- |
//! | OK | all events of the call are durable in all required channels |
//! | FAILED | none is, as far as is known: a channel has no room within its `keep-alive`, or does not work |
//! | an error | a message that is neither `append` nor `appendBatch` |
//!
//! The events of a call are put together: all of them or none. A client may have several calls on their way; they are
//! answered in order. With TLS and deflate both ways of nesting them are understood. Who sends anything else is let go,
//! with a line that names the peer.

mod settings;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use bytes::BytesMut;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Problems, join};
use flumen_api::source::Runs;
use flumen_api::{Source, SourceContext, SourceError};
use flumen_avro_rpc::Status;
use flumen_avro_rpc::events::{EVENTS_MAX, HEADERS_MAX};
use flumen_avro_rpc::frame::{Frames, room_max};
use flumen_avro_rpc::session::{self, Call, Head, Request, Session};
use flumen_tls::{ServerKeys, ServerTls};

use crate::net::{Answer, Ask, Calls, Connection, Filter, Room, Server, bind_tcp, serve};
pub use settings::AvroSourceSettings;

const KEYS: &[Key] = &join::<{ AvroSourceSettings::KEYS.len() + ServerKeys::KEYS.len() }>(&[
    AvroSourceSettings::KEYS,
    ServerKeys::KEYS,
]);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "avro",
        class_names: &["org.apache.flume.source.AvroSource"],
        keys: KEYS,
        doc: "Takes events from the avro sinks and clients of others, and answers when they are durable in the channel.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = AvroSourceSettings::load(config, problems);
    let tls = ServerTls::load(config, problems);
    let (settings, tls) = (settings?, tls?);
    let rules = &settings.ip_filter_rules.0;
    let filter = match settings.ip_filter {
        false => {
            if !rules.is_empty() {
                problems.warn(
                    config,
                    "ipFilterRules",
                    "ignored: `ipFilter` is not true, so that all may connect",
                );
            }
            None
        }
        true if rules.is_empty() => {
            problems.error(
                config,
                "ipFilterRules",
                "required key is missing where `ipFilter` is true: who may connect",
            );
            return None;
        }
        true => Some(Filter::parse(rules).map_err(|why| problems.error(config, "ipFilterRules", why)).ok()?),
    };
    let room = Room::new(room_max(settings.max_request_bytes));
    let source = AvroSource { settings, tls, filter, room };
    Some(Built { component: Box::new(source), batch_size: None })
}

struct AvroSource {
    settings: AvroSourceSettings,
    tls: ServerTls,
    filter: Option<Filter>,
    room: Room,
}

#[async_trait]
impl Source for AvroSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let AvroSourceSettings { bind, port, max_connections, max_request_bytes, .. } = &self.settings;
        let tls = self.tls.acceptor().await.map_err(|error| SourceError::new("no TLS", error))?;
        let listener = bind_tcp(Some(bind), *port)
            .await
            .map_err(|error| SourceError::new(format!("avro cannot listen on {bind}:{port}"), error))?;
        let server = Server::new(context.clone(), tls, *max_connections)
            .deflated(self.settings.compression_type.eq_ignore_ascii_case("deflate"))
            .only(self.filter.clone());
        let (room, longest) = (self.room.clone(), *max_request_bytes);
        let client = move |connection: Connection| {
            let calls = AvroCalls { frames: Frames::new(longest), session: Session::default() };
            serve(connection, context.clone(), room.clone(), calls)
        };
        server.serve(listener, client).await;
        Ok(())
    }
}

/// One client's messages.
struct AvroCalls {
    frames: Frames,
    session: Session,
}

impl Calls for AvroCalls {
    type Head = Head;

    fn next(&mut self) -> Result<Option<(Head, Ask)>, String> {
        let not_ours = |error: flumen_avro_rpc::Malformed| format!("no Avro RPC of Flume's: {error}");
        let Some(frame) = self.frames.pop().map_err(not_ours)? else { return Ok(None) };
        let Call { head, request } = self.session.read(frame).map_err(not_ours)?;
        let ask = match request {
            Request::Append(batch) => Ask::Append(batch),
            Request::AppendBatch(batch) => Ask::AppendBatch(batch),
            Request::TooMany => {
                Ask::Fails(format!("more than {EVENTS_MAX} events or {HEADERS_MAX} headers in one request"))
            }
            Request::NoSuchMessage(why) => Ask::Refused(why),
            Request::Nothing => Ask::Nothing,
        };
        Ok(Some((head, ask)))
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
            Answer::Ok => session::Answer::Status(Status::Ok),
            Answer::Failed => session::Answer::Status(Status::Failed),
            Answer::Error(why) => session::Answer::Error(why),
            Answer::Nothing => session::Answer::Nothing,
        };
        session::put_reply(out, head, answer);
    }
}
