//! `load_balancing`: each event goes to one of the channels.
//!
//! With several channels that keep their source's positions, an event with a position has its channel by that position:
//! it is the same one when a crash makes the source read it again. Otherwise a channel that stands beyond the event would
//! drop it as known, although another one was to have it. Positions are scattered, so the shares come out even.

use flumen_api::batch::{Batch, Span};
use flumen_api::registry::{Factory, Spec};
use flumen_api::selector::{Route, Selected, Selector};
use flumen_api::settings::{ComponentConfig, Problems, settings};

settings! {
    /// Keys of the load-balancing selector.
    pub struct LoadBalancingSettings {
        /// `round_robin` takes the channels in turn, `random` any. Events that can be read again after a crash are spread by
        /// their position under either, where several channels are durable.
        pub policy: String = key("policy") { default: Some("round_robin"), one_of: &["round_robin", "random"] },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "load_balancing",
    class_names: &["org.apache.flume.channel.LoadBalancingChannelSelector"],
    keys: LoadBalancingSettings::KEYS,
    doc: "Each event goes to one of the source's channels.",
    factory: Factory::Selector(build),
};

fn build(config: &ComponentConfig, _: &[String], problems: &mut Problems) -> Option<Box<dyn Selector>> {
    let settings = LoadBalancingSettings::load(config, problems)?;
    let policy = match settings.policy.eq_ignore_ascii_case("random") {
        true => Policy::Random(fastrand::Rng::new()),
        false => Policy::RoundRobin(0),
    };
    Some(Box::new(LoadBalancing { policy, by_position: false }))
}

enum Policy {
    /// The next channel.
    RoundRobin(usize),
    Random(fastrand::Rng),
}

impl Policy {
    fn next(&mut self, channels: usize) -> usize {
        match self {
            Self::RoundRobin(next) => {
                let channel = *next % channels;
                *next = channel + 1;
                channel
            }
            Self::Random(random) => random.usize(..channels),
        }
    }
}

struct LoadBalancing {
    policy: Policy,
    by_position: bool,
}

impl Selector for LoadBalancing {
    fn route(&mut self, batch: &Batch, channels: usize) -> Route {
        let keys: Vec<u64> = match self.by_position {
            true => batch.progress().iter().map(|progress| hash(progress.key.as_bytes())).collect(),
            false => Vec::new(),
        };
        let mut lists = vec![Vec::with_capacity(batch.len() / channels + 1); channels];
        for (i, span) in batch.spans().iter().enumerate() {
            let channel = match keys.get(span.origin as usize) {
                Some(key) if span.origin != Span::NO_ORIGIN => {
                    (scatter(key ^ span.position) % channels as u64) as usize
                }
                _ => self.policy.next(channels),
            };
            lists[channel].push(i as u32);
        }
        let selected = |list: Vec<u32>| match list.len() {
            0 => Selected::None,
            length if length == batch.len() => Selected::All,
            _ => Selected::Some(list),
        };
        Route {
            required: lists.into_iter().map(selected).collect(),
            optional: vec![Selected::None; channels],
            nowhere: 0,
        }
    }

    fn route_by_position(&mut self) {
        self.by_position = true;
    }
}

/// FNV-1a: the same in every build, as a restart may come with another one.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// SplitMix64's last steps: every bit of the result depends on every bit of `x`.
fn scatter(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use flumen_api::progress::Progress;
    use flumen_api::settings::Kind;

    use super::*;

    fn selector(policy: &str) -> Option<Box<dyn Selector>> {
        let config = ComponentConfig::of(Kind::Selector, "r1", &[("policy", policy)]);
        build(&config, &["c1".into(), "c2".into()], &mut Problems::default())
    }

    fn batch(events: usize) -> Batch {
        let mut batch = Batch::new();
        (0..events).for_each(|_| batch.push(b"x"));
        batch
    }

    fn located(positions: std::ops::Range<u64>) -> Batch {
        let mut batch = Batch::new();
        let key = "file".to_string();
        let (from, to) = (positions.start, positions.end);
        let origin = batch.add_progress(Progress {
            key,
            generation: 1,
            from,
            to,
            rest: Default::default(),
            retire: false,
        });
        for position in positions {
            batch.push(b"x");
            batch.locate_last(origin, position);
        }
        batch
    }

    fn some(indexes: &[u32]) -> Selected {
        Selected::Some(indexes.to_vec())
    }

    /// The channel of each event.
    fn channels(route: &Route, events: usize) -> Vec<usize> {
        let has = |selected: &Selected, event: u32| match selected {
            Selected::None => false,
            Selected::All => true,
            Selected::Some(list) => list.contains(&event),
        };
        let of = |event| {
            let which: Vec<_> =
                (0..route.required.len()).filter(|at| has(&route.required[*at], event)).collect();
            assert_eq!(which.len(), 1, "event {event} goes to one channel: {route:?}");
            which[0]
        };
        (0..events as u32).map(of).collect()
    }

    #[test]
    fn round_robin_goes_on_where_the_last_batch_ended() {
        let mut selector = selector("ROUND_ROBIN").expect("a selector");
        let route = selector.route(&batch(3), 2);
        assert_eq!(route.required, [some(&[0, 2]), some(&[1])]);
        assert_eq!(route.optional, [Selected::None, Selected::None]);
        let route = selector.route(&batch(1), 2);
        assert_eq!(route.required, [Selected::None, Selected::All]);
        assert_eq!(channels(&selector.route(&located(0..4), 2), 4), [0, 1, 0, 1], "nobody keeps positions");
    }

    #[test]
    fn random_uses_every_channel_about_as_often() {
        let route = selector("random").expect("a selector").route(&batch(3000), 3);
        let channels = channels(&route, 3000);
        for channel in 0..3 {
            let share = channels.iter().filter(|one| **one == channel).count();
            assert!((800..1200).contains(&share), "{share}");
        }
    }

    #[test]
    fn what_is_read_again_goes_where_it_went_however_it_is_cut_into_batches() {
        for policy in ["round_robin", "random"] {
            let once = || {
                let mut selector = selector(policy).expect("a selector");
                selector.route_by_position();
                selector
            };
            let whole = channels(&once().route(&located(0..3000), 3), 3000);
            let mut again = once();
            let mut pieces = Vec::new();
            for (from, to) in [(0, 7), (7, 1000), (1000, 3000)] {
                let route = again.route(&located(from..to), 3);
                pieces.extend(channels(&route, (to - from) as usize));
            }
            assert_eq!(whole, pieces);
            for channel in 0..3 {
                let share = whole.iter().filter(|one| **one == channel).count();
                assert!((900..1100).contains(&share), "{share}");
            }
        }
    }

    #[test]
    fn an_unknown_policy_is_an_error() {
        assert!(selector("fastest").is_none());
    }
}
