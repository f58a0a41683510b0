//! [`said`]: what a run leaves to the later ones of its session (contract, section 10).

use quell::RunStatus;
use serde::Serialize;

use crate::wire::position::Role;
use crate::wire::run::{Tree, message};

/// What was said in a run that has ended, by one of the two.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Said {
    role: &'static str,
    content: String,
    run_id: String,
}

/// Yields the message of a run, and what it has answered, if it has said something: also what one
/// had said by its stop, and never why it failed.
pub(crate) fn said(tree: &Tree) -> Vec<Said> {
    let own = tree.own();
    let answer = match (own.status, own.position.role) {
        (RunStatus::Completed, _) => tree.content(0),
        (_, Role::Team | Role::Workflow) if own.text.is_empty() => tree.joined(0),
        _ => own.text.clone(),
    };
    let said = |role, content| Said { role, content, run_id: own.position.run.clone() };
    let asked = said("user", message(&own.input));
    let answered = Some(answer).filter(|answer| !answer.is_empty());
    [Some(asked), answered.map(|answer| said("assistant", answer))].into_iter().flatten().collect()
}
