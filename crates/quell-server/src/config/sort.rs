//! What sort of component an entry of `quell.toml` is, and which of its keys do not go with that.

use super::components::ComponentEntry;
use super::services::Asks;

/// The keys that say what a component is.
pub(super) const SORTS: [&[&str]; 5] =
    [&["run"], &["plan"], &["url"], &["model"], &["model", "url"]];

/// What is wrong with an entry: a key of it, none for all of it, and the message.
type Fault = (Option<&'static str>, String);

impl ComponentEntry {
    /// Yields the key that says what it is: `run`, `plan`, `url` or `model`.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or more than one.
    pub(super) fn sort(&self) -> Result<&'static str, Fault> {
        let is_model = self.model.as_ref().is_some_and(|model| model.url.is_some());
        let keys = [
            ("run", self.run.is_some()),
            ("plan", self.plan.is_some()),
            ("url", self.url.is_some()),
            ("model", is_model),
        ];
        let found: Vec<_> = keys.iter().filter(|(_, is_there)| *is_there).map(|it| it.0).collect();
        match found[..] {
            [one] => Ok(one),
            [first, second, ..] => {
                let words =
                    format!("`{first}` and `{second}` are both there; expected one of them");
                Err((Some(second), words))
            }
            [] if self.model.is_some() => {
                let words = "its `model` has no `url`, so that it is only shown; expected `url` \
                             in it, or `run`, `plan` or `url` beside it";
                Err((None, words.to_owned()))
            }
            [] => {
                let words = "expected one of `run = [\"program\", …]`, `plan = \"FILE\"`, \
                             `url = \"http://…\"` and `model = { url = \"https://…\", … }`";
                Err((None, words.to_owned()))
            }
        }
    }

    /// Finds the keys that go with another sort of component than its own.
    pub(super) fn stray_keys(&self, sort: &str) -> Vec<(&'static str, &'static str)> {
        let of_service = Asks::of_service(self).given();
        let of_program = [
            ("cwd", self.cwd.is_some()),
            ("env", !self.env.is_empty()),
            ("env_clear", self.env_clear),
        ];
        let of_program = of_program.into_iter().filter(|(_, is_there)| *is_there);
        let goes_with_run = of_program.map(|(key, _)| (key, "goes with `run`"));
        match sort {
            "url" => goes_with_run.collect(),
            "model" => {
                let inside = of_service.map(|key| (key, "is in `model`, if it goes with one"));
                inside.chain(goes_with_run).collect()
            }
            "plan" => of_service.map(|key| (key, "goes with `url`")).chain(goes_with_run).collect(),
            _ => of_service.map(|key| (key, "goes with `url`")).collect(),
        }
    }
}
