//! JSON that is more than JSON by its shape: text without halves of characters, and no deeper than
//! readers follow.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads JSON through and keeps nothing of it. What it takes, every reader of JSON takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_reader_would_refuse_is_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        for good in [r#"{"a":[1,-1,1.5,1e300,true,null,"\ud83d\ude00"]}"#, &nested(100)] {
            assert!(serde_json::from_str::<Checked>(good).is_ok(), "{good}");
        }
        for bad in [r#""\ud800""#, r#"{"\ud800":1}"#, r#"[["\udc00x"]]"#, &nested(1_000), "1e999"] {
            assert!(serde_json::from_str::<Checked>(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_slice::<Checked>(b"{\"id\":\"\xff\"}").is_err());
    }
}
