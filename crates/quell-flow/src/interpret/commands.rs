//! [`run`] fills in the templates of a command and gives it to the runner.

use quell::{Failure, Payload, RunContext};

use super::runner::Runner;
use super::scope::Scope;
use super::step::{StepRef, World};
use crate::output::set_output;
use crate::plan::below;
use crate::{Action, CommandStep};

/// Runs the command of a step.
///
/// # Cancel safety
///
/// As cancel safe as the runner.
pub(super) async fn run<R: Runner>(
    step: StepRef,
    world: World<R>,
    ctx: RunContext,
) -> Result<Payload, Failure> {
    let Action::Run(command) = &step.action else {
        return Err(Failure::new("the step runs no command"));
    };
    let command = if command.has_templates {
        render(command.clone(), &world.scope)?
    } else {
        command.clone()
    };
    let output = world.runner.run(ctx.clone(), command).await?;
    set_output(&ctx, output)
}

fn render(mut command: CommandStep, scope: &Scope) -> Result<CommandStep, Failure> {
    let checked = |text: String| {
        if text.contains('\0') {
            return Err(Failure::new("a template made a text with NUL, which no command takes"));
        }
        Ok(text)
    };
    for text in &mut command.command {
        *text = checked(scope.render("run", std::mem::take(text))?)?;
    }
    if let Some(text) = &mut command.cwd {
        *text = checked(scope.render("cwd", std::mem::take(text))?)?;
    }
    for (name, text) in &mut command.env {
        *text = checked(scope.render(&below("env", name), std::mem::take(text))?)?;
    }
    command.input = command.input.map(|text| scope.render("input", text)).transpose()?;
    if command.command.first().is_none_or(String::is_empty) {
        return Err(Failure::new("a template made an empty command"));
    }
    Ok(command)
}
