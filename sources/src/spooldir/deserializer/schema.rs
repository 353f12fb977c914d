//! As much of an Avro schema as is needed to find where a datum ends, and the schema's fingerprint.
//!
//! The bytes of a datum go on as they are: no value is decoded. Logical types change no bytes, so they do not matter here.
//! The fingerprint is CRC-64-AVRO over the schema's parsing canonical form: names in full, no documentation, no defaults,
//! no white space.

use std::collections::HashMap;

use serde_json::Value;

use super::container::long;

/// Schemas in schemas, and data in data (a list that links to its rest), beyond this are refused: each costs stack.
const DEPTH_MAX: usize = 400;

/// A schema.
#[derive(Debug)]
pub(super) struct Schema {
    root: Type,
    /// Records, for they may contain themselves.
    records: Vec<Vec<Type>>,
    canonical: String,
}

#[derive(Clone, Debug)]
enum Type {
    Null,
    /// Also what is just as long: a boolean, or a fixed.
    Bytes(usize),
    /// An int, a long, an enum.
    Number,
    /// A string or bytes.
    Counted,
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Record(usize),
}

impl Schema {
    /// Reads a schema's JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut parser = Parser { records: Vec::new(), named: HashMap::new(), canonical: String::new() };
        let root = parser.schema(&json, "", 0)?;
        Ok(Self { root, records: parser.records, canonical: parser.canonical })
    }

    /// CRC-64-AVRO of the canonical form, as Java writes it: hexadecimal, the lowest byte first.
    pub fn fingerprint(&self) -> String {
        const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
        let mut crc = EMPTY;
        for byte in self.canonical.bytes() {
            let mut table = (crc ^ u64::from(byte)) & 0xff;
            for _ in 0..8 {
                table = (table >> 1) ^ (EMPTY & (table & 1).wrapping_neg());
            }
            crc = (crc >> 8) ^ table;
        }
        crc.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The length of the datum at the front of `bytes`.
    pub fn datum(&self, bytes: &[u8]) -> Result<usize, &'static str> {
        let rest = self.skip(&self.root, bytes, 0)?;
        Ok(bytes.len() - rest.len())
    }

    fn skip<'a>(&self, of: &Type, mut bytes: &'a [u8], depth: usize) -> Result<&'a [u8], &'static str> {
        if depth > DEPTH_MAX {
            return Err("data are nested too deep");
        }
        match of {
            Type::Null => Ok(bytes),
            Type::Bytes(count) => beyond(bytes, *count),
            Type::Number => Ok(number(bytes)?.1),
            Type::Counted => {
                let (count, rest) = number(bytes)?;
                beyond(rest, length(count)?)
            }
            Type::Union(branches) => {
                let (index, rest) = number(bytes)?;
                let branch = usize::try_from(index).ok().and_then(|index| branches.get(index));
                self.skip(branch.ok_or("a union has no such branch")?, rest, depth + 1)
            }
            Type::Record(record) => {
                for field in &self.records[*record] {
                    bytes = self.skip(field, bytes, depth + 1)?;
                }
                Ok(bytes)
            }
            Type::Array(items) | Type::Map(items) => loop {
                let (count, rest) = number(bytes)?;
                bytes = rest;
                if count == 0 {
                    return Ok(bytes);
                }
                if count < 0 {
                    let (size, rest) = number(bytes)?;
                    bytes = beyond(rest, length(size)?)?;
                    continue;
                }
                for _ in 0..count {
                    let before = bytes.len();
                    if matches!(of, Type::Map(_)) {
                        bytes = self.skip(&Type::Counted, bytes, depth + 1)?;
                    }
                    bytes = self.skip(items, bytes, depth + 1)?;
                    // Items without bytes need no counting, whatever their number is said to be.
                    if bytes.len() == before {
                        break;
                    }
                }
            },
        }
    }
}

const SHORT: &str = "they end too early";

fn number(bytes: &[u8]) -> Result<(i64, &[u8]), &'static str> {
    let (number, length) = long(bytes).ok_or(SHORT)?;
    Ok((number, &bytes[length..]))
}

fn length(count: i64) -> Result<usize, &'static str> {
    usize::try_from(count).map_err(|_negative| "a length is negative")
}

fn beyond(bytes: &[u8], count: usize) -> Result<&[u8], &'static str> {
    bytes.get(count..).ok_or(SHORT)
}

struct Parser {
    records: Vec<Vec<Type>>,
    /// By full name.
    named: HashMap<String, Type>,
    canonical: String,
}

