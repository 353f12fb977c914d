//! From a request to its answer.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::super::board::{Board, Health};
use super::{Format, flume_json, prometheus};

/// Flume's content type, to the letter: its users' scripts compare it.
const JSON: &str = "application/json;charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "text/html;charset=utf-8";
const TEXT: &str = "text/plain;charset=utf-8";

/// The answer to `request`. Its body is never read.
pub(super) fn answer<B>(request: &Request<B>, format: Format, board: &Board) -> Response<Full<Bytes>> {
    match *request.method() {
        Method::GET | Method::HEAD => {}
        Method::TRACE | Method::OPTIONS => return text(StatusCode::FORBIDDEN, TEXT, "forbidden\n".into()),
        _ => return text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into()),
    }
    let path = request.uri().path().to_ascii_lowercase();
    match (path.as_str(), format) {
        ("/", _) => {
            let link = "For Flume metrics please click <a href = \"./metrics\"> here</a>.";
            text(StatusCode::OK, HTML, link.into())
        }
        ("/metrics", Format::FlumeJson) => text(StatusCode::OK, JSON, flume_json::render(board)),
        ("/metrics", Format::Prometheus) | ("/metrics/prometheus", _) => {
            text(StatusCode::OK, PROMETHEUS, prometheus::render(board))
        }
        ("/healthz", _) => text(StatusCode::OK, TEXT, "ok\n".into()),
        ("/readyz", _) => ready(&board.health()),
        _ => text(StatusCode::NOT_FOUND, TEXT, "not found\n".into()),
    }
}

fn ready(health: &Health) -> Response<Full<Bytes>> {
    let mut lines = String::new();
    for component in health.not_running() {
        lines.push_str(&format!("{} {}: {}\n", component.kind, component.name, component.state));
    }
    match lines.is_empty() {
        true => text(StatusCode::OK, TEXT, "ready\n".into()),
        false => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines),
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
