//! How the work is shared: the body of a team, by mode.

use std::sync::Arc;

use quell::{Failure, Payload, RunContext};
use serde_json::Value;

use super::builder::{Combine, Mode, Team};
use super::delegate::{Delegated, Members};
use crate::catalog::Model;
use crate::emit::Emit;

/// The body of a team.
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

/// Has one member after another work on what there is. What nobody changed is no output: then the
/// last word is why.
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

/// The leader of a team that shares its work by rule.
struct Leader<'a> {
    team: &'a Team,
    ctx: &'a RunContext,
}

impl Leader<'_> {
    /// Ends a broadcast.
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

    /// Says the verdict if there is one, and else what came of it; yields what was said.
    fn speak(&self, otherwise: Payload) -> Payload {
        let output = self.team.verdict.as_deref().map_or(otherwise, Payload::from);
        let text = match output.parse::<Value>() {
            Ok(Value::String(text)) => text,
            _ => output.as_json().to_owned(),
        };
        self.ask(Some(&text));
        output
    }

    /// Asks the model, which calls the tool or speaks.
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

/// Says that a broadcast is done, and of whom it is not.
fn in_words(all: &[Delegated]) -> String {
    let missing: Vec<_> = all.iter().filter_map(Delegated::shortfall).collect();
    if missing.is_empty() {
        return DONE.to_owned();
    }
    let whole = all.len() - missing.len();
    format!("{DONE} by {whole} of {}: {}", all.len(), missing.join("; "))
}

/// What the leader of a broadcast says if nothing else is said.
const DONE: &str = "done";
