//! [`render`] fills in a template: a text with expressions in it.

use minijinja::Value;

use super::evaluate::{CHECK_WORK, Expression, Refusal, checked, defined, eval, names};
use super::language::lenient;
use super::paths::Names;
use super::quote::{is_number, is_quoted};
use super::script::{Around, Script};
use super::{guard, work};
use crate::limits;

/// Tells whether a text is a template. Every other text is used as it is.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// Yields the expression of a template that has no text around it: its value keeps its type.
pub(crate) fn only_expression(template: &str) -> Option<Expression> {
    // `{{ a }} {{ b }}` has braces at both ends, but is not one expression.
    let [Piece::Expression(inside)] = &*pieces(template.trim()).ok()? else { return None };
    Some(Expression::new(inside.trim()))
}

/// Lists the expressions of a template; none of one that has a fault.
pub(crate) fn expressions(template: &str) -> Vec<&str> {
    let inside = |piece| match piece {
        Piece::Expression(text) => Some(text),
        Piece::Text(_) => None,
    };
    pieces(template).unwrap_or_default().into_iter().filter_map(inside).collect()
}

/// Lists the expressions of a template that stand right behind a `$`.
pub(crate) fn behind_dollar(template: &str) -> Vec<&str> {
    let pieces = pieces(template).unwrap_or_default();
    let pairs = pieces.iter().zip(pieces.iter().skip(1));
    let found = pairs.filter_map(|pair| match pair {
        (Piece::Text(before), Piece::Expression(inside)) if before.ends_with('$') => Some(*inside),
        _ => None,
    });
    found.collect()
}

/// Renders a template, within [`limits::EXPRESSION_WORK_MAX`].
pub(crate) fn render(template: &str, scope: &Value) -> Result<String, String> {
    let pieces = pieces(template)?;
    work::within(limits::EXPRESSION_WORK_MAX, || fill(&pieces, |text| defined(text, scope)))
        .map_err(Refusal::into_words)
}

/// Checks a template as far as that is possible without values, and yields the paths that it reads.
pub(crate) fn check_template(text: &str) -> Result<Names, String> {
    for tag in ["{%", "{#"] {
        if text.contains(tag) {
            return Err(format!("`{tag}` in a template; expected `{{{{ … }}}}` only"));
        }
    }
    let pieces = pieces(text)?;
    let mut all = Names::new();
    for piece in &pieces {
        if let Piece::Expression(text) = piece {
            all.append(&mut names(text)?);
        }
    }
    let nothing = Value::from(());
    let rendered = work::within(CHECK_WORK, || {
        if all.is_empty() {
            fill(&pieces, |text| defined(text, &nothing))
        } else {
            fill(&pieces, |text| eval(lenient(), text, nothing.clone()))
        }
    });
    let rendered = rendered.map(drop);
    checked(rendered, all)
}

/// How the shell comes to read the value of an expression as part of its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposed {
    /// The value has no quotes.
    Bare,
    /// The value has quotes, and stands within others.
    Requoted,
    /// It stands in a here-document, in which quotes are text.
    InDocument,
    /// It stands within backticks, which one in the value ends.
    InBackticks,
    /// It stands in `$((…))` or `((…))`, where quotes are text.
    InArithmetic,
    /// It stands in a comment, which the end of a line in the value ends.
    InComment,
    /// The value has quotes, and stands behind a backslash, which takes the first of them.
    Escaped,
}

/// Yields the expressions of a script that read something and whose values a shell does not read
/// as one word: those that do not end with `| quote`, and those that do and stand where its quotes
/// are none, or if the shell has quotes of its own. A number is one word anywhere.
pub(crate) fn exposed(template: &str, has_posix_quotes: bool) -> Vec<(&str, Exposed)> {
    let reads = |text: &str| names(text).is_ok_and(|names| !names.is_empty());
    let mut script = Script::default();
    let mut found = Vec::new();
    for piece in pieces(template).unwrap_or_default() {
        match piece {
            Piece::Text(text) => script.text(text),
            Piece::Expression(text) => {
                let exposed = match script.around() {
                    _ if is_number(text) => None,
                    _ if !has_posix_quotes => Some(Exposed::Bare),
                    Around::Document => Some(Exposed::InDocument),
                    Around::Backticks => Some(Exposed::InBackticks),
                    Around::Arithmetic => Some(Exposed::InArithmetic),
                    Around::Comment => Some(Exposed::InComment),
                    _ if !is_quoted(text) => Some(Exposed::Bare),
                    Around::Quotes => Some(Exposed::Requoted),
                    Around::Backslash => Some(Exposed::Escaped),
                    Around::Nothing => None,
                };
                found.extend(exposed.filter(|_| reads(text)).map(|exposed| (text.trim(), exposed)));
                script.value();
            }
        }
    }
    found
}

/// A part of a template.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Expression(&'a str),
}

/// Splits a template into texts and expressions, as the language does: `{{-` and `-}}` remove the
/// white space beside them, and a newline at the end is left out.
fn pieces(template: &str) -> Result<Vec<Piece<'_>>, String> {
    let template = template.strip_suffix('\n').unwrap_or(template);
    let mut rest = template.strip_suffix('\r').unwrap_or(template);
    let mut pieces = Vec::new();
    let mut trims = false;
    loop {
        if trims {
            rest = rest.trim_start();
        }
        let Some((text, inside)) = rest.split_once("{{") else { break };
        let signed = inside.strip_prefix(['-', '+']);
        let text = if inside.starts_with('-') { text.trim_end() } else { text };
        let inside = signed.unwrap_or(inside);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let Some(end) = guard::end(inside)? else {
            // The language may have a better message.
            names(inside)?;
            return Err("unexpected end of input, expected `}}`".to_owned());
        };
        pieces.push(Piece::Expression(&inside[..end.at]));
        (rest, trims) = (&inside[end.after..], end.trims);
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Makes the text of the pieces, of which each expression is evaluated with `eval`.
fn fill(
    pieces: &[Piece<'_>],
    eval: impl Fn(&str) -> Result<Value, Refusal>,
) -> Result<String, Refusal> {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Expression(text) => {
                let value = eval(text)?;
                match value.as_str() {
                    Some(text) => out.push_str(text),
                    // The value was weighed, so that its JSON is bounded.
                    None => out.push_str(&json(&value)?),
                }
            }
        }
        if out.len() > limits::TEMPLATE_BYTES_MAX {
            let max = limits::TEMPLATE_BYTES_MAX;
            return Err(Refusal::Words(format!("the text is over its limit of {max} bytes")));
        }
    }
    Ok(out)
}

/// Writes a value that is no text.
fn json(value: &Value) -> Result<String, Refusal> {
    serde_json::to_string(value).map_err(|error| Refusal::Words(error.to_string()))
}
