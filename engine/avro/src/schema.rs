//! Schemas as they are read from JSON, and their fingerprints.
//!
//! The fingerprint is CRC-64-AVRO over the schema's parsing canonical form: names in full, no documentation, no defaults,
//! no white space.

use std::collections::HashMap;

use serde_json::Value;

use crate::DEPTH_MAX;

/// A schema.
#[derive(Debug)]
pub struct Schema {
    pub(crate) root: Type,
    /// Records, for they may contain themselves.
    records: Vec<Record>,
    /// How many types it has, each named as often as it is used.
    size: usize,
    canonical: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    /// Also a float and a double.
    Fixed(usize),
    Bytes,
    Text,
    /// So many symbols.
    Enum(usize),
    Array(Box<Type>),
    Map(Box<Type>),
    Union(Vec<Type>),
    Record(usize),
}

#[derive(Debug, Default)]
struct Record {
    fields: Vec<Type>,
    /// None of its data has any bytes.
    is_void: bool,
}

fn is_void(of: &Type, records: &[Record]) -> bool {
    match of {
        Type::Null | Type::Fixed(0) => true,
        // One that is not complete is in itself, and has no data at all.
        Type::Record(record) => records[*record].is_void,
        _ => false,
    }
}

impl Schema {
    /// Reads a schema's JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut parser = Parser::default();
        let root = parser.schema(&json, "", 0)?;
        let Parser { records, size, canonical, .. } = parser;
        Ok(Self { root, records, size, canonical })
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

    /// Whether its data have no bytes: nothing but nulls, and fixed of no size.
    pub fn has_no_bytes(&self) -> bool {
        self.is_void(&self.root)
    }

    pub(crate) fn is_void(&self, of: &Type) -> bool {
        is_void(of, &self.records)
    }

    pub(crate) fn fields(&self, record: usize) -> &[Type] {
        &self.records[record].fields
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

#[derive(Default)]
struct Parser {
    records: Vec<Record>,
    size: usize,
    /// By full name.
    named: HashMap<String, Type>,
    canonical: String,
}

impl Parser {
    fn schema(&mut self, json: &Value, space: &str, depth: usize) -> Result<Type, String> {
        if depth > DEPTH_MAX {
            return Err("schemas are nested too deep".into());
        }
        self.size += 1;
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
            "boolean" => Some(Type::Boolean),
            "int" => Some(Type::Int),
            "long" => Some(Type::Long),
            "float" => Some(Type::Fixed(4)),
            "double" => Some(Type::Fixed(8)),
            "bytes" => Some(Type::Bytes),
            "string" => Some(Type::Text),
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
                Type::Enum(symbols.len())
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64);
                let size = size.ok_or_else(|| format!("fixed `{full}` without `size`"))?;
                self.canonical.push_str(&format!(",\"size\":{size}"));
                Type::Fixed(usize::try_from(size).map_err(|_large| format!("fixed `{full}` is too large"))?)
            }
            _ => {
                let made = Type::Record(self.records.len());
                self.records.push(Record::default());
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
                    let is_void = fields.iter().all(|field| is_void(field, &self.records));
                    self.records[record] = Record { fields, is_void };
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
        assert_eq!(schema.is_datum(&[2, 0, 2, 2, 8, 0, 0, 6]), Ok(()), "a list of two");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        assert!(Schema::parse(&"[".repeat(100_000)).is_err());
        for wrong in ["", "7", r#"{"type":"array"}"#, r#""Nope""#, r#"{"type":"record","name":"x"}"#] {
            assert!(Schema::parse(wrong).is_err(), "{wrong}");
        }
    }
}
