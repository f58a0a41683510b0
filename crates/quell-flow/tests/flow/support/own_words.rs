//! [`assert_own_words_stay`]: what messages about plans say themselves is never left out.

use std::collections::BTreeSet;

use quell_flow::PlanFormat;

/// Asserts that the faults or warnings of a plan stay what they are if the plan hides their words:
/// those that it does not have itself are of the messages.
///
/// The words stand in a variable of a step of cleanup, which has neither a fault nor a warning. Of
/// a plan that has such steps itself, is a list, is long or escapes its keys, nothing is asserted.
#[track_caller]
pub(crate) fn assert_own_words_stay(format: PlanFormat, text: &str) {
    let text = text.trim_start_matches('\u{feff}');
    let is_strange = text.starts_with(['-', '[']) || text.contains(r"\u");
    if is_strange || text.contains("on_failure") || text.len() > LEN_MAX {
        return;
    }
    let said = messages(format, text);
    let of_messages = said.iter().flat_map(|message| words(message));
    // What is cut is a word of the plan, or the end of a long list.
    let is_cut = |word: &str| said.iter().any(|message| message.contains(&format!("{word}…")));
    let own: BTreeSet<&str> =
        of_messages.filter(|word| !text.contains(word) && !is_cut(word)).collect();
    let hidden = own.into_iter().collect::<Vec<_>>().join(" ");
    let hiding = match format {
        _ if text.starts_with('{') => {
            let step = format!(r#"{{"name": "z", "run": ["z"], "env": {{"Z": "{hidden}"}}}}"#);
            text.replacen('{', &format!(r#"{{"on_failure": [{step}], "#), 1)
        }
        PlanFormat::Toml => format!(
            "on_failure = [{{ name = 'z', run = ['z'], env = {{ Z = '{hidden}' }} }}]\n{text}"
        ),
        _ => format!("on_failure: [{{ name: z, run: [z], env: {{ Z: '{hidden}' }} }}]\n{text}"),
    };
    assert_eq!(messages(format, &hiding), said, "{hiding}");
}

/// Lists the faults of a text, or the warnings of a plan that has none.
fn messages(format: PlanFormat, text: &str) -> Vec<String> {
    let all = match format.read(text) {
        Ok(plan) => plan.warnings().to_vec(),
        Err(faults) => faults,
    };
    all.iter().map(|it| it.message().to_owned()).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

/// The longest text: one of many steps may have no room for one more.
const LEN_MAX: usize = 10_000;
