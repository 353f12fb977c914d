//! Requests and answers on the wire, and what is done to them by a fault.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::{Answer, Asked, BUCKET, State, What, locked, now, objects, sign};

pub(super) fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone()?);
    while let Some(mut asked) = read(&mut reader)? {
        let what = {
            let mut state = locked(state);
            state.asked.push(asked.what());
            let fault = state.faults.iter_mut().find(|fault| fault.left > 0 && (fault.matches)(&asked));
            fault.map(|fault| {
                fault.left -= 1;
                fault.what
            })
        };
        let answer = match what {
            Some(What::Cut) => return Ok(()),
            Some(What::Refuse(status, code)) => Answer::error(status, code),
            Some(What::LoseAnswer) => {
                answer(&mut asked, state);
                return Ok(());
            }
            Some(What::Hold(number)) => {
                while !locked(state).let_go.contains(&number) {
                    thread::sleep(Duration::from_millis(2));
                }
                answer(&mut asked, state)
            }
            Some(What::Slow(pause)) => {
                thread::sleep(pause);
                answer(&mut asked, state)
            }
            None => answer(&mut asked, state),
        };
        write(stream, &asked, answer, state)?;
    }
    Ok(())
}

fn write(mut stream: &TcpStream, asked: &Asked, answer: Answer, state: &Mutex<State>) -> io::Result<()> {
    let length = answer.length.unwrap_or(answer.body.len());
    let date = now(state).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut head = format!(
        "HTTP/1.1 {} X\r\nDate: {date}\r\nServer: AliyunOSS\r\nx-oss-request-id: R1\r\n",
        answer.status
    );
    if answer.status != 204 {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if asked.method != "HEAD" {
        bytes.extend(answer.body);
    }
    stream.write_all(&bytes)
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_string(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = decoded(path);
    let key = path.trim_start_matches('/').strip_prefix(BUCKET).unwrap_or_default();
    let key = key.strip_prefix('/').unwrap_or(key).to_string();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, key, query, headers, body }))
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (out.push(byte), at += 3),
            None => (out.push(bytes[at]), at += 1),
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// As it stands in a URI.
pub(super) fn encoded(text: &str, is_path: bool) -> String {
    let byte = |byte: u8| match byte {
        b'/' if is_path => "/".to_string(),
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn answer(asked: &mut Asked, state: &Mutex<State>) -> Answer {
    if let Err(refused) = sign::authenticate(asked, state) {
        return refused;
    }
    let mut guard = locked(state);
    objects::act(asked, &mut guard)
}
