//! For tests of expressions without a plan around them (feature `test-util`).

use quell::Payload;

use crate::interpret::render_over;
use crate::plan::check_template;

/// Evaluates a template that may read `input`, as a plan does: it is checked, then rendered.
///
/// # Errors
///
/// Yields the words with which a plan would be refused, or a step would fail.
///
/// # Examples
///
/// ```
/// use quell::Payload;
/// use quell_flow::testing::render_template;
///
/// let input = Payload::from_json_text(r#"{"n":20}"#).unwrap();
/// assert_eq!(render_template("{{ input.n + 1 }}", &input).unwrap(), "21");
/// ```
pub fn render_template(template: &str, input: &Payload) -> Result<String, String> {
    check_template(template)?;
    render_over(input, template.to_owned()).map_err(|failure| failure.to_string())
}
