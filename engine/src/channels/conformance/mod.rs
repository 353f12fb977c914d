//! What every channel promises, as tests: [`flumen_api::channel`] in the form of claims.
//!
//! A channel's test file names how to open one and gets the whole suite:
//!
//! ```ignore
//! struct Memory;
//! impl Subject for Memory { /* … */ }
//! flumen_engine::channel_conformance!(volatile: Memory);
//! ```
//!
//! Each test opens channels with the keys `capacity`, `transactionCapacity` and `keep-alive`, which all of Flume's
//! channels have. A failed claim panics.

mod positions;
mod puts;
mod restart;
mod takes;
mod world;

use std::sync::Arc;

use flumen_api::channel::Channel;

pub use positions::*;
pub use puts::*;
pub use restart::*;
pub use takes::*;

/// Where the suite gets its channels from. Every test makes a new one.
pub trait Subject: Send + Sync {
    /// Opens the channel with these keys. A durable channel that was closed is opened again, with its events.
    fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel>;

    /// Whether the channel has its events itself: it counts them, has a `capacity`, and their numbers are for ever. Of one whose
    /// events lie with somebody else, to whom others put as well, nothing of that is asked.
    fn is_local(&self) -> bool {
        true
    }
}

/// The suite as test functions, for a channel that is `volatile` or `durable`.
#[macro_export]
macro_rules! channel_conformance {
    (volatile: $subject:expr) => {
        $crate::channel_conformance!(@tests $subject;
            a_single_taker_sees_the_order_of_the_puts,
            a_full_channel_takes_no_put_until_something_is_released,
            a_put_waits_as_long_as_keep_alive_says,
            more_than_a_transaction_may_hold_is_refused_for_good,
            waiting_puts_are_served_in_their_order,
            rolled_back_events_go_out_first_and_in_order,
            a_put_may_be_taken_in_parts,
            a_take_is_bounded_by_bytes_but_holds_an_event,
            concurrent_takers_get_each_event_once,
            dropped_reservations_and_waits_leave_no_trace,
            a_dropped_take_is_a_rollback,
            any_headers_and_bodies_come_back_as_they_were,
            releases_may_come_in_any_order,
            only_selected_events_are_put,
            a_waiting_taker_hears_of_puts_and_rollbacks,
            a_closed_channel_says_so,
        );
    };
    (durable: $subject:expr) => {
        $crate::channel_conformance!(volatile: $subject);
        $crate::channel_conformance!(@tests $subject;
            unreleased_events_come_again_after_a_restart_and_released_ones_do_not,
            events_released_out_of_order_stay_released,
            progress_survives_a_restart,
            progress_of_a_put_without_events_is_kept,
            known_events_are_not_put_again,
            progress_never_goes_back_within_a_generation,
            a_new_generation_is_new_data,
            a_retired_key_is_forgotten,
            a_marked_source_is_known,
        );
    };
    (@tests $subject:expr; $($test:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            $crate::channels::conformance::$test(&$subject).await;
        })+
    };
}
