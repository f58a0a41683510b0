//! Runs the real `quell` with real programs, signals and pipes. Witnesses outside decide what is
//! left: `/proc`, and files that the programs write.

#[cfg(test)]
mod all_at_once;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod check;
#[cfg(test)]
mod check_bounds;
#[cfg(test)]
mod check_plans;
#[cfg(test)]
mod client;
#[cfg(test)]
mod command_lines;
#[cfg(test)]
mod completions;
#[cfg(test)]
mod databases;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod events_page;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod init;
#[cfg(test)]
mod install;
#[cfg(test)]
mod large;
#[cfg(test)]
mod left_paused;
#[cfg(test)]
mod left_waiting;
#[cfg(test)]
mod live_tree;
#[cfg(test)]
mod load;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod names;
#[cfg(test)]
mod needs;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod open;
#[cfg(test)]
mod outliving;
#[cfg(test)]
mod output;
#[cfg(test)]
mod plan_parts;
#[cfg(test)]
mod plan_stdin;
#[cfg(test)]
mod plans;
#[cfg(test)]
mod process_page;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod quotes;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod report_page;
#[cfg(test)]
mod resumes;
#[cfg(test)]
mod rolled_back;
#[cfg(test)]
mod run_limits;
#[cfg(test)]
mod runs_ended;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod served_plans;
#[cfg(test)]
mod services;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod site;
#[cfg(test)]
mod spelling;
#[cfg(test)]
mod steered;
#[cfg(test)]
mod store;
#[cfg(test)]
mod store_table;
#[cfg(test)]
mod stored_runs;
#[cfg(test)]
mod support;
#[cfg(test)]
mod taken_over;
#[cfg(test)]
mod traced;
mod truncated;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod waits;
#[cfg(test)]
mod web_socket;
