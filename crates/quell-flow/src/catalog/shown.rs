//! How a component is shown to people: its name and its description.

use super::component::Component;

impl Component {
    /// Sets the name that people read. It names nothing: the component is found by its id. Defaults
    /// to the id.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::Payload;
    /// use quell_flow::Component;
    ///
    /// let echo = Component::agent("echo", async |_ctx, input: Payload| Ok(input));
    /// assert_eq!(echo.shown_name(), "echo");
    /// assert_eq!(echo.display_name("Echo of the hills").shown_name(), "Echo of the hills");
    /// ```
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.display_name = Some(name.into());
        self
    }

    /// Yields the name that people read.
    pub fn shown_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(self.id())
    }

    /// Sets the description. Defaults to none.
    pub fn describe(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Yields the description.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}
