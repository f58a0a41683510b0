//! [`SYNONYMS`], [`ELSEWHERE`] and [`other_sort`]: keys that other files have, or other tables, and
//! what is right in this one.

use super::sort::KEYS;

/// Keys that other files have, and what is meant.
pub(super) const SYNONYMS: [(&str, &str); 38] = [
    ("script", "run"),
    ("exec", "run"),
    ("entrypoint", "run"),
    ("steps", "plan"),
    ("file", "plan"),
    ("endpoint", "url"),
    ("dir", "cwd"),
    ("directory", "cwd"),
    ("folder", "cwd"),
    ("workdir", "cwd"),
    ("working_dir", "cwd"),
    ("working_directory", "cwd"),
    ("key", "secret_env"),
    ("api_key", "secret_env"),
    ("token", "secret_env"),
    ("user", "subject"),
    ("permissions", "scopes"),
    ("roles", "scopes"),
    ("command", "run"),
    ("cmd", "run"),
    ("program", "run"),
    ("max_runs", "running_max"),
    ("max_runs", "running"),
    ("running_max", "running"),
    ("run", "running"),
    ("concurrency", "running"),
    ("queued_max", "queued"),
    ("max_queued", "queued"),
    ("key", "key_env"),
    ("cert", "cert_file"),
    ("certificate", "cert_file"),
    ("key", "key_file"),
    ("private_key", "key_file"),
    ("api_key", "key_env"),
    ("model", "name"),
    ("file", "path"),
    ("db", "path"),
    ("retention", "keep"),
];

/// Keys at the top that other files have, and where that is said here.
pub(super) const ELSEWHERE: [(&str, &str); 6] = [
    ("database", "the file of the store is `path` in `[store]`"),
    ("log", "what to log is said on the command line: `quell serve --log info`"),
    ("logging", "what to log is said on the command line: `quell serve --log info`"),
    ("https", "the certificate is `cert_file` in `[tls]`, and its key `key_file`"),
    ("ssl", "the certificate is `cert_file` in `[tls]`, and its key `key_file`"),
    ("cors", "pages of other origins are those of `cors_origins` in `[agentos]`"),
];

/// Keys that only teams have.
pub(super) const OF_TEAMS: [&str; 7] =
    ["mode", "members", "choose", "leader", "max", "on_member_failed", "on_member_stopped"];

/// Says of a key of a component in the table of a team that its members have it, and the other way
/// round.
pub(super) fn other_sort(found: &str, known: &[&str]) -> Option<&'static str> {
    let is_of_team = known.contains(&"members");
    let is_of_component = known.contains(&"plan");
    if is_of_team && KEYS.contains(&found) {
        Some("a team has none, each of its members has its own: `[agents.ID]` or `[workflows.ID]`")
    } else if is_of_component && OF_TEAMS.contains(&found) {
        Some("only a team has it: `[teams.ID]`")
    } else {
        None
    }
}
