//! The engine and the oracle tell the same story.

use std::fmt::Write as _;

use super::oracle::Story;
use super::plan::Plan;

/// Compares the two stories of a plan.
///
/// # Errors
///
/// Fails with every difference, in words.
pub(crate) fn agree(plan: &Plan, engine: &Story, oracle: &Story) -> Result<(), String> {
    let mut differences = String::new();
    let commands = plan.commands.iter().zip(engine.said.iter().zip(&oracle.said));
    for ((at, command), (engine, oracle)) in commands {
        if engine != oracle {
            let _ = writeln!(differences, "at {at}: {command:?}: {engine:?}, not {oracle:?}");
        }
    }
    for (run, (engine, oracle)) in engine.runs.iter().zip(&oracle.runs).enumerate() {
        if engine != oracle {
            let _ = writeln!(differences, "run {run}:\n  engine {engine:?}\n  oracle {oracle:?}");
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}
