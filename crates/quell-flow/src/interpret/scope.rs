//! [`Scope`] holds the values that expressions may read while a plan runs.

use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;
use minijinja::value::{Enumerator, Object};
use quell::{Failure, Payload};

use super::needed::Needed;
use crate::Expression;
use crate::excerpt::excerpt;
use crate::harmless::shown_expression;
use crate::plan::{below, is_template, is_variable, only_expression, read, render};

/// The values that a step may read: variables, and the outputs of earlier steps of its list and of
/// the lists around it.
///
/// A scope is a snapshot: it does not show steps that end later.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    frame: Arc<Frame>,
    /// The number of outputs that the frame had when the scope was made.
    seen: usize,
}

/// The outputs of a list of steps, in the order in which the steps ended, and the scope around it.
#[derive(Debug)]
pub(super) struct Frame {
    above: Option<Scope>,
    variables: Vec<(&'static str, Variable)>,
    input: Option<Payload>,
    /// The outputs of other branches, if this is the frame of a branch that may read them.
    needed: Option<Needed>,
    done: Mutex<Vec<(Arc<str>, Payload)>>,
}

impl Frame {
    /// Adds the output of a step that has ended.
    pub(super) fn add(&self, name: Arc<str>, output: Payload) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push((name, output));
    }

    /// Calls a function with the outputs. It must not use the frame: the lock is held.
    pub(super) fn with<T>(&self, look: impl FnOnce(&[(Arc<str>, Payload)]) -> T) -> T {
        look(&self.done.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a scope of the present outputs, with variables.
    pub(super) fn scope(self: &Arc<Self>, variables: Vec<(&'static str, Variable)>) -> Scope {
        let scope = self.now();
        if variables.is_empty() { scope } else { scope.with(variables) }
    }

    /// Makes a scope of the present outputs.
    pub(super) fn now(self: &Arc<Self>) -> Scope {
        Scope { frame: Arc::clone(self), seen: self.with(<[_]>::len) }
    }
}

impl Scope {
    /// Makes the scope of a plan that starts.
    pub(super) fn of_input(input: Payload) -> Self {
        Self::over(None, Vec::new(), Some(input), None)
    }

    /// Makes a scope with further variables.
    pub(super) fn with(&self, variables: Vec<(&'static str, Variable)>) -> Self {
        Self::over(Some(self.clone()), variables, None, None)
    }

    /// Makes a scope for a branch that may read the outputs of others.
    pub(super) fn needing(&self, needed: Needed) -> Self {
        Self::over(Some(self.clone()), Vec::new(), None, Some(needed))
    }

    /// Makes a frame for the outputs of nested steps.
    pub(super) fn frame(&self) -> Arc<Frame> {
        Self::over(Some(self.clone()), Vec::new(), None, None).frame
    }

    fn over(
        above: Option<Self>,
        variables: Vec<(&'static str, Variable)>,
        input: Option<Payload>,
        needed: Option<Needed>,
    ) -> Self {
        let done = Mutex::default();
        Self { frame: Arc::new(Frame { above, variables, input, needed, done }), seen: 0 }
    }

    /// Evaluates an expression.
    pub(super) fn eval(&self, expression: &Expression) -> Result<Value, Failure> {
        let evaluated = expression.eval(&self.to_value());
        // A literal may be a secret.
        let quoted = || excerpt(&shown_expression(expression.as_str()));
        evaluated.map_err(|words| Failure::new(format!("expression `{}`: {words}", quoted())))
    }

    /// Evaluates an expression whose value may be null, which yields none.
    pub(super) fn eval_if_any(&self, expression: &Expression) -> Result<Option<Value>, Failure> {
        let value = self.eval(expression)?;
        Ok(if value.is_none() { None } else { Some(value) })
    }

    /// Renders the text of a key, if it is a template. It may be a secret: no error quotes it.
    pub(super) fn render(&self, key: &str, text: String) -> Result<String, Failure> {
        if !is_template(&text) {
            return Ok(text);
        }
        render(&text, &self.to_value()).map_err(|words| in_template(key, &words))
    }

    /// Renders every text of the value of a key. A text that is one expression becomes its value,
    /// with its type.
    pub(super) fn fill(
        &self,
        key: &str,
        value: serde_json::Value,
    ) -> Result<serde_json::Value, Failure> {
        use serde_json::Value as Json;
        Ok(match value {
            Json::String(text) if is_template(&text) => match only_expression(&text) {
                Some(expression) => {
                    let evaluated = expression.eval(&self.to_value());
                    serde_json::to_value(evaluated.map_err(|words| in_template(key, &words))?)?
                }
                None => Json::String(self.render(key, text)?),
            },
            Json::Array(items) => Json::Array(
                items.into_iter().map(|item| self.fill(key, item)).collect::<Result<_, _>>()?,
            ),
            Json::Object(entries) => {
                let filled = entries.into_iter().map(|(name, value)| {
                    // Another key may have a value in it.
                    let key = if is_variable(&name) { &below(key, &name) } else { key };
                    Ok((name, self.fill(key, value)?))
                });
                Json::Object(filled.collect::<Result<_, Failure>>()?)
            }
            other => other,
        })
    }

    /// Renders the input of what a step starts. Defaults to the input of the plan.
    pub(super) fn input(&self, template: Option<&Payload>) -> Result<Payload, Failure> {
        match template {
            None => Ok(self.plan_input().cloned().unwrap_or_else(null)),
            Some(plain) if !is_template(plain.as_json()) => Ok(plain.clone()),
            Some(template) => Ok(self.fill("input", template.parse()?)?.into()),
        }
    }

    fn plan_input(&self) -> Option<&Payload> {
        self.frames().find_map(|scope| scope.frame.input.as_ref())
    }

    /// Lists the scopes, the innermost first.
    fn frames(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |scope| scope.frame.above.as_ref())
    }

    fn variable(&self, name: &str) -> Option<Value> {
        self.frames().find_map(|scope| {
            let found = scope.frame.variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, variable)| variable.value(name))
        })
    }

    fn output(&self, step: &str) -> Option<Payload> {
        self.frames().find_map(|scope| {
            if let Some(output) = scope.frame.needed.as_ref().and_then(|needed| needed.output(step))
            {
                return Some(output.clone());
            }
            scope.frame.with(|done| {
                // Backwards: a step that ran again has several outputs, of which the last counts.
                let seen = done.iter().take(scope.seen).rev();
                seen.clone().find(|(name, _)| &**name == step).map(|(_, output)| output.clone())
            })
        })
    }

    fn to_value(&self) -> Value {
        Value::from_object(Reading(self.clone()))
    }
}

/// The value of a name. A payload is parsed when an expression reads it.
#[derive(Clone, Debug)]
pub(super) enum Variable {
    Value(Value),
    Payload(Payload),
}

impl Variable {
    fn value(&self, name: &str) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Payload(payload) => read(payload, name),
        }
    }
}