impl Parser {
    fn schema(&mut self, json: &Value, space: &str, depth: usize) -> Result<Type, String> {
        if depth > DEPTH_MAX {
            return Err("schemas are nested too deep".into());
        }
        match json {
            Value::String(name) => self.name(name, space),
            Value::Array(branches) => {
                self.canonical.push('[');
                let mut types = Vec::new();
                for (i, branch) in branches.iter().enumerate() {
                    if i > 0 {
                        self.canonical.push(',');
                    }
                    types.push(self.schema(branch, space, depth + 1)?);
                }
                self.canonical.push(']');
                Ok(Type::Union(types))
            }
            Value::Object(object) => {
                let part = |key: &str| object.get(key).ok_or_else(|| format!("a schema without `{key}`"));
                let kind = match part("type")? {
                    Value::String(kind) => kind.as_str(),
                    // `{"type": {"type": …}}`
                    inner => return self.schema(inner, space, depth + 1),
                };
                match kind {
                    "array" => {
                        self.collection("array", "items", part("items")?, space, depth).map(Type::Array)
                    }
                    "map" => self.collection("map", "values", part("values")?, space, depth).map(Type::Map),
                    "record" | "error" | "enum" | "fixed" => self.definition(kind, object, space, depth),
                    name => self.name(name, space),
                }
            }
            other => Err(format!("`{other}` is no schema")),
        }
    }

    fn collection(
        &mut self,
        kind: &str,
        key: &str,
        inner: &Value,
        space: &str,
        depth: usize,
    ) -> Result<Box<Type>, String> {
        self.canonical.push_str(&format!("{{\"type\":\"{kind}\",\"{key}\":"));
        let inner = self.schema(inner, space, depth + 1)?;
        self.canonical.push('}');
        Ok(Box::new(inner))
    }

    fn name(&mut self, name: &str, space: &str) -> Result<Type, String> {
        let simple = match name {
            "null" => Some(Type::Null),
            "boolean" => Some(Type::Bytes(1)),
            "int" | "long" => Some(Type::Number),
            "float" => Some(Type::Bytes(4)),
            "double" => Some(Type::Bytes(8)),
            "bytes" | "string" => Some(Type::Counted),
            _ => None,
        };
        if let Some(simple) = simple {
            self.canonical.push_str(&format!("\"{name}\""));
            return Ok(simple);
        }
        let full = full_name(name, space);
        let found = self.named.get(&full).cloned().ok_or_else(|| format!("there is no type `{full}`"))?;
        self.canonical.push_str(&format!("\"{full}\""));
        Ok(found)
    }

    fn definition(
        &mut self,
        kind: &str,
        object: &serde_json::Map<String, Value>,
        space: &str,
        depth: usize,
    ) -> Result<Type, String> {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| format!("a {kind} without a name"))?;
        let full = full_name(name, text("namespace").unwrap_or(space));
        let space = full.rsplit_once('.').map_or("", |(space, _)| space);
        let list = |key: &str| {
            object
                .get(key)
                .and_then(Value::as_array)
                .ok_or_else(|| format!("{kind} `{full}` without `{key}`"))
        };
        let kind = if kind == "error" { "record" } else { kind };
        self.canonical.push_str(&format!("{{\"name\":\"{full}\",\"type\":\"{kind}\""));
        let made = match kind {
            "enum" => {
                let symbols: Vec<_> = list("symbols")?
                    .iter()
                    .map(|one| format!("\"{}\"", one.as_str().unwrap_or("")))
                    .collect();
                self.canonical.push_str(&format!(",\"symbols\":[{}]", symbols.join(",")));
                Type::Number
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64);
                let size = size.ok_or_else(|| format!("fixed `{full}` without `size`"))?;
                self.canonical.push_str(&format!(",\"size\":{size}"));
                Type::Bytes(usize::try_from(size).map_err(|_large| format!("fixed `{full}` is too large"))?)
            }
            _ => {
                let made = Type::Record(self.records.len());
                self.records.push(Vec::new());
                // A field may refer to the record that it is in.
                self.named.insert(full.clone(), made.clone());
                self.canonical.push_str(",\"fields\":[");
                let mut fields = Vec::new();
                for (i, field) in list("fields")?.iter().enumerate() {
                    let part = |key: &str| {
                        field.get(key).ok_or_else(|| format!("a field of `{full}` without `{key}`"))
                    };
                    let comma = if i > 0 { "," } else { "" };
                    let name = part("name")?.as_str().unwrap_or("");
                    self.canonical.push_str(&format!("{comma}{{\"name\":\"{name}\",\"type\":"));
                    fields.push(self.schema(part("type")?, space, depth + 1)?);
                    self.canonical.push('}');
                }
                self.canonical.push(']');
                if let Type::Record(record) = made {
                    self.records[record] = fields;
                }
                made
            }
        };
        self.canonical.push('}');
        self.named.insert(full, made.clone());
        Ok(made)
    }
}

