//! Requests and answers, and what is done to them by a fault.

use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::net::TcpStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Fault, State, api};

/// A client that is silent for so long is let go.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// What a client asked.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// A value of the query; empty if there is none.
    pub fn asked(&self, name: &str) -> &str {
        self.query.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: std::sync::Arc<[u8]>,
}

pub fn serve(mut stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read(&mut reader)? {
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        let name = api::name(&request);
        let (fault, ahead) = {
            let mut state = lock();
            *state.calls.entry(name).or_default() += 1;
            (take_fault(&mut state, name), state.ahead)
        };
        match &fault {
            Some(Fault::Cut) => return Ok(()),
            Some(Fault::Slow(time)) => std::thread::sleep(*time),
            _ => {}
        }
        let mut answer = match fault {
            Some(Fault::Refused(status, code)) => api::refused(status, code, "as the test wants it"),
            _ => api::answer(name, &request, &mut lock()),
        };
        if let (Some(Fault::Damaged), true) = (&fault, !answer.body.is_empty()) {
            let mut body = answer.body.to_vec();
            let middle = body.len() / 2;
            body[middle] ^= 0x55;
            answer.body = body.into();
        }
        let date = jiff::Timestamp::from_second(super::now() + ahead).unwrap();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
        let mut head = format!(
            "HTTP/1.1 {} X\r\nServer: test\r\nDate: {date}\r\nx-log-requestid: 5F\r\nContent-Length: {}\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        match fault {
            Some(Fault::Lost) => return Ok(()),
            Some(Fault::Half) => {
                stream.write_all(head.as_bytes())?;
                return stream.write_all(&answer.body[..answer.body.len() / 2]);
            }
            _ => {
                stream.write_all(head.as_bytes())?;
                stream.write_all(&answer.body)?;
            }
        }
    }
    Ok(())
}

fn take_fault(state: &mut State, name: &str) -> Option<Fault> {
    let at = state.faults.iter().position(|(call, _, _)| *call == name || *call == "any")?;
    let (_, fault, times) = &mut state.faults[at];
    let fault = fault.clone();
    *times -= 1;
    if *times == 0 {
        state.faults.remove(at);
    }
    Some(fault)
}

fn read(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let malformed = || Error::new(ErrorKind::InvalidData, "no request");
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let method = words.next().ok_or_else(malformed)?.to_string();
    let target = words.next().ok_or_else(malformed)?;
    // As a proxy is asked.
    let target = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    };
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    let mut request = Request { method, path: decoded(path), query, ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    let length = request.header("content-length").parse().unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut out) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&hex, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}