impl From<usize> for Variable {
    fn from(number: usize) -> Self {
        Self::Value(number.into())
    }
}

impl From<String> for Variable {
    fn from(text: String) -> Self {
        Self::Value(text.into())
    }
}

impl From<&Payload> for Variable {
    fn from(payload: &Payload) -> Self {
        Self::Payload(payload.clone())
    }
}

/// The names that an expression starts with: `input`, `steps`, variables.
#[derive(Debug)]
struct Reading(Scope);

impl Object for Reading {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "input" => self.0.plan_input().map(|input| read(input, "input")),
            "steps" => Some(Value::from_object(Steps(self.0.clone()))),
            name => self.0.variable(name),
        }
    }
}

/// The steps by name.
#[derive(Debug)]
struct Steps(Scope);

impl Object for Steps {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let output = self.0.output(name)?;
        Some(Value::from_object(Done { path: below("steps", name), output }))
    }
}

/// A step that has ended.
#[derive(Debug)]
struct Done {
    /// How an expression names it.
    path: String,
    output: Payload,
}

impl Object for Done {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str()? == "output").then(|| read(&self.output, &below(&self.path, "output")))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["output"])
    }
}

/// Makes the failure of a template by the key that has it.
fn in_template(key: &str, words: &str) -> Failure {
    Failure::new(format!("template of `{}`: {words}", excerpt(key)))
}

/// Yields the input of a plan or step that is given none.
pub(super) fn null() -> Payload {
    serde_json::Value::Null.into()
}
