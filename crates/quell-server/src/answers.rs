//! [`Answers`] are for steps of a plan that wait: what `--answer` says, or lines of the terminal.

use std::collections::HashSet;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::sync::Arc;
use std::thread;

use quell::{Payload, RunReport, RunStatus};
use quell_flow::{NoAnswer, SkippedStep, check_answer, excerpt};
use quell_report::text::printable;
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::shell_word::shell_word;

/// The answer to a step, by its name, as the command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The name of the step.
    pub(crate) step: String,
    /// What it is answered.
    pub(crate) value: String,
}

/// Reads `STEP=VALUE`.
pub(crate) fn parse_answer(text: &str) -> Result<Answer, String> {
    match text.split_once('=') {
        Some((step, value)) if !step.trim().is_empty() => {
            Ok(Answer { step: step.to_owned(), value: value.to_owned() })
        }
        _ => Err("expected STEP=VALUE such as `ok=yes`".to_owned()),
    }
}

/// Where answers come from.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Those of the command line that were not used yet. Each is used once, in their order.
    given: Vec<Answer>,
    has_terminal: bool,
    /// The line that is being read.
    reading: Option<oneshot::Receiver<Option<String>>>,
    /// A step has asked whom nobody answers.
    is_unanswered: bool,
    /// The step that asked last, and whether it is for an approval.
    asked: (String, bool),
}

/// What comes of a question.
#[derive(Debug, PartialEq)]
pub(crate) enum Asked {
    /// It has this answer.
    Answered(Payload),
    /// The terminal is asked; [`Answers::line`] yields the answer.
    AtTerminal,
    /// Nobody answers it.
    ByNobody,
}

impl Answers {
    /// Answers by these, and else by the terminal if there is one.
    pub(crate) fn new(given: Vec<Answer>) -> Self {
        let has_terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        Self { given, has_terminal, reading: None, is_unanswered: false, asked: Default::default() }
    }

    /// Yields a note about each answer that was not used, by the report of the run that was to have
    /// them.
    pub(crate) fn unused(&self, report: &RunReport) -> Vec<String> {
        let asked: HashSet<Arc<str>> = match report.status {
            // What was asked when the time was over, or the stop came, is never answered.
            RunStatus::TimedOut | RunStatus::Cancelled => {
                let skipped = report.rows.iter().flat_map(SkippedStep::all_of);
                skipped.filter(|step| step.ask.is_some()).map(|step| step.name).collect()
            }
            _ => HashSet::new(),
        };
        let note = |answer: &Answer| {
            let (step, status) = (excerpt(&answer.step), report.status);
            if asked.contains(&*answer.step) {
                return format!("the answer to `{step}` came too late: the run is {status}");
            }
            format!("the answer to `{step}` was not used: the run did not wait there")
        };
        self.given.iter().map(note).collect()
    }

    /// Yields what would answer the step that asked last, as messages show it.
    pub(crate) fn expected(&self) -> String {
        format!("`--answer '{}=VALUE'`, or a terminal", excerpt(&self.asked.0))
    }

    /// Yields the value of `--answer` that answers the step that asked last, for a shell.
    pub(crate) fn as_option(&self) -> String {
        option_for(&self.asked.0, self.asked.1)
    }

    /// Tells whether nobody has answered a step.
    pub(crate) const fn is_unanswered(&self) -> bool {
        self.is_unanswered
    }

    /// Tells whether a line is being read.
    pub(crate) const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Takes what a paused run asks, and what was wrong with a line that was to answer it. Yields
    /// what is said to the user, and what comes of it.
    pub(crate) fn ask(&mut self, request: &Payload, wrong: Option<&NoAnswer>) -> (String, Asked) {
        let mut question = Question::of(request);
        question.problem = wrong.map(problem).or(question.problem);
        self.asked = (question.step.clone(), question.approve);
        while let Some(at) = self.given.iter().position(|answer| answer.step == question.step) {
            let answer = Payload::from(self.given.remove(at).value);
            if let Err(error) = check_answer(request, &answer) {
                question.problem = Some(problem(&error));
                continue;
            }
            // The answer before this one is of no interest any more.
            question.problem = None;
            return (question.to_string(), Asked::Answered(answer));
        }
        let said = question.to_string();
        if self.has_terminal && self.read() {
            return (said, Asked::AtTerminal);
        }
        self.is_unanswered = true;
        (said, Asked::ByNobody)
    }

