//! How much of a session a run of a [`Component`] gets.

use super::component::Component;
use crate::limits::HISTORY_RUNS_MAX;

impl Component {
    /// Gives each run what was said in so many earlier runs of it in the same session, the newest
    /// ones, in a contract that has sessions (`AgentOS`). The input is an object then, with the key
    /// `history` beside `message`: a list of `{"role", "content", "run_id"}`, the oldest first, in
    /// which `role` is `user` or `assistant`. Defaults to none, as zero: the input is as the caller
    /// gave it. More than [`HISTORY_RUNS_MAX`] counts as that.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::Payload;
    /// use quell_flow::Component;
    ///
    /// let echo = Component::agent("echo", async |_ctx, input: Payload| Ok(input)).history(3);
    /// assert_eq!(echo.history_of(), 3);
    /// ```
    pub const fn history(mut self, runs: usize) -> Self {
        self.history = if runs < HISTORY_RUNS_MAX { runs } else { HISTORY_RUNS_MAX };
        self
    }

    /// Yields how many earlier runs of its session a run gets.
    pub const fn history_of(&self) -> usize {
        self.history
    }
}
