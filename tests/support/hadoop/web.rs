//! What a test looks at and makes in a cluster, over WebHDFS: so a Java client reads the files.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Cluster, PATIENCE};

/// What WebHDFS says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: String,
    pub length: u64,
}

impl Cluster {
    /// A call of WebHDFS as root, who is above permissions. `query` begins with the operation's name.
    #[track_caller]
    pub fn web(&self, method: &str, path: &str, query: &str) -> (u16, Vec<u8>) {
        let target = format!("/webhdfs/v1{}?op={query}&user.name=root", encoded(path));
        let deadline = Instant::now() + PATIENCE;
        loop {
            // What is asked for here may be asked for twice.
            if let Some(answer) = self.http(method, &target) {
                return answer;
            }
            assert!(Instant::now() < deadline, "no answer to {target}: {}", self.log("nn0.log"));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Makes a directory with these permissions, in octal.
    #[track_caller]
    pub fn mkdir(&self, path: &str, permission: &str) {
        let (status, body) = self.web("PUT", path, &format!("MKDIRS&permission={permission}"));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let (status, _) = self.web("PUT", path, &format!("SETPERMISSION&permission={permission}"));
        assert_eq!(status, 200);
    }

    /// Makes an empty file where there is none.
    #[track_caller]
    pub fn touch(&self, path: &str) {
        let (status, body) = self.web("PUT", path, "CREATE&overwrite=false");
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    }

    /// All files below `path`, by name.
    #[track_caller]
    pub fn files(&self, path: &str) -> Vec<Entry> {
        let mut files = Vec::new();
        let mut left = vec![path.to_string()];
        while let Some(path) = left.pop() {
            for (is_directory, entry) in self.list(&path) {
                match is_directory {
                    true => left.push(entry.path),
                    false => files.push(entry),
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// What is in a directory, and whether each is one; the file itself, if `path` is one; nothing, if there is nothing.
    #[track_caller]
    fn list(&self, path: &str) -> Vec<(bool, Entry)> {
        let (status, body) = self.web("GET", path, "LISTSTATUS");
        if status == 404 {
            return Vec::new();
        }
        let said = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, 200, "{said}");
        let json: serde_json::Value = serde_json::from_str(&said).unwrap();
        let found = json["FileStatuses"]["FileStatus"].as_array().unwrap().iter();
        found
            .map(|one| {
                let name = one["pathSuffix"].as_str().unwrap();
                let path = match name.is_empty() {
                    true => path.to_string(),
                    false => format!("{}/{name}", path.trim_end_matches('/')),
                };
                let length = one["length"].as_u64().unwrap();
                (one["type"] == "DIRECTORY", Entry { path, length })
            })
            .collect()
    }

    /// Deletes all that there is.
    #[track_caller]
    pub(super) fn clear(&self) {
        for (_, Entry { path, .. }) in self.list("/") {
            let (status, body) = self.web("DELETE", &path, "DELETE&recursive=true");
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        }
    }

    /// A file's bytes, as a Java client reads them.
    #[track_caller]
    pub fn read(&self, path: &str) -> Vec<u8> {
        self.try_read(path).unwrap_or_else(|| panic!("{path} is not there"))
    }

    /// The same, or `None` if there is no such file.
    #[track_caller]
    pub fn try_read(&self, path: &str) -> Option<Vec<u8>> {
        let target = format!("/webhdfs/v1{}?op=OPEN&user.name=root", encoded(path));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = match self.http("GET", &target) {
                Some((200, body)) => return Some(body),
                Some((404, _)) => return None,
                Some((status, body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
                // The NameNode sends a reader to a DataNode that was killed, for as long as it does not know.
                None => "no answer".to_string(),
            };
            assert!(Instant::now() < deadline, "{path}: {said}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The same, if they can be read just now: a file may be renamed or recovered since it was listed.
    pub fn read_now(&self, path: &str) -> Option<Vec<u8>> {
        let target = format!("/webhdfs/v1{}?op=OPEN&user.name=root", encoded(path));
        self.http("GET", &target).filter(|(status, _)| *status == 200).map(|(_, body)| body)
    }

    /// Status and body of a request to the NameNode, redirects followed; `None` while nobody answers.
    pub(super) fn http(&self, method: &str, target: &str) -> Option<(u16, Vec<u8>)> {
        let (mut port, mut target) = (self.addresses[self.active].http, target.to_string());
        for _ in 0..3 {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // Of HTTP 1.0, so that no answer comes in chunks.
            write!(
                stream,
                "{method} {target} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n"
            )
            .ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).ok()?;
            // A DataNode says first that it waits for the body, of which there is none.
            let ready = b"HTTP/1.1 100 Continue\r\n\r\n";
            if answer.starts_with(ready) {
                answer.drain(..ready.len());
            }
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
            let head = String::from_utf8_lossy(&answer[..end]).into_owned();
            let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
            let location = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("location").then(|| value.trim().to_string())
            });
            match location.filter(|_| status == 307) {
                None => return Some((status, answer[end + 4..].to_vec())),
                Some(location) => {
                    let rest = location.strip_prefix("http://")?;
                    let (host, path) = rest.split_at(rest.find('/')?);
                    port = host.rsplit(':').next()?.parse().ok()?;
                    target = path.to_string();
                }
            }
        }
        None
    }
}

fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'/' | b'.' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
