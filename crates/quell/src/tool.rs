//! Tool calls: each has one recorded start and exactly one recorded outcome (I18).

use std::future::Future;
use std::sync::Arc;

use quell_core::{EventKind, Payload, ToolOutcome, limits};

use crate::context::RunContext;
use crate::failure::Failure;
use crate::node::Node;
use crate::shield;

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
    let bytes = input.len();
    if bytes > limits::EVENT_BYTES_MAX {
        return Err(Failure::new(format!(
            "input of tool `{name}` has {bytes} bytes, the limit is {}",
            limits::EVENT_BYTES_MAX
        )));
    }
    let shielded = shield::is_active(node.id);
    let started = EventKind::ToolStarted { call: Arc::clone(&id), name, input };
    let refusal =
        node.write_unless_fenced(shielded, started, |extra| extra.calls.push(Arc::clone(&id)));
    if let Some(stopped) = refusal {
        return Err(stopped.into());
    }
    let mut open = Open { node, call: Some(id) };
    let result = future.await;
    open.close(match &result {
        Ok(output) if output.len() > limits::EVENT_BYTES_MAX => ToolOutcome::Result(None),
        Ok(output) => ToolOutcome::Result(Some(output.clone())),
        Err(failure) if failure.stopped().is_some() => ToolOutcome::Cancelled,
        Err(failure) => ToolOutcome::Error(failure.to_string().into()),
    });
    result
}

/// A call that was started; dropped open, it was cancelled.
struct Open<'a> {
    node: &'a Arc<Node>,
    call: Option<Arc<str>>,
}

impl Open<'_> {
    fn close(&mut self, outcome: ToolOutcome) {
        if let Some(call) = self.call.take() {
            self.node.close_call(&call, outcome);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // The words of a panic are known only further up; they are in the report of the run.
        self.close(if std::thread::panicking() {
            ToolOutcome::Error("panicked".into())
        } else {
            ToolOutcome::Cancelled
        });
    }
}