    /// Reads a line, if there can be a thread for it. It is left alone if the run ends first:
    /// nothing ends such a read.
    fn read(&mut self) -> bool {
        let (sender, reading) = oneshot::channel();
        let read = move || {
            drop(sender.send(next_line(&mut io::stdin().lock(), &mut io::stderr())));
        };
        let is_read = thread::Builder::new().name("quell-answer".into()).spawn(read).is_ok();
        self.reading = is_read.then_some(reading);
        is_read
    }

    /// Yields the line of the terminal; none at its end.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn line(&mut self) -> Option<Payload> {
        let line = match &mut self.reading {
            Some(reading) => reading.await.ok().flatten(),
            None => None,
        };
        self.reading = None;
        self.is_unanswered = line.is_none();
        line.map(|line| line.trim_end_matches(['\r', '\n']).into())
    }
}

/// Reads a line that is text, and says so of one that is none. None at the end, or if the terminal
/// is gone.
fn next_line(from: &mut impl BufRead, to: &mut impl Write) -> Option<String> {
    loop {
        let mut line = Vec::new();
        let read = from.read_until(b'\n', &mut line).ok()?;
        if read == 0 {
            return None;
        }
        match String::from_utf8(line) {
            Ok(line) => return Some(line),
            // If it cannot be written, the terminal is gone, which the next line tells.
            Err(_) => drop(to.write_all(NO_TEXT.as_bytes())),
        }
    }
}

/// What is said of a line that is no text.
const NO_TEXT: &str = "quell: the line is not UTF-8; please answer again\n";

/// What a step asks, as the pause of its run has it.
#[derive(Debug, Deserialize)]
pub(crate) struct Question {
    #[serde(default)]
    step: String,
    #[serde(default)]
    ask: String,
    #[serde(default)]
    pub(crate) approve: bool,
    problem: Option<String>,
}

impl Question {
    /// Yields the value of `--answer` that answers it, for a shell.
    pub(crate) fn as_option(&self) -> String {
        option_for(&self.step, self.approve)
    }

    /// Reads what a run asks; of one that is no plan it is its JSON.
    pub(crate) fn of(request: &Payload) -> Self {
        request.parse().unwrap_or_else(|_| Self {
            step: String::new(),
            ask: request.as_json().to_owned(),
            approve: false,
            problem: None,
        })
    }
}

/// Says what is wrong with an answer.
fn problem(error: &NoAnswer) -> String {
    format!("expected {}", error.expected())
}

