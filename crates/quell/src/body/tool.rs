//! [`run`] runs a tool call: it has one recorded start and exactly one recorded outcome (I18).
//!
//! A call that is given up is `cancelled` only if nothing that was started inside it still
//! executes: [`call::Inside`].

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use quell_core::{EventKind, Payload, ToolOutcome, limits};

use crate::body::context::RunContext;
use crate::failure::Failure;
use crate::marks::call::{self, Inside};
use crate::marks::shield;
use crate::node::Node;

/// A tool call to be: the id of the call, the name of the tool, and its input.
///
/// # Examples
///
/// ```
/// use quell::ToolCall;
///
/// let call = ToolCall::new("call-1", "search", quell::Payload::from("rust"));
/// assert_eq!(call.name(), "search");
/// ```
#[derive(Clone, Debug)]
pub struct ToolCall {
    id: Arc<str>,
    name: Arc<str>,
    input: Payload,
}

impl ToolCall {
    /// Names a call. The id tells the calls of one run apart.
    pub fn new(id: impl Into<Arc<str>>, name: impl Into<Arc<str>>, input: Payload) -> Self {
        Self { id: id.into(), name: name.into(), input }
    }

    /// Yields the id of the call.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Yields the name of the tool.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Runs a tool call as part of the body, between its two records.
pub(crate) async fn run<F>(ctx: &RunContext, call: ToolCall, future: F) -> Result<Payload, Failure>
where
    F: Future<Output = Result<Payload, Failure>>,
{
    let node = ctx.node();
    let ToolCall { id, name, input } = call;
    let bounds = [
        ("id", id.len(), limits::TOOL_NAME_BYTES_MAX),
        ("name", name.len(), limits::TOOL_NAME_BYTES_MAX),
        ("input", input.len(), limits::EVENT_BYTES_MAX),
    ];
    if let Some((what, bytes, max)) = bounds.into_iter().find(|(_, bytes, max)| bytes > max) {
        let words = format!("{what} of tool `{name}` has {bytes} bytes, the limit is {max}");
        return Err(Failure::new(words));
    }
    let shielded = shield::is_active(node.id);
    let started = EventKind::ToolStarted { call: Arc::clone(&id), name, input };
    let mut place = 0;
    let refusal = node.write_unless_fenced(shielded, started, |extra| {
        place = extra.calls.insert(Arc::clone(&id));
    });
    if let Some(stopped) = refusal {
        node.shared.counters.start_refused();
        return Err(stopped.into());
    }
    let inside = call::begin();
    // Declared before the future, and so dropped after it: what the future drops no longer shares
    // `inside` when the outcome is decided.
    let mut open = Open { node, inside, call: Some((place, id)) };
    let mut future = pin!(future);
    let result = poll_fn(|cx| call::within(&open.inside, || future.as_mut().poll(cx))).await;
    let outcome = match &result {
        Ok(output) if output.len() > limits::EVENT_BYTES_MAX => ToolOutcome::Result(None),
        Ok(output) => ToolOutcome::Result(Some(output.clone())),
        Err(failure) if failure.stopped().is_some() => open.given_up(),
        Err(failure) => ToolOutcome::Error(failure.to_string().into()),
    };
    open.close(outcome);
    result
}

/// A call that was started. Dropped before it is closed, it is given up.
struct Open<'a> {
    node: &'a Arc<Node>,
    inside: Arc<Inside>,
    /// Its place in the list of the run's open calls, and its id.
    call: Option<(usize, Arc<str>)>,
}

impl Open<'_> {
    /// Yields the outcome of a call that is given up. It is decided before the call is closed: what
    /// ends later does not change it.
    fn given_up(&self) -> ToolOutcome {
        if Arc::strong_count(&self.inside) > 1 {
            ToolOutcome::Unknown
        } else {
            ToolOutcome::Cancelled
        }
    }

    fn close(&mut self, outcome: ToolOutcome) {
        if let Some((place, call)) = self.call.take() {
            self.node.close_call(place, &call, outcome);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // The panic's message is known to the driver only, which puts it into the run's report.
        self.close(if std::thread::panicking() {
            ToolOutcome::Error("panicked".into())
        } else {
            self.given_up()
        });
    }
}
