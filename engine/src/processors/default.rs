//! `default`: one sink, which rests after a failure.
//!
//! The rest is as long as Flume's runner sleeps: one second more with each failure in a row, up to five; a sink that
//! says how long (`retry_after`) decides itself.

use std::time::{Duration, Instant};

use flumen_api::processor::Processor;
use flumen_api::registry::{Factory, Spec};

use super::Rest;

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "default",
    class_names: &["org.apache.flume.sink.DefaultSinkProcessor"],
    keys: &[],
    doc: "One sink, which rests after a failure: a second more with each failure in a row, up to five. Every sink that is in \
          no group runs so.",
    factory: Factory::Processor(|config, sinks, problems| match sinks {
        [_] => Some(Box::new(Alone::default())),
        _ => {
            let message =
                format!("the default sink processor serves one sink, the group has {}", sinks.len());
            problems.error(config, "type", message);
            None
        }
    }),
};

/// A sink on its own.
#[derive(Debug, Default)]
pub struct Alone(Rest);

impl Processor for Alone {
    fn pick(&mut self, now: Instant) -> Result<usize, Duration> {
        self.0.left(now).map_or(Ok(0), Err)
    }

    fn succeeded(&mut self, _: usize) {
        self.0.end();
    }

    fn failed(&mut self, _: usize, now: Instant, retry_after: Option<Duration>) {
        self.0.begin(now, retry_after);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{REST_MAX, STEP};
    use super::*;

    #[test]
    fn the_rest_grows_by_a_second_up_to_five_and_starts_over_after_a_success() {
        let now = Instant::now();
        let mut alone = Alone::default();
        assert_eq!(alone.pick(now), Ok(0));
        for seconds in [1, 2, 3, 4, 5, 5] {
            alone.failed(0, now, None);
            assert_eq!(alone.pick(now), Err(Duration::from_secs(seconds)));
        }
        assert_eq!(alone.pick(now + REST_MAX), Ok(0));
        alone.succeeded(0);
        alone.failed(0, now, None);
        assert_eq!(alone.pick(now), Err(STEP));
    }

    #[test]
    fn a_sink_that_says_how_long_it_rests_decides() {
        let now = Instant::now();
        let mut alone = Alone::default();
        alone.failed(0, now, Some(Duration::from_secs(60)));
        assert_eq!(alone.pick(now), Err(Duration::from_secs(60)));
    }
}
