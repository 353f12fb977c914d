//! What the tests of interceptors share.

use flumen_api::batch::Batch;
use flumen_api::event::Headers;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Registry, Spec};
use flumen_api::settings::{ComponentConfig, Kind, Problems};

/// Events with these bodies and headers.
pub(super) fn batch(events: &[(&str, &[(&str, &str)])]) -> Batch {
    let mut batch = Batch::new();
    for (body, headers) in events {
        let set = batch.add_headers(headers.iter().copied().collect::<Headers>());
        batch.push_with(body.as_bytes(), set);
    }
    batch
}

/// Builds the interceptor, or says why not.
pub(super) fn built(spec: Spec, pairs: &[(&str, &str)]) -> Result<Box<dyn Interceptor>, String> {
    let types = Registry::empty().with_all(super::specs());
    let config = ComponentConfig { types, ..ComponentConfig::of(Kind::Interceptor, "i1", pairs) };
    let Factory::Interceptor(build) = spec.factory else { return Err("not an interceptor".into()) };
    let mut problems = Problems::default();
    let said = |problems: &Problems| {
        let lines: Vec<_> = problems.0.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    match build(&config, &mut problems) {
        Some(interceptor) if problems.errors() == 0 => Ok(interceptor),
        _ => Err(said(&problems)),
    }
}

/// Runs `batch` through the interceptor.
pub(super) fn through(spec: Spec, pairs: &[(&str, &str)], batch: &mut Batch) {
    built(spec, pairs).expect("an interceptor").intercept(batch);
}

/// The headers of each event, as Java prints them.
pub(super) fn headers(batch: &Batch) -> Vec<String> {
    batch.iter().map(|event| event.headers.to_string()).collect()
}

/// The body of each event.
pub(super) fn bodies(batch: &Batch) -> Vec<String> {
    batch.iter().map(|event| String::from_utf8_lossy(event.body).into_owned()).collect()
}