fn full_name(name: &str, space: &str) -> String {
    match name.contains('.') || space.is_empty() {
        true => name.trim_start_matches('.').to_string(),
        false => format!("{space}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Java's SchemaNormalization gives.
    #[test]
    fn fingerprints_are_avros() {
        for (schema, canonical, fingerprint) in [
            (r#""null""#, r#""null""#, 0x63dd_24e7_cc25_8f8a_u64),
            (r#"{"type":"int"}"#, r#""int""#, 0x7275_d51a_3f39_5c8f),
            (
                r#"{"size" : 15, "type":"fixed", "aliases":["bar"], "name":"foo"}"#,
                r#"{"name":"foo","type":"fixed","size":15}"#,
                0x1860_2ec3_ed31_a504,
            ),
            (
                r#"{"type":"record","name":"foo","doc":"x","fields":[{"type":"boolean","name":"f1","default":true}]}"#,
                r#"{"name":"foo","type":"record","fields":[{"name":"f1","type":"boolean"}]}"#,
                0x6cd8_eaf1_c968_a33b,
            ),
        ] {
            let parsed = Schema::parse(schema).unwrap();
            assert_eq!(parsed.canonical, canonical);
            let hex: String = fingerprint.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(parsed.fingerprint(), hex, "{schema}");
        }
    }

    #[test]
    fn names_are_found_in_their_space() {
        let schema = Schema::parse(
            r#"{"type":"record","name":"a.b.List","fields":[
                {"name":"next","type":["null","List"]},
                {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["X","Y"]}},
                {"name":"other","type":"a.b.Kind"},
                {"name":"when","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#,
        )
        .unwrap();
        assert_eq!(
            schema.canonical,
            concat!(
                r#"{"name":"a.b.List","type":"record","fields":[{"name":"next","type":["null","a.b.List"]},"#,
                r#"{"name":"kind","type":{"name":"a.b.Kind","type":"enum","symbols":["X","Y"]}},"#,
                r#"{"name":"other","type":"a.b.Kind"},{"name":"when","type":"long"}]}"#
            )
        );
        // A list of two, then a byte that is not its.
        let bytes = [2, 0, 2, 2, 8, 0, 0, 6, 99];
        assert_eq!(schema.datum(&bytes), Ok(8));
        for end in 0..8 {
            assert_eq!(schema.datum(&bytes[..end]), Err(SHORT), "{end} bytes");
        }
    }

    #[test]
    fn the_end_of_every_kind_of_datum_is_found() {
        for (schema, bytes, length) in [
            (r#""null""#, &[][..], 0),
            (r#""double""#, &[1, 2, 3, 4, 5, 6, 7, 8, 9], 8),
            (r#""string""#, b"\x06abcd", 4),
            (r#"{"type":"array","items":"int"}"#, &[4, 2, 4, 2, 6, 0, 9], 6),
            (r#"{"type":"array","items":"int"}"#, &[3, 4, 2, 4, 0, 9], 5),
            (r#"{"type":"array","items":"null"}"#, &[254, 255, 255, 255, 15, 0, 9], 6),
            (r#"{"type":"map","values":"boolean"}"#, b"\x02\x02k\x01\x009", 5),
        ] {
            assert_eq!(Schema::parse(schema).unwrap().datum(bytes), Ok(length), "{schema}");
        }
        let nested = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
        assert_eq!(Schema::parse(nested).unwrap().datum(&[2; 100_000]), Err("data are nested too deep"));
        assert!(Schema::parse(&"[".repeat(100_000)).is_err());
        let string = Schema::parse(r#""string""#).unwrap();
        assert_eq!(string.datum(&[1]), Err("a length is negative"));
        assert!(string.datum(&[254, 255, 255, 255, 255, 255, 255, 255, 255, 1]).is_err());
        for wrong in ["", "7", r#"{"type":"array"}"#, r#""Nope""#, r#"{"type":"record","name":"x"}"#] {
            assert!(Schema::parse(wrong).is_err(), "{wrong}");
        }
    }
}
