//! [`Extract`]: what a search takes out of each row (contract, section 4).

use quell::Payload;
use serde_json::Value;

use crate::wire::create::typed;
use crate::wire::exact::{Keys, written};
use crate::wire::refusal::Refusal;
use crate::wire::search::ROW;

/// Names, each with the path of what it stands for, as `values.messages[-1].content`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extract(Vec<(String, Path)>);

/// A key of a row, and what is below it.
#[derive(Clone, Debug)]
struct Path {
    root: String,
    below: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Key(String),
    /// From the end, if it is negative.
    At(i64),
    /// No place of a list: nothing is there.
    Nowhere,
}

impl Extract {
    /// Reads it from the body of a search.
    pub(crate) fn read(body: &Keys) -> Result<Self, Refusal> {
        let given: Keys = typed(body, "extract", EXPECTED)?.unwrap_or_default();
        if given.len() > PATHS_MAX {
            return Err(Refusal::invalid(format!("extract: must be at most {PATHS_MAX} paths")));
        }
        let read = |(name, path): (String, Payload)| {
            let refusal = |words: &str| Refusal::invalid(format!("extract.{name}: {words}"));
            if !is_name(&name) || ROW.contains(&name.as_str()) {
                return Err(Refusal::invalid(format!("extract: {NAMES}")));
            }
            let path: String = path.parse().map_err(|_| refusal("must be a path"))?;
            let path = Path::read(&path).ok_or_else(|| refusal(ROOT_WORDS))?;
            Ok((name, path))
        };
        given.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes it out of a row. What is not there is null.
    pub(crate) fn of(&self, row: &Keys) -> Payload {
        let found = self.0.iter().map(|(name, path)| (name.clone(), path.of(row)));
        written(&found.collect::<Keys>())
    }
}

impl Path {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(['.', '[']);
        let root = parts.next().filter(|root| ROOTS.contains(root))?.to_owned();
        let read = |part: &str| match part.strip_suffix(']') {
            Some(at) => at.parse().map_or(Part::Nowhere, Part::At),
            None => Part::Key(part.to_owned()),
        };
        let below = parts.filter(|part| !part.is_empty()).map(read).collect();
        Some(Self { root, below })
    }

    fn of(&self, row: &Keys) -> Payload {
        let Some(found) = row.get(&self.root) else { return Value::Null.into() };
        let mut found = found.clone();
        for part in &self.below {
            let next = match part {
                Part::Key(key) => found.parse().ok().and_then(|mut keys: Keys| keys.remove(key)),
                Part::At(at) => found.parse().ok().and_then(|all: Vec<Payload>| {
                    let back = usize::try_from(at.unsigned_abs()).ok()?;
                    let at = if *at < 0 { all.len().checked_sub(back)? } else { back };
                    all.into_iter().nth(at)
                }),
                Part::Nowhere => None,
            };
            let Some(next) = next else { return Value::Null.into() };
            found = next;
        }
        found
    }
}

fn is_name(name: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_of_name) && name.starts_with(|c: char| !c.is_ascii_digit())
}

const EXPECTED: &str = "must be an object of paths";
const NAMES: &str = "its keys must be names of letters, digits and underscores, and none of a row";
const ROOT_WORDS: &str = "must begin with one of config, interrupts, metadata, values";

/// The keys of a row that may be looked into.
const ROOTS: [&str; 4] = ["config", "interrupts", "metadata", "values"];

/// As upstream.
const PATHS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(extract: &Value) -> Result<Extract, Refusal> {
        Extract::read(&Keys::from([("extract".to_owned(), extract.clone().into())]))
    }

    #[test]
    fn paths_go_through_keys_and_places_and_end_in_null() {
        let row = json!({"values": {"m": [{"c": 1e2}, {"c": "b"}], "_x": 1}, "status": "idle"});
        let row: Keys = Payload::from(row).parse().unwrap();
        for (path, found) in [
            ("values.m[0].c", "100.0"),
            ("values.m[-1].c", "\"b\""),
            ("values.m[-3]", "null"),
            ("values.m[2]", "null"),
            ("values.m[x]", "null"),
            ("values.m.c", "null"),
            ("values.m[0][0]", "null"),
            ("values..m[1]", "{\"c\":\"b\"}"),
            ("metadata.x", "null"),
        ] {
            let extract = read(&json!({ "a": path })).unwrap();
            assert_eq!(extract.of(&row).as_json(), format!("{{\"a\":{found}}}"), "{path}");
        }
        assert!(read(&Value::Null).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_path_of_a_row_is_refused() {
        let many: Keys = (0..11).map(|nr| (format!("a{nr}"), json!("values").into())).collect();
        assert!(Extract::read(&Keys::from([("extract".to_owned(), written(&many))])).is_err());
        for bad in [
            json!([]),
            json!("x"),
            json!({"a": 1}),
            json!({"a": ""}),
            json!({"a": "status"}),
            json!({"1a": "values"}),
            json!({"": "values"}),
            json!({"a b": "values"}),
            json!({"values": "values"}),
        ] {
            let refusal = read(&bad).unwrap_err();
            assert!(refusal.status == 422 && refusal.detail.starts_with("extract"), "{bad}");
        }
    }
}
