//! The help of `quell`, and of the commands that need few words.

/// What `quell` is.
pub(crate) const ABOUT: &str =
    "Run commands and serve agents as run trees that stop when told, on time, and say what stopped";

/// Below the help of `quell`.
pub(crate) const AFTER_HELP: &str = "\
Examples:
  quell run plan.toml                          run a plan
  quell run --timeout 30s --grace 5s -- make   run one command, with a limit
  quell run plan.toml --json | jq .event       events for programs
  quell run agent/writer --input '\"tea\"'       run a component of quell.toml
  quell plan check plan.yaml                   every fault of a plan, with its line
  quell init                                   write a quell.toml that runs, to begin with
  quell check                                  every fault of quell.toml and its plans
  quell serve --demo                           every contract on http://127.0.0.1:7777
  quell runs --store runs.db                   the runs of a file of `quell run --store`
  quell show RUN --store runs.db               the report of one of them
  quell events RUN --store runs.db             its events
  quell nodes --store postgres://u@h/d         the nodes of a database of `quell serve`
  quell ps                                     the runs of a running server
  quell watch RUN                              one of them, live, with each stop as it proceeds
  quell cancel RUN --wait quiescent            stop it, until nothing of it executes
  quell top                                    what a running server executes, stops first
  quell store backup runs.db copy.db           copy such a file, also while it is in use
  quell help run                               signals, exit codes, the rest
  quell help plan                              every key of a plan, and what its steps yield
  quell help process                           what a program that quell runs can rely on
  quell help service                           what a service that quell runs can rely on
  quell help report                            the report of a run as JSON, field by field
  quell help events                            the events of a run as JSON, kind by kind
  quell help answers                           what arrives through each contract, and how inputs do
  quell help templates                         names, filters and tests of templates in plans

Times, here, in plans and in quell.toml, have units: 500ms, 30s, 1h 30m. Only keys that end in _ms \
are numbers, of milliseconds.
A component is named by its kind and id, here, in plans, in quell.toml and over HTTP: \
agent/writer, team/desk, workflow/publish.";

/// Below the help of `quell plan check`.
pub(crate) const PLAN_CHECK_AFTER_HELP: &str = "\
It looks at plans; of a configuration, unless --config names it, only at the components that they \
name. `quell check` looks at a configuration and the plans that it names.

The search ends at 100 faults, and at the first fault of syntax. `quell run` shows the first 20.

Exit codes:
  0   fine, perhaps with warnings
  2   a plan has a fault, or cannot be read";

/// Below the help of `quell check`.
pub(crate) const CHECK_AFTER_HELP: &str = "\
It refuses what `quell serve` would refuse: unknown keys and words, scopes that nothing asks for, \
programs that are not there or not executable, secrets that are empty or not set, faults of plans. \
`quell plan check` looks at plans without a configuration; `quell init` writes one to begin with.

The search ends at 100 faults. `quell serve` and `quell run` show the first 20.

Exit codes:
  0   fine
  2   something is wrong";

/// Below the help of `quell completions`.
pub(crate) const COMPLETIONS_AFTER_HELP: &str = "\
Examples:
  quell completions bash > ~/.local/share/bash-completion/completions/quell
  quell completions zsh > ~/.zfunc/_quell        with that folder in fpath
  quell completions fish > ~/.config/fish/completions/quell.fish

That of bash also completes the components of the configuration, and after --only and --from the \
steps at the top of the plan.";

/// Below the help of `quell man`.
pub(crate) const MAN_AFTER_HELP: &str = "\
Examples:
  quell man | man -l -
  quell man ~/.local/share/man/man1";

/// Below the help of `quell runs`.
pub(crate) const RUNS_AFTER_HELP: &str = "\
A line has the id of the run as its caller knows it, how it stands, when it was accepted, how \
long it worked (`-` if it has not ended, or never began), its kind, its name, and in brackets what \
it asks if it is paused, after the step that asks. Runs below another one are in its report, which \
`quell show` prints. A run that a killed process left behind stands as it did, until another \
process opens the store to write. `--records` lists threads of LangGraph, too. `quell runs cancel` \
ends one that is paused or left behind in a file, `quell runs prune` deletes old ones.

Exit codes:
  0   listed
  1   some runs cannot be read: stderr names them
  2   bad usage, or the store cannot be read

Examples:
  quell runs --store runs.db --status failed --limit 5
  quell runs --store runs.db --json --limit 0 | jq -r .id";
