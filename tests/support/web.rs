//! A web server that keeps what it is asked and answers as a test says.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A client that is silent for so long is let go.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// A header's value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Further header lines, each with its end.
    pub headers: &'static str,
    pub body: &'static str,
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self { status, headers: "", body: "" }
    }
}

/// A server.
pub struct Web {
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Web {
    /// Starts one that answers with what `answer` says, given the request and how often its body has come, this time
    /// included.
    pub fn start(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<Request>>>::default();
        let requests = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (requests, answer) = (requests.clone(), answer.clone());
                std::thread::spawn(move || {
                    // A client that goes away is not this server's trouble.
                    let _ended = serve(stream?, &*answer, &requests);
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        Self { port, seen }
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The bodies of what was asked so far.
    pub fn bodies(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.body).collect()
    }
}

fn serve(
    stream: TcpStream,
    answer: impl Fn(&Request, usize) -> Answer,
    seen: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream)? {
        let Answer { status, headers, body } = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            answer(&request, seen.iter().filter(|other| other.body == request.body).count())
        };
        let length = body.len();
        write!(stream.get_mut(), "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}")?;
    }
    Ok(())
}

/// The next request; `None` at the end.
fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_string);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    let mut request = Request { method, path, headers, body: String::new() };
    let mut body = vec![0; request.header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body)?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}