fn option_for(step: &str, approve: bool) -> String {
    shell_word(&format!("{step}={}", if approve { "yes" } else { "VALUE" }))
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(problem) = &self.problem {
            write!(f, "{problem}; ")?;
        }
        if !self.step.is_empty() {
            write!(f, "{}: ", excerpt(&self.step))?;
        }
        f.write_str(&printable(&self.ask))?;
        if self.approve { f.write_str(" [yes/no]") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use quell::{Counts, RunId, RunKind, RunRow};

    use super::*;

    fn answers(given: &[&str]) -> Answers {
        let given = given.iter().map(|text| parse_answer(text).expect("an answer")).collect();
        let asked = Default::default();
        Answers { given, has_terminal: false, reading: None, is_unanswered: false, asked }
    }

    fn report() -> RunReport {
        let (run, at) = (RunId::from_text("r"), SystemTime::UNIX_EPOCH);
        let row = RunRow::new(run, RunKind::Workflow, "p".into(), RunStatus::Completed, at);
        RunReport::new(vec![row], Counts::default())
    }

    #[test]
    fn a_line_that_is_no_text_is_asked_for_again_and_is_not_the_end() {
        let (mut from, mut said) = (&b"y\xffs\nyes\n"[..], Vec::new());
        assert_eq!(next_line(&mut from, &mut said), Some("yes\n".to_owned()));
        assert_eq!(said, NO_TEXT.as_bytes());
        assert_eq!(next_line(&mut from, &mut said), None);
    }

    #[test]
    fn an_answer_names_its_step_and_its_value_may_be_anything() {
        let answer = |step: &str, value: &str| Answer { step: step.into(), value: value.into() };
        assert_eq!(parse_answer("ok=yes"), Ok(answer("ok", "yes")));
        assert_eq!(parse_answer("ok="), Ok(answer("ok", "")));
        assert_eq!(parse_answer("go on=a=b"), Ok(answer("go on", "a=b")));
        for wrong in ["yes", "=yes", " =yes", ""] {
            let words = parse_answer(wrong).expect_err(wrong);
            assert_eq!(words, "expected STEP=VALUE such as `ok=yes`");
        }
    }

    #[test]
    fn each_answer_is_used_once_in_their_order_and_by_its_step_alone() {
        let mut answers = answers(&["ok=one", "other=x", "ok=two"]);
        let request = Payload::from_json_text(r#"{"step":"ok","ask":"go?"}"#).expect("JSON");
        assert_eq!(answers.ask(&request, None), ("ok: go?".into(), Asked::Answered("one".into())));
        assert_eq!(answers.ask(&request, None).1, Asked::Answered("two".into()));
        assert!(!answers.is_unanswered());
        let (words, asked) = answers.ask(&request, None);
        assert_eq!(asked, Asked::ByNobody);
        assert_eq!(words, "ok: go?");
        assert_eq!(answers.expected(), "`--answer 'ok=VALUE'`, or a terminal");
        assert_eq!(answers.as_option(), "ok=VALUE");
        let unused = "the answer to `other` was not used: the run did not wait there";
        assert_eq!(answers.unused(&report()), [unused]);
        assert!(answers.is_unanswered());
    }

    #[test]
    fn a_question_says_what_is_expected_and_steers_no_terminal() {
        let text =
            "{\"step\":\"ok\",\"ask\":\"go\\u001b[2J?\",\"approve\":true,\"problem\":\"no\"}";
        let request = Payload::from_json_text(text).expect("JSON");
        let words = answers(&[]).ask(&request, None).0;
        assert!(words.starts_with("no; ok: go") && words.ends_with("? [yes/no]"), "{words}");
        assert!(!words.contains('\u{1b}'), "{words:?}");
        // What was wrong with the answer before is not told of one that is given.
        let words = answers(&["ok=yes"]).ask(&request, None).0;
        assert!(words.starts_with("ok: go") && words.ends_with("? [yes/no]"), "{words}");
    }

    #[test]
    fn what_is_no_answer_is_not_given_and_the_next_one_is_asked_for() {
        let text = r#"{"step":"ok","ask":"go?","approve":true}"#;
        let request = Payload::from_json_text(text).expect("JSON");
        let (words, asked) = answers(&["ok=perhaps", "ok=no"]).ask(&request, None);
        assert_eq!((&*words, asked), ("ok: go? [yes/no]", Asked::Answered("no".into())));
        let (words, asked) = answers(&["ok=perhaps"]).ask(&request, None);
        let again = "expected `yes` or `no`; ok: go? [yes/no]";
        assert_eq!((&*words, asked), (again, Asked::ByNobody));
        let wrong = check_answer(&request, &"perhaps".into()).err();
        assert_eq!(answers(&[]).ask(&request, wrong.as_ref()).0, again);
    }
}
