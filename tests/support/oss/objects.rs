//! Objects, uploads of parts, and lists of both.

use std::collections::BTreeMap;

use super::http::encoded;
use super::{Answer, Asked, BUCKET, Object, State, Upload};

/// Parts but the last have at least so many bytes, as the real store wants it.
const PART_MIN: usize = 100 << 10;

/// Does what was asked for by somebody who may.
pub(super) fn act(asked: &mut Asked, state: &mut State) -> Answer {
    let what = asked.what();
    state.counter += 1;
    let tag = format!("\"{:032X}\"", state.counter);
    let is_taken = asked.header("x-oss-forbid-overwrite") == "true" && state.objects.contains_key(&asked.key);
    let meta = || -> BTreeMap<String, String> {
        let named = asked.headers.iter().filter(|(name, _)| name.starts_with("x-oss-meta-"));
        named.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    match what.as_str() {
        "PUT object" if is_taken => Answer::error(409, "FileAlreadyExists"),
        "PUT object" => {
            let object = kept(
                std::mem::take(&mut asked.body),
                &tag,
                meta(),
                state.forgets_bodies && !asked.key.starts_with("tmp/"),
            );
            state.objects.insert(asked.key.clone(), object);
            Answer::tagged(&tag)
        }
        "GET object" | "HEAD object" => match state.objects.get(&asked.key) {
            None => Answer::error(404, "NoSuchKey"),
            Some(object) => Answer {
                headers: object
                    .meta
                    .clone()
                    .into_iter()
                    .chain([("ETag".into(), object.tag.clone())])
                    .collect(),
                body: object.body.clone(),
                length: (asked.method == "HEAD").then_some(object.length),
                ..Answer::new(200)
            },
        },
        "DELETE object" => {
            state.objects.remove(&asked.key);
            Answer::new(204)
        }
        "GET list" => list(asked, state),
        "POST begin" if is_taken => Answer::error(409, "FileAlreadyExists"),
        "POST begin" => {
            let id = format!("U{}", state.counter);
            let upload = Upload { key: asked.key.clone(), meta: meta(), parts: BTreeMap::new() };
            state.uploads.insert(id.clone(), upload);
            let key = asked.key.replace('&', "&amp;").replace('<', "&lt;");
            Answer::xml(format!(
                "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
                 </InitiateMultipartUploadResult>"
            ))
        }
        "GET uploads" => uploads(asked, state),
        _ => of_upload(&what, asked, state, &tag, is_taken),
    }
}

fn kept(body: Vec<u8>, tag: &str, meta: BTreeMap<String, String>, forgets: bool) -> Object {
    let length = body.len();
    Object { body: if forgets { Vec::new() } else { body }, length, tag: tag.into(), meta }
}

fn of_upload(what: &str, asked: &mut Asked, state: &mut State, tag: &str, is_taken: bool) -> Answer {
    let id = asked.query.get("uploadId").cloned().unwrap_or_default();
    let Some(upload) = state.uploads.get_mut(&id).filter(|upload| upload.key == asked.key) else {
        return Answer::error(404, "NoSuchUpload");
    };
    match what {
        "PUT part" => {
            let number = asked.query.get("partNumber").and_then(|text| text.parse().ok()).unwrap_or(0);
            if !(1..=10_000).contains(&number) {
                return Answer::error(400, "InvalidArgument");
            }
            let part = kept(std::mem::take(&mut asked.body), tag, BTreeMap::new(), state.forgets_bodies);
            upload.parts.insert(number, part);
            Answer::tagged(tag)
        }
        "DELETE upload" => {
            state.uploads.remove(&id);
            Answer::new(204)
        }
        "POST complete" if is_taken => Answer::error(409, "FileAlreadyExists"),
        "POST complete" => {
            let text = String::from_utf8_lossy(&asked.body).into_owned();
            let field = |part: &str, name: &str| {
                let (_, rest) = part.split_once(&format!("<{name}>"))?;
                Some(rest.split_once('<')?.0.replace("&quot;", "\"").replace("&amp;", "&"))
            };
            let (mut object, mut before) = (Object { tag: tag.into(), ..Object::default() }, 0);
            let listed: Vec<&str> = text.split("<Part>").skip(1).collect();
            for (at, part) in listed.iter().enumerate() {
                let number = field(part, "PartNumber").and_then(|text| text.parse().ok()).unwrap_or(0);
                let named = field(part, "ETag").unwrap_or_default();
                let Some(found) = upload.parts.get(&number).filter(|found| {
                    found.tag.trim_matches('"') == named.trim_matches('"') && number > before
                }) else {
                    return Answer::error(400, "InvalidPart");
                };
                if found.length < PART_MIN && at + 1 < listed.len() {
                    return Answer::error(400, "EntityTooSmall");
                }
                before = number;
                object.body.extend(&found.body);
                object.length += found.length;
            }
            if before == 0 {
                return Answer::error(400, "MalformedXML");
            }
            object.meta = std::mem::take(&mut upload.meta);
            state.uploads.remove(&id);
            state.objects.insert(asked.key.clone(), object);
            let answer = Answer::xml(format!(
                "<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
            ));
            Answer { headers: [answer.headers, vec![("ETag".into(), tag.into())]].concat(), ..answer }
        }
        _ => Answer::error(405, "MethodNotAllowed"),
    }
}

fn list(asked: &Asked, state: &State) -> Answer {
    let get = |name: &str| asked.query.get(name).cloned().unwrap_or_default();
    let (prefix, from) = (get("prefix"), get("continuation-token"));
    let most: usize = get("max-keys").parse().unwrap_or(100);
    let mut found: Vec<(&String, &Object)> =
        state.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > from).collect();
    let is_more = found.len() > most;
    found.truncate(most);
    let shown =
        |text: &str| if get("encoding-type") == "url" { encoded(text, false) } else { text.to_string() };
    let mut text = format!(
        "<ListBucketResult><Name>{BUCKET}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><IsTruncated>{is_more}</IsTruncated>",
        shown(&prefix),
        found.len()
    );
    if let Some((last, _)) = found.last().filter(|_| is_more) {
        text.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
    }
    if get("encoding-type") == "url" {
        text.push_str("<EncodingType>url</EncodingType>");
    }
    for (key, object) in found {
        text.push_str(&format!(
            "<Contents><Key>{}</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified><ETag>{}</ETag><Type>Normal</Type>\
             <Size>{}</Size><StorageClass>Standard</StorageClass></Contents>",
            shown(key),
            object.tag,
            object.length
        ));
    }
    Answer::xml(format!("{text}</ListBucketResult>"))
}

