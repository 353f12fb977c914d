//! Uploads that were begun and are neither completed nor thrown away, which `object_store` cannot list: S3's and Google's answer is the same.
//!
//! ```text
//!   GET /bucket?prefix=…&uploads=                                        signed as the library does it; Google's with a bearer's token
//!   GET /bucket?prefix=…&uploads=&key-marker=…&upload-id-marker=…        the next page, if IsTruncated
//!
//!   <ListMultipartUploadsResult> <IsTruncated/> <NextKeyMarker/> <NextUploadIdMarker/>
//!     <Upload> <Key/> <UploadId/> </Upload> …
//! ```

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Request};
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::gcp::GoogleCloudStorage;

use super::library::told;
use super::oss::encoded;
use super::wire::Wire;
use super::{Begun, Kind, StoreError};

const UPLOADS_MAX: usize = 1_000_000;
/// What leads to the next page, and where the page before says it.
const MARKS: [(&str, &str); 2] =
    [("key-marker", "NextKeyMarker"), ("upload-id-marker", "NextUploadIdMarker")];
/// The answer of a store that has no such list.
const NONE: &str = "<ListMultipartUploadsResult/>";

/// Who asks.
#[derive(Debug)]
pub(super) enum Signer {
    S3 { store: AmazonS3, region: String },
    Google(GoogleCloudStorage),
}

/// Asks one bucket.
#[derive(Debug)]
pub(super) struct Uploads {
    pub wire: Wire,
    pub signer: Signer,
    /// The bucket's URL, without a slash at the end.
    pub base: String,
}

fn refused(why: impl ToString) -> StoreError {
    StoreError::new(Kind::Refused, why.to_string())
}

fn text(node: roxmltree::Node<'_, '_>, name: &str) -> Option<String> {
    let child = node.children().find(|child| child.tag_name().name() == name)?;
    Some(child.text().unwrap_or_default().to_string())
}

impl Signer {
    async fn sign(&self, request: &mut HttpRequest) -> Result<(), StoreError> {
        match self {
            Self::S3 { store, region } => {
                let credential = store.credentials().get_credential().await.map_err(told)?;
                AwsAuthorizer::new(&credential, "s3", region).try_authorize(request, None).map_err(told)
            }
            Self::Google(store) => {
                let credential = store.credentials().get_credential().await.map_err(told)?;
                if !credential.bearer.is_empty() {
                    let value = HeaderValue::from_str(&format!("Bearer {}", credential.bearer));
                    let mut value =
                        value.map_err(|_its_text_is_secret| refused("the token is no header's value"))?;
                    value.set_sensitive(true);
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                Ok(())
            }
        }
    }
}

impl Uploads {
    /// All uploads to keys that begin so.
    pub async fn below(&self, prefix: &str) -> Result<Vec<Begun>, StoreError> {
        let (mut found, mut next) = (Vec::new(), Vec::new());
        loop {
            let page = self.page(prefix, &next).await?;
            let document = roxmltree::Document::parse(&page).map_err(refused)?;
            let root = document.root_element();
            for upload in root.children().filter(|node| node.tag_name().name() == "Upload") {
                if let (Some(key), Some(id)) = (text(upload, "Key"), text(upload, "UploadId")) {
                    found.push(Begun { key, id });
                }
            }
            let marks = MARKS.iter().filter_map(|(mark, name)| Some((*mark, text(root, name)?)));
            let marks: Vec<_> = marks.filter(|(_, value)| !value.is_empty()).collect();
            if text(root, "IsTruncated").as_deref() != Some("true") || marks.is_empty() || marks == next {
                return Ok(found);
            }
            if found.len() > UPLOADS_MAX {
                return Err(refused(format!("more than {UPLOADS_MAX} uploads")));
            }
            next = marks;
        }
    }

