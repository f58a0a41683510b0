//! [`Operation`]: a method of a path, with what the document says of it.

use std::collections::BTreeSet;

use axum::handler::Handler;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{self, MethodRouter};
use serde_json::{Map, Value, json};

use crate::described::dialect::Dialect;
use crate::described::schema::named;
use crate::in_time::answer_in_time;

/// A method of a path: what serves it, and what the document says of it.
#[derive(Debug)]
pub struct Operation<S> {
    pub(super) method: &'static str,
    served: MethodRouter<S>,
    summary: &'static str,
    /// Schemas of ids of the path that are none of the dialect's, by their names in the router.
    ids: Map<String, Value>,
    parameters: Vec<Value>,
    /// Content types, and the name of the schema of all of them.
    body: Option<(&'static [&'static str], &'static str)>,
    answers: Map<String, Value>,
    refusals: BTreeSet<u16>,
    is_public: bool,
    /// It only reads, and waits for no run.
    only_reads: bool,
}

/// Makes an operation of a handler.
macro_rules! methods {
    ($($method:ident)*) => {$(
        /// Makes the operation of this method that a handler serves.
        pub fn $method<S, H, T>(handler: H, summary: &'static str) -> Operation<S>
        where
            S: Clone + Send + Sync + 'static,
            H: Handler<T, S>,
            T: 'static,
        {
            Operation::new(stringify!($method), routing::$method(handler), summary)
        }
    )*};
}

methods!(get post put patch delete);

impl<S> Operation<S> {
    /// Makes an operation of what serves a method, whose name is in small letters.
    pub fn new(method: &'static str, served: MethodRouter<S>, summary: &'static str) -> Self {
        Self {
            method,
            served,
            summary,
            ids: Map::new(),
            parameters: Vec::new(),
            body: None,
            answers: Map::new(),
            refusals: BTreeSet::new(),
            is_public: false,
            only_reads: method == "get",
        }
    }

    /// It asks for credentials, if any are asked for, and looks at what is kept.
    #[must_use]
    pub fn asks(self) -> Self {
        self.refuses([401, 429, 503])
    }

    /// It needs no credentials.
    #[must_use]
    pub fn needs_nobody(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// It only reads: it is answered within [`READ_WITHIN`](crate::READ_WITHIN). What is got counts
    /// as that.
    #[must_use]
    pub const fn reads(mut self) -> Self {
        self.only_reads = true;
        self
    }

    /// It waits for a run or streams it, although it is got: that may take any time, and if it is
    /// dropped, its client has gone.
    #[must_use]
    pub const fn waits(mut self) -> Self {
        self.only_reads = false;
        self
    }

    /// An id of its path, by its name in the router, has this schema instead of the dialect's.
    #[must_use]
    pub fn id(mut self, name: &str, schema: Value) -> Self {
        self.ids.insert(name.to_owned(), schema);
        self
    }

    /// It reads a body of JSON, of the schema of this name.
    #[must_use]
    pub fn takes(self, schema: &'static str) -> Self {
        self.takes_as(&["application/json"], schema).refuses([408, 413, 415, 422])
    }

    /// It reads a body of one of these content types, of the schema of this name.
    #[must_use]
    pub fn takes_as(mut self, kinds: &'static [&'static str], schema: &'static str) -> Self {
        self.body = Some((kinds, schema));
        self
    }

    /// It looks at a parameter of the query.
    #[must_use]
    pub fn query(self, name: &str, schema: Value) -> Self {
        self.parameter(("query", name, false), schema)
    }

    /// It needs a parameter of the query.
    #[must_use]
    pub fn needs_query(self, name: &str, schema: Value) -> Self {
        self.parameter(("query", name, true), schema)
    }

    /// It looks at a header.
    #[must_use]
    pub fn header(self, name: &str, schema: Value) -> Self {
        self.parameter(("header", name, false), schema)
    }

    fn parameter(mut self, (place, name, is_needed): (&str, &str, bool), schema: Value) -> Self {
        let parameter = json!({
            "name": name, "in": place, "required": is_needed, "schema": schema
        });
        self.parameters.push(parameter);
        self
    }

    /// It answers with JSON of this schema.
    #[must_use]
    pub fn answers(self, status: u16, schema: Value) -> Self {
        self.answers_as(status, "application/json", schema)
    }

    /// It answers with a body of some other kind; several of one status stand side by side.
    #[must_use]
    pub fn answers_as(mut self, status: u16, kind: &str, schema: Value) -> Self {
        let answer = self.answers.entry(status.to_string());
        let answer = answer.or_insert_with(|| json!({ "description": reason(status) }));
        answer["content"][kind] = json!({ "schema": schema });
        self
    }

    /// It answers without a body.
    #[must_use]
    pub fn answers_empty(mut self, status: u16) -> Self {
        self.answers.insert(status.to_string(), json!({ "description": reason(status) }));
        self
    }

    /// Its answer of this status, which was told before, has these headers, or some of them.
    #[must_use]
    pub fn with_headers<const N: usize>(mut self, status: u16, names: [&str; N]) -> Self {
        let all = names.map(|name| (name.to_owned(), json!({ "schema": { "type": "string" } })));
        if let Some(answer) = self.answers.get_mut(&status.to_string()) {
            answer["headers"] = Map::from_iter(all).into();
        }
        self
    }

    /// It refuses with these statuses.
    #[must_use]
    pub fn refuses<const N: usize>(mut self, statuses: [u16; N]) -> Self {
        self.refusals.extend(statuses);
        self
    }

    /// Yields what serves it, and refuses so what takes too long to read.
    pub(super) fn served(&self, too_slow: fn() -> Response) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let served = self.served.clone();
        if !self.only_reads {
            return served;
        }
        answer_in_time(served, too_slow)
    }

    /// Writes what the document says of it.
    pub(super) fn told(&self, path: &str, dialect: &Dialect) -> Value {
        let of_path = path.split('/').filter_map(name_of).map(|name| {
            let schema = self.ids.get(name).cloned().unwrap_or_else(|| (dialect.schema)(name));
            let shown = (dialect.parameter)(path, name);
            json!({ "name": shown, "in": "path", "required": true, "schema": schema })
        });
        let parameters: Vec<_> = of_path.chain(self.parameters.iter().cloned()).collect();
        let mut answers = self.answers.clone();
        for status in dialect.always.iter().chain(&self.refusals) {
            answers.entry(status.to_string()).or_insert_with(
                || json!({ "description": reason(*status), "content": (dialect.refusal)(*status) }),
            );
        }
        let mut told = json!({
            "operationId": format!("{}{}", self.method, path.replace(['/', '{', '}'], "_")),
            "tags": [(dialect.tag)(path)],
            "summary": self.summary,
            "parameters": parameters,
            "responses": answers,
        });
        if let Some((kinds, schema)) = self.body {
            let of_kind = |kind: &&str| ((*kind).to_owned(), json!({ "schema": named(schema) }));
            let content: Map<_, _> = kinds.iter().map(of_kind).collect();
            told["requestBody"] = json!({ "required": true, "content": content });
        }
        if !self.is_public {
            told["security"] = (dialect.security)();
        }
        told
    }
}

/// Yields the name of the id that a part of a path is; none if it is no id. Two braces stand for
/// one of the text.
pub(super) fn name_of(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}').filter(|name| !name.starts_with('{'))
}

fn reason(status: u16) -> &'static str {
    let status = StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or_default()
}
