//! A sink that is asked to stop while a peer says nothing.

use std::future::Future;
use std::time::Duration;

use flumen_api::sink::SinkError;
use tokio_util::sync::CancellationToken;

/// How long a stop waits for answers: an agent that is asked to stop is not held up by one that does not answer.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// What is asked of a peer; a stop ends it after a while, with that error.
pub(crate) async fn until_stop<T>(
    stop: &CancellationToken,
    asked: impl Future<Output = T>,
) -> Result<T, SinkError> {
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(FAREWELL_MAX).await;
    };
    tokio::select! {
        biased;
        answer = asked => Ok(answer),
        () = patience => Err(SinkError::plain("the sink stops, and there is no answer")),
    }
}
