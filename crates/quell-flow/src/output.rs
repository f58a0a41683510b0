//! The output of a run.

use quell::{Failure, Payload, RunContext, Written};

/// Makes a value the output of a run, and yields it.
///
/// # Errors
///
/// Fails if it is refused: it would be missing without a word.
pub(crate) fn set_output(ctx: &RunContext, output: Payload) -> Result<Payload, Failure> {
    if ctx.set_output(output.clone()) != Written::TooLarge {
        return Ok(output);
    }
    let (bytes, max) = (output.len(), quell::limits::PAYLOAD_BYTES_MAX);
    let why = if bytes > max { "" } else { ", or what runs may hold is used up" };
    Err(Failure::new(format!("output has {bytes} bytes; the limit is {max}{why}")))
}
