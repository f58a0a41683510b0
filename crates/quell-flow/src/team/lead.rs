//! [`lead`] is the body of a team: it gives the task to the members, as the mode says.

use std::sync::Arc;

use quell::{Failure, Payload, RunContext};
use serde_json::Value;

use super::builder::{Combine, Mode, Team};
use super::delegate::{Delegated, Members};
use crate::catalog::Model;
use crate::emit::Emit;

/// Runs a team.
pub(super) async fn lead(
    team: Arc<Team>,
    ctx: RunContext,
    task: Payload,
) -> Result<Payload, Failure> {
    let members = Members::new(&team, &ctx);
    if let Mode::Coordinate(lead) = &team.mode {
        let output = lead(ctx, task, members.clone()).await?;
        return members.broken().map_or(Ok(output), Err);
    }
    let model = Leader { team: &team, ctx: &ctx };
    // The leader of a fixed mode has no code. Its events show a model call before the members start
    // and one after they have ended, as contracts with teams expect.
    model.ask(None);
    let output = match &team.mode {
        Mode::Broadcast(combine) => {
            let all = members.ask_all(task).await?;
            return model.conclude(all, combine.as_ref()).await;
        }
        Mode::Route(choose) => {
            let name = choose(ctx.clone(), task.clone()).await?;
            members.ask(&name, task).await?.into_output()
        }
        Mode::Sequence | Mode::Coordinate(_) => in_turn(&members, task).await?,
    };
    Ok(model.speak(output))
}

/// Runs one member after another, each on the last output. If no member has an output, the result
/// is the reason of the last member.
async fn in_turn(members: &Members, task: Payload) -> Result<Payload, Failure> {
    let names: Vec<String> = members.names().map(str::to_owned).collect();
    let (mut work, mut made, mut last) = (task, None, None);
    for place in 0..names.len() {
        let one: Delegated = members.ask_at(place, work.clone()).await?;
        if let Some(output) = &one.output {
            work = output.clone();
            made = Some(output.clone());
        }
        last = Some(one);
    }
    let excuse = last.map(Delegated::into_output);
    Ok(made.or(excuse).unwrap_or(work))
}

/// The leader of a team with a fixed mode: broadcast, route or sequence.
struct Leader<'a> {
    team: &'a Team,
    ctx: &'a RunContext,
}

impl Leader<'_> {
    /// Makes the output of a broadcast.
    async fn conclude(
        &self,
        all: Vec<Delegated>,
        combine: Option<&Combine>,
    ) -> Result<Payload, Failure> {
        match combine {
            Some(combine) => combine(self.ctx.clone(), all).await,
            None => Ok(self.speak(Payload::from(in_words(&all)))),
        }
    }

    /// Emits and yields the verdict; without one, the given output.
    fn speak(&self, otherwise: Payload) -> Payload {
        let output = self.team.verdict.as_deref().map_or(otherwise, Payload::from);
        let text = match output.parse::<Value>() {
            Ok(Value::String(text)) => text,
            _ => output.as_json().to_owned(),
        };
        self.ask(Some(&text));
        output
    }

    /// Emits the events of a call of the model, with its text if there is one.
    fn ask(&self, says: Option<&str>) {
        if let Some(Model { id, provider, .. }) = &self.team.leader {
            let (model, provider) = (id.clone(), provider.clone());
            Emit::ModelStarted { model, provider }.send(self.ctx);
        }
        if let Some(text) = says {
            Emit::content(text).send(self.ctx);
        }
        if let Some(Model { id, provider, .. }) = &self.team.leader {
            let (model, provider) = (id.clone(), provider.clone());
            Emit::ModelEnded { model, provider, input_tokens: 0, output_tokens: 0 }.send(self.ctx);
        }
    }
}

/// Writes `done`, with each member that did not complete and the reason.
fn in_words(all: &[Delegated]) -> String {
    let missing: Vec<_> = all.iter().filter_map(Delegated::shortfall).collect();
    if missing.is_empty() {
        return DONE.to_owned();
    }
    let whole = all.len() - missing.len();
    format!("{DONE} by {whole} of {}: {}", all.len(), missing.join("; "))
}

/// The output of a broadcast without a verdict.
const DONE: &str = "done";