    async fn page(&self, prefix: &str, marks: &[(&str, String)]) -> Result<String, StoreError> {
        let mut uri = format!("{}?prefix={}&uploads=", self.base, encoded(prefix));
        for (mark, value) in marks {
            uri.push_str(&format!("&{mark}={}", encoded(value)));
        }
        let request = Request::builder().method(Method::GET).uri(uri).body(HttpRequestBody::empty());
        let mut request = request.map_err(refused)?;
        self.signer.sign(&mut request).await?;
        let answer = self.wire.ask(request).await.map_err(refused)?;
        match answer.status().as_u16() {
            200 => Ok(String::from_utf8_lossy(answer.body()).into_owned()),
            501 => Ok(NONE.into()),
            status => Err(refused(format!("uploads cannot be listed: {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use object_store::aws::AmazonS3Builder;
    use object_store::gcp::GoogleCloudStorageBuilder;
    use tokio::runtime::Handle;

    use super::*;

    /// Answers these statuses and bodies, one connection each; returns the heads of what was asked.
    fn server(answers: Vec<(u16, String)>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = thread::spawn(move || {
            let answer = |(status, body): (u16, String)| {
                let (mut stream, _) = listener.accept().expect("a connection");
                let lines = BufReader::new(stream.try_clone().expect("a copy")).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).expect("answered");
                head.join("\n")
            };
            answers.into_iter().map(answer).collect()
        });
        (format!("http://{address}/b"), task)
    }

    fn s3(wire: &Wire) -> Signer {
        let store = AmazonS3Builder::new().with_access_key_id("id").with_secret_access_key("secret");
        let store = store.with_bucket_name("b").with_region("r").with_http_connector(wire.clone());
        let store = store.build().expect("a store");
        Signer::S3 { store, region: "r".into() }
    }

    fn google(wire: &Wire) -> Signer {
        let key =
            "{\"private_key\":\"\",\"private_key_id\":\"\",\"client_email\":\"\",\"disable_oauth\":true}";
        let store = GoogleCloudStorageBuilder::new().with_bucket_name("b").with_service_account_key(key);
        Signer::Google(store.with_http_connector(wire.clone()).build().expect("a store"))
    }

    fn page(uploads: &[(&str, &str)], next: Option<(&str, &str)>) -> (u16, String) {
        let uploads: String = uploads
            .iter()
            .map(|(key, id)| format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>"))
            .collect();
        let marks = next.map_or_else(String::new, |(key, id)| {
            format!("<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>")
        });
        let text = format!(
            "<ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>{}</IsTruncated>\
             {marks}{uploads}</ListMultipartUploadsResult>",
            next.is_some()
        );
        (200, text)
    }

    #[tokio::test]
    async fn all_pages_are_asked_for() {
        let wire = Wire::new(&Handle::current()).expect("a wire");
        for signer in [s3(&wire), google(&wire)] {
            let is_s3 = matches!(signer, Signer::S3 { .. });
            let pages = vec![
                page(&[("l/a", "1"), ("l/a&amp;b", "2")], Some(("l/a&amp;b", "2"))),
                page(&[("l/c", "3")], None),
            ];
            let (base, server) = server(pages);
            let wire = wire.clone();
            let found = Uploads { wire, signer, base }.below("l/").await.expect("listed");
            let found: Vec<_> = found.iter().map(|begun| (begun.key.as_str(), begun.id.as_str())).collect();
            assert_eq!(found, [("l/a", "1"), ("l/a&b", "2"), ("l/c", "3")]);
            let asked = server.join().expect("no panic");
            assert!(asked[0].starts_with("GET /b?prefix=l%2F&uploads= HTTP"), "{asked:?}");
            let next = "GET /b?prefix=l%2F&uploads=&key-marker=l%2Fa%26b&upload-id-marker=2 HTTP";
            assert!(asked[1].starts_with(next), "{asked:?}");
            assert_eq!(asked[1].to_ascii_lowercase().contains("authorization: aws4-hmac-sha256"), is_s3);
        }
    }

    #[tokio::test]
    async fn a_store_without_such_a_list_has_none_and_a_refusal_is_an_error() {
        for (status, is_error) in [(501, false), (403, true)] {
            let (base, server) = server(vec![(status, String::new())]);
            let wire = Wire::new(&Handle::current()).expect("a wire");
            let signer = s3(&wire);
            let listed = Uploads { wire, signer, base }.below("l/").await;
            assert_eq!(listed.is_err(), is_error, "{listed:?}");
            server.join().expect("no panic");
        }
    }
}