fn uploads(asked: &Asked, state: &State) -> Answer {
    let get = |name: &str| asked.query.get(name).cloned().unwrap_or_default();
    let shown =
        |text: &str| if get("encoding-type") == "url" { encoded(text, false) } else { text.to_string() };
    let most: usize = get("max-uploads").parse().unwrap_or(1000);
    let mut named: Vec<(&String, &String)> = state
        .uploads
        .iter()
        .filter(|(_, upload)| upload.key.starts_with(&get("prefix")))
        .map(|(id, upload)| (&upload.key, id))
        .filter(|at| *at > (&get("key-marker"), &get("upload-id-marker")))
        .collect();
    named.sort();
    let is_more = named.len() > most;
    named.truncate(most);
    let last = named.last().filter(|_| is_more);
    let (last_key, last_id) = last.map_or_else(Default::default, |(key, id)| (shown(key), shown(id)));
    let named: String = named
        .iter()
        .map(|(key, id)| {
            let key = shown(key);
            format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><StorageClass>Standard</StorageClass><Initiated>2026-11-22T00:00:00.000Z</Initiated></Upload>")
        })
        .collect();
    let encoding = if get("encoding-type") == "url" { "<EncodingType>url</EncodingType>" } else { "" };
    Answer::xml(format!(
        "<ListMultipartUploadsResult><Bucket>{BUCKET}</Bucket>{encoding}<KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker><NextKeyMarker>{last_key}</NextKeyMarker><NextUploadIdMarker>{last_id}</NextUploadIdMarker>\
         <MaxUploads>{most}</MaxUploads><IsTruncated>{is_more}</IsTruncated>{named}</ListMultipartUploadsResult>"
    ))
}
