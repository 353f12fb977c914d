//! How a transaction ends: the records, the note in the channel, the offset, the commit, one after another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::sink::{SinkContext, SinkError};
use flumen_kafka::producer::{Flight, Producer, Transactions};
use flumen_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use flumen_kafka::rdkafka::error::{KafkaError, KafkaResult};
use flumen_kafka::rdkafka::{Offset, TopicPartitionList};

use super::Shared;
use super::note::{self, Prepared};
use crate::kafka::landed;

/// How long one call to the brokers may take, and all tries of it.
pub(super) const CALL: Duration = Duration::from_secs(5);
pub(super) const CALLS: Duration = Duration::from_secs(60);

/// What ends a transaction.
pub(super) struct Commit {
    pub producer: Arc<Producer>,
    pub group: Arc<BaseConsumer>,
    pub context: SinkContext,
    pub carried: Vec<u64>,
    pub prepared: Prepared,
}

impl Commit {
    pub async fn run(self, flight: &Flight, shared: &Shared) -> Result<(), SinkError> {
        let Self { producer, group, context, carried: noted, prepared } = self;
        landed(flight, &context).await.map_err(|undelivered| shared.not_landed(&undelivered))?;
        let noted_now = vec![prepared.progress(), note::carried(&prepared.content, &noted)];
        let recorded = context.record(noted_now).await;
        recorded
            .map_err(|error| SinkError::new("the channel did not take the note of a transaction", error))?;
        *shared.carried.lock() = noted;
        // From here on the transaction may be committed, whatever this process comes to know of it.
        let (number, topic) = (prepared.number, prepared.topic.clone());
        let metadata = format!("flumen {}", prepared.content);
        *shared.prepared.lock() = Some(prepared);
        let failed =
            |error: KafkaError| SinkError::new(format!("transaction {number} was not committed"), error);
        let mut offsets = TopicPartitionList::new();
        {
            let mut mark = offsets.add_partition(&topic, 0);
            mark.set_offset(Offset::Offset(number as i64)).map_err(failed)?;
            mark.set_metadata(metadata);
        }
        let group = group.group_metadata().ok_or_else(|| SinkError::plain("the client has no group"))?;
        again(&context, || producer.transactions().send_offsets(&offsets, &group, CALL)).map_err(failed)?;
        again(&context, || producer.transactions().commit(CALL)).map_err(failed)
    }
}

/// Calls again what may succeed the next time, for a while.
pub(super) fn again<T>(context: &SinkContext, mut call: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    let begun = Instant::now();
    loop {
        match call() {
            Err(error)
                if begun.elapsed() < CALLS && !context.shutdown.is_cancelled() && is_passing(&error) =>
            {
                tracing::debug!(sink = %context.name, %error, "tried again");
            }
            other => return other,
        }
    }
}

fn is_passing(error: &KafkaError) -> bool {
    use flumen_kafka::rdkafka::types::RDKafkaErrorCode as Code;
    match error {
        KafkaError::Transaction(error) => error.is_retriable(),
        other => matches!(
            other.rdkafka_error_code(),
            Some(
                Code::OperationTimedOut
                    | Code::CoordinatorNotAvailable
                    | Code::NotCoordinator
                    | Code::CoordinatorLoadInProgress
            )
        ),
    }
}
