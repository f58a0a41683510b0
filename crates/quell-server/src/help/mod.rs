//! The texts of the help.

mod brief;
mod pages;
mod run;
mod serve;

pub(crate) use brief::{
    ABOUT, AFTER_HELP, CHECK_AFTER_HELP, COMPLETIONS_AFTER_HELP, MAN_AFTER_HELP,
    PLAN_CHECK_AFTER_HELP, RUNS_AFTER_HELP,
};
pub(crate) use pages::{ANSWERS_PAGE, EVENTS_PAGE, PROCESS_PAGE, REPORT_PAGE, SERVICE_PAGE};
pub(crate) use run::{RUN_ABOUT, RUN_AFTER_HELP};
pub(crate) use serve::{SERVE_ABOUT, SERVE_AFTER_HELP};
