//! What expressions read of the outputs of steps: keys that are not there, texts that end with a
//! newline, and numbers that are compared with texts.

use super::fault::Fault;
use super::names::{Names, output_of};
use super::shape::{COMMAND_KEYS, Misread, NUMBER_KEYS, STDOUT_KEYS};
use crate::excerpt::{excerpt, listed};
use crate::guess::guess;
use crate::plan::expression::{self, Compared, below};

impl Names {
    /// Checks the keys behind the output of a step, as far as they are known.
    pub(super) fn check_output(
        &self,
        step: &str,
        keys: &[String],
        text: &str,
        at: usize,
    ) -> Result<(), Fault> {
        let shape = self.seen().find_map(|frame| frame.shape(step));
        let Some(misread) = shape.and_then(|shape| shape.misread(keys)) else { return Ok(()) };
        let (right_keys, known) = match &misread {
            Misread::NoStep(right_keys, known) => (*right_keys, known.as_slice()),
            Misread::NoKey(right_keys) => (*right_keys, &COMMAND_KEYS[..]),
        };
        let owner = keys[..right_keys].iter().fold(output_of(step), |path, key| below(&path, key));
        let key = keys[right_keys].as_str();
        let foreign = FOREIGN_KEYS.iter().find(|(found, _)| *found == key).map(|(_, key)| *key);
        let foreign = foreign.filter(|key| known.contains(key));
        let right = match foreign.or_else(|| guess(key, known.iter().copied())) {
            Some(meant) => format!("did you mean `{}`?", excerpt(meant)),
            None => format!("it has {}", listed(known.iter().copied())),
        };
        let (owner, key, text) = (excerpt(&owner), self.quoted(key, at), self.quoted(text, at));
        match misread {
            Misread::NoStep(..) => {
                let message = format!("`{owner}` has no `{key}` in `{text}`; {right}");
                Err(self.fault(at, message))
            }
            // A runner of other programs may have other keys.
            Misread::NoKey(_) => {
                self.warn(
                    at,
                    format!("`{owner}` of a command has no `{key}` in `{text}`; {right}"),
                );
                Ok(())
            }
        }
    }

    /// Warns of an expression that names a step, if it is what a command wrote with its newline.
    pub(super) fn check_choice(&self, text: &str, at: usize) {
        if expression::as_path(text).is_some_and(|path| self.leads_to(&path, &STDOUT_KEYS)) {
            let text = self.quoted(text.trim(), at);
            let right = format!("expected `{text} | trim`");
            let message =
                format!("`{text}` ends with the newline that most programs write; {right}");
            self.warn(at, message);
        }
    }

    /// Warns of comparisons with a text that are not what is meant: of stdout with its newline, and
    /// of a number.
    pub(super) fn warn_of_comparisons(&self, text: &str, at: usize) {
        for compared in expression::compared(text) {
            if self.leads_to(&compared.path, &NUMBER_KEYS) {
                self.warn_of_number(&compared, at);
            } else if compared.lacks_newline() && self.leads_to(&compared.path, &STDOUT_KEYS) {
                self.warn_of_newline(&compared, at);
            }
        }
    }

    fn warn_of_newline(&self, Compared { whole, place, .. }: &Compared<'_>, at: usize) {
        let (before, after) = (&whole[..place.start], &whole[place.end..]);
        let read = &whole[place.clone()];
        let around = if self.is_secret(at) { ("", "") } else { (before, after) };
        let right = excerpt(&format!("{}{read} | trim{}", around.0, around.1));
        let (whole, read) = (self.quoted(whole, at), excerpt(read));
        let message = format!(
            "`{whole}` compares `{read}` with the newline that most programs write at its end; \
             expected `{right}`"
        );
        self.warn(at, message);
    }

    fn warn_of_number(&self, compared: &Compared<'_>, at: usize) {
        let Compared { whole, place, literal, text, .. } = compared;
        let (before, after) = (&whole[..literal.start], &whole[literal.end..]);
        let is_unequal = before.trim_end().ends_with("!=") || after.trim_start().starts_with("!=");
        let right = match text.parse::<u32>() {
            Ok(number) if !self.is_secret(at) => {
                format!("`{}`", excerpt(&format!("{before}{number}{after}")))
            }
            _ => "a number".to_owned(),
        };
        let (whole, read) = (self.quoted(whole, at), excerpt(&whole[place.clone()]));
        let message = format!(
            "`{whole}` is always {is_unequal}: `{read}` is a number, and no text; expected {right}"
        );
        self.warn(at, message);
    }

    /// Tells whether a path leads to one of these keys of the output of a command of the plan.
    fn leads_to(&self, path: &expression::Path, keys: &[&str]) -> bool {
        let [variable, step, output, rest @ ..] = path.as_slice() else { return false };
        let shape = || self.seen().find_map(|frame| frame.shape(step));
        let is_found = || shape().is_some_and(|shape| shape.leads_to(rest, keys));
        variable == "steps" && output == "output" && is_found()
    }
}

/// Keys that the output of a command has elsewhere, and what they are here.
const FOREIGN_KEYS: [(&str, &str); 5] = [
    ("stderr", "stderr_tail"),
    ("code", "exit_code"),
    ("status", "exit_code"),
    ("rc", "exit_code"),
    ("output", "stdout"),
];
