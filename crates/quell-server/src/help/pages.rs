//! The pages that `quell help` prints.

/// The protocol of programs.
pub(crate) const PROCESS_PAGE: &str = include_str!("../process.md");

/// What arrives of a component through each contract.
pub(crate) const ANSWERS_PAGE: &str = include_str!("../answers.md");

/// The report of a run as JSON.
pub(crate) const REPORT_PAGE: &str = include_str!("../report.md");

/// The events of a run as JSON.
pub(crate) const EVENTS_PAGE: &str = include_str!("../events.md");

/// The protocol of services.
pub(crate) const SERVICE_PAGE: &str = include_str!("../service.md");
