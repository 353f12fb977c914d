//! An interceptor: digits of a body become `#`.

use flumen_api::batch::Batch;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Spec};

/// The type for the registry.
pub const SPEC: Spec = Spec {
    alias: "",
    class_names: &["org.example.MaskInterceptor$Builder"],
    keys: &[],
    doc: "Makes digits unreadable.",
    factory: Factory::Interceptor(|_, _| Some(Box::new(Mask))),
};

struct Mask;

impl Interceptor for Mask {
    fn intercept(&mut self, batch: &mut Batch) {
        for i in 0..batch.len() {
            let body = batch.event(i).body;
            if body.iter().any(u8::is_ascii_digit) {
                let masked: Vec<u8> =
                    body.iter().map(|byte| if byte.is_ascii_digit() { b'#' } else { *byte }).collect();
                batch.replace_body(i, &masked);
            }
        }
    }
}
