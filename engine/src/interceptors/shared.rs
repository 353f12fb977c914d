//! The headers of all events of a batch changed, at the cost of a look while nothing changes.

use std::sync::Arc;

use flumen_api::batch::Batch;
use flumen_api::event::Headers;

/// The header set that came last, and what was made of it.
///
/// A tailed file's batches all come with the very same set. Both sets are kept alive, so that equal addresses mean
/// equal sets.
#[derive(Default)]
pub(super) struct Memo {
    last: Option<(Arc<Headers>, Arc<Headers>)>,
}

impl Memo {
    /// What is made of the sets has changed.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// Replaces every header set by what `map` makes of it.
    pub fn map(&mut self, batch: &mut Batch, map: impl Fn(&Arc<Headers>) -> Arc<Headers>) {
        batch.map_header_sets(|set| match &self.last {
            Some((from, to)) if Arc::ptr_eq(from, set) => to.clone(),
            _ => {
                let mapped = map(set);
                self.last = Some((set.clone(), mapped.clone()));
                mapped
            }
        });
    }

    /// Sets `key` on all events, or, with `preserve`, on those that lack it.
    pub fn set_all(&mut self, batch: &mut Batch, key: &str, value: &str, preserve: bool) {
        self.map(batch, |set| changed(set, key, value, preserve));
    }
}

fn changed(set: &Arc<Headers>, key: &str, value: &str, preserve: bool) -> Arc<Headers> {
    match set.get(key) {
        Some(_) if preserve => set.clone(),
        Some(old) if old == value => set.clone(),
        _ => {
            let mut headers = Headers::clone(set);
            headers.set(key, value);
            Arc::new(headers)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_comes_again_is_not_built_again_and_one_that_differs_is() {
        let (mut memo, common) = (Memo::default(), Arc::new(Headers::from_iter([("file", "a")])));
        let put = |memo: &mut Memo, common: &Arc<Headers>| {
            let mut batch = Batch::new();
            batch.set_common_headers(common.clone());
            batch.push(b"x");
            memo.set_all(&mut batch, "host", "h1", false);
            batch.sets()[0].clone()
        };
        let first = put(&mut memo, &common);
        assert_eq!(first.to_string(), "{file=a, host=h1}");
        assert!(Arc::ptr_eq(&first, &put(&mut memo, &common)));
        let other = Arc::new(Headers::from_iter([("file", "b")]));
        assert_eq!(put(&mut memo, &other).to_string(), "{file=b, host=h1}");
    }

    #[test]
    fn a_header_that_is_there_is_kept_for_the_events_that_have_it_and_no_others() {
        let mut batch = Batch::new();
        batch.push(b"without");
        let set = batch.add_headers(Headers::from_iter([("host", "old")]));
        batch.push_with(b"with", set);
        Memo::default().set_all(&mut batch, "host", "new", true);
        let hosts: Vec<_> = batch.iter().map(|event| event.headers.get("host")).collect();
        assert_eq!(hosts, [Some("new"), Some("old")]);
        Memo::default().set_all(&mut batch, "host", "new", false);
        assert!(batch.iter().all(|event| event.headers.get("host") == Some("new")));
    }
}
