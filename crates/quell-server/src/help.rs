//! The texts of the help, of which [`PROCESS_PAGE`], [`SERVICE_PAGE`], [`ANSWERS_PAGE`],
//! [`REPORT_PAGE`] and [`EVENTS_PAGE`] are pages of their own.

/// The protocol of programs.
pub(crate) const PROCESS_PAGE: &str = include_str!("process.md");

/// What arrives of a component through each contract.
pub(crate) const ANSWERS_PAGE: &str = include_str!("answers.md");

/// The report of a run as JSON.
pub(crate) const REPORT_PAGE: &str = include_str!("report.md");

/// The events of a run as JSON.
pub(crate) const EVENTS_PAGE: &str = include_str!("events.md");

/// The protocol of services.
pub(crate) const SERVICE_PAGE: &str = include_str!("service.md");

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

/// What `quell run` does.
pub(crate) const RUN_ABOUT: &str = "\
Run a plan of commands, or a single command, as one run tree that stops when told.

Every command runs in a process group of its own. A stop (a timeout, a signal to quell, a branch \
that failed) sends SIGTERM to the groups, waits for the grace but \
for a tenth of it (at most 500 ms, for the rest of the output), then sends SIGKILL. What a program \
had written by then is kept as partial output. When quell exits, nothing it started is left that \
can be found: only a process in a session of its own that has given up its environment and its \
limit of file locks (ulimit -x), or runs as another user, cannot. A small process of its own, the \
guardian, outlives a quell that is killed and ends what it had started; except on Linux it cannot \
find what has left its group, and on Linux not what has also given up those two. A stopped run \
whose program left such a process holding stdout or stderr names it as abandoned.

In a terminal the tree is live; elsewhere transitions are lines on stdout, at most four a second \
(-v: all). The report follows: status and cause of every run, what a step that failed wrote (at \
most the last 200 lines and 32 KiB of what is kept of stdout, its first 4 MiB, and of stderr), \
which steps of a plan were not started and why, who was signalled and aborted, how long the stop \
took, what output was kept.";

/// Below the help of `quell run`.
pub(crate) const RUN_AFTER_HELP: &str = "\
Signals:
  SIGINT (Ctrl-C), SIGTERM, SIGHUP   the first one cancels with grace, the second one aborts
  SIGQUIT (Ctrl-\\)                   aborts at once
  after the run has ended, any of them gives up writing what is left to write

The store (--store FILE):
  The run starts when it is stored. Its stop and its end never wait for the disk: if that is full, a
  note at the end says that the run is not stored. Runs of a process that was killed have failed,
  or ended with their stop, as soon as another one opens the file; so has what ran below them.
  One that waits for an answer stays paused.
  --resume RUN goes on with one that is paused, or with one whose process was killed if no other
  process has opened the file since; it is a run of a plan. Steps whose end is stored are not run
  again and have the outputs that they had. The step that was cut runs again, as its next attempt
  (QUELL_ATTEMPT), and so do a parallel step and a team as a whole, and a step that had ended in
  the last moment before: what it does outside may be done twice. A retried step has one attempt
  more for each that was cut. A step that has failed or timed out stays so. Cleanup (on_failure,
  on_stop) that was cut runs again as a whole, from its first step. A parallel step with
  start_next: decided that was cut decides anew, perhaps otherwise than later steps had it. The
  plan must be the same, the folder is the current one. --timeout and --grace are those of the
  first command line, unless others are given; the timeout goes on from the first start. The report
  has what ran since.
  Inputs, outputs and what programs write are in it as they are; only its owner may read it.

Steps that wait:
  A question is asked on the terminal, and a line is the answer. If stdin or stderr is none,
  answers are those of --answer. A question without one cancels the run; with a store it leaves the
  run paused, as the end of the terminal's input (Ctrl-D) does, and a line on stderr has the
  command that goes on with it. An answer is stored before anything goes on, and is never asked for
  again; one that no step has asked for is not kept, and is told. The timeout goes on meanwhile.
  Only a plan is left paused: a run of a component (`quell run NAME`) that nobody answers is
  cancelled, with a store as well; `quell run PLAN`, the file of the plan, is not.

Exit codes:
    0   completed
    1   failed, or the report could not be written, or the run is not known to be stored, or a step
        waited for an answer that nobody gave
    2   bad usage, bad plan, unwritable report, no such store: nothing was started
    3   left paused in its store: a step waits for an answer
  124   timed out
  130   cancelled: by a signal, or because the reader of stdout went away (quell run … | head)

Examples:
  quell run crates/quell-server/plans/tour.toml
  quell run plan.toml --timeout 10m --report report.json
  quell run plan.toml --json > events.ndjson
  quell run plan.toml --store runs.db
  quell run --resume 0198c1 --store runs.db
  quell run --resume 0198c1 --store runs.db --answer ok=yes
  quell run plan.toml --answer ok=yes
  make-plan | quell run -
  quell run plan.toml --from send --outputs report.json
  quell run --timeout 30s --grace 5s -- make test";

/// What `quell serve` does.
pub(crate) const SERVE_ABOUT: &str = "\
Serve agents, teams and workflows over HTTP, so that runs can be started, watched and cancelled.

One engine is behind all contracts, on one port: AgentOS (/agents, /teams, /workflows) and \
LangGraph (/threads, /assistants, /runs) at /, Playbook3D under /playbook3d, the native API under \
/v1 (/openapi.json describes it and LangGraph; /healthz and /readyz say how it is). A run that \
was started through one contract can be read by its id and cancelled through every other that \
exposes its component: through AgentOS with its session_id as well, through LangGraph if its \
session is a UUID, through Playbook3D if that is a team of the caller.

A cancel is answered while every body blocks its thread: bodies have threads of their own.

Programs do not outlive a server that is killed: a small process of its own, the guardian, ends \
them. Except on Linux it cannot find those that have left their group; on Linux not those that \
have also given up their environment (QUELL_PROCESS_IDS) and their limit of file locks \
(ulimit -x), or run as another user; and nobody ends them if the guardian is killed together with \
the server. A stopped run is not quiescent as long as such a process holds on to its stdout or \
stderr.

With --store FILE, or `path` of [store], runs and their events are in a file that outlives the \
server, and a run starts when it is stored. Runs of a server that was killed have failed, or \
ended with their stop, when the next one opens it; those that wait for an answer do so still. The \
guardian tells the next server that their programs have ended; if it was killed too, nothing does, \
and of services that they had asked nothing does either: such a run is not quiescent, and names \
them. \
Runs of a plan with on_worker_lost = \"continue\" go on by themselves, as their next attempts \
(QUELL_ATTEMPT), unless they were stopped or the plan has changed: steps whose end is stored are \
not run again. The step that was cut is, and so are a parallel step and a team as a whole, and a \
step that had ended in the last moment before: what it does outside may be done twice. Stops and \
ends never wait for the disk. HTTP shows the runs of earlier servers as well. Nothing leaves the \
file unless --keep, --keep-runs or --keep-mib, or keep, keep_runs or keep_mib of [store], say so; \
each counts by itself, looked at every ten minutes. Runs that are live, are in memory still (an \
hour), or whose lane a live run has stay. The room is used again; the file keeps its size.

With --store postgres://USER@HOST/DATABASE, `url` or `url_env` of [store], they are in a schema of \
a PostgreSQL database, which any number of servers share: each serves the runs of all, so any load \
balancer will do. All have the same components, plans and secrets, token_secret of [playbook3d] \
too. Each has a name (--node), and a lease of 15 s (`lease` of [store]). One that is \
started again under its name has its runs at once; those of one that is gone are taken over by \
another, as an earlier server's are (see quell help nodes forget). A server that has lost its \
lease ends what it runs, and itself. Others can read a command line: a password is best in a \
variable (--store-env), or in the file that PGPASSFILE names.

Programs are trusted with all that the user of the server may read and do, its files and its \
environment among it (/proc): run programs that must not see its keys as another user.";

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

/// Below the help of `quell serve`.
pub(crate) const SERVE_AFTER_HELP: &str = "\
The file:
  listen = \"127.0.0.1:7777\"

  [server]
  grace = \"5s\"                     # between a stop and abort
  abort_wait = \"1s\"                # between abort and abandon
  running_max = 100                 # runs at once; the others are queued
                                    # (without: 1 for 16 descriptors, at most 256; programs, those
                                    # of plans as well, wait while 1 for 16 descriptors runs)
  memory_mib = 2048                 # of all state: inputs, outputs, logs, metadata, requests under
                                    # way; one owner may have a quarter, of streams as
                                    # well; more is answered 413 or 429; programs and services
                                    # that answer have 8 MiB each besides
  trusted_hosts = [\"box.lan\"]       # served without keys, besides localhost and loopback
  trusted_origins = [\"http://…\"]    # pages that may write without keys, besides our own

  [store]                           # runs outlive the server; --store and --keep… win
  path = \"runs.db\"                # an SQLite file, made if it is missing; relative to this one
  url_env = \"QUELL_STORE\"          # or a variable with postgres://USER:PASS@HOST/DATABASE;
                                    # or `url`; with these also: node = \"web-1\", lease = \"15s\"
  keep = \"30d\"                     # ended runs; also: keep_runs, keep_mib; unset: all, for ever

  [limits]                          # of runs, not of members and steps; unset: none
  running = 100                     # at once, in place of server.running_max; 0: none starts
  queued = 1000                     # that wait; one more is answered 429; 0: none waits
  each_owner = { running = 10, queued = 50 }  # also: agents, teams, workflows, all_nodes.components

  [agents.writer]                   # or [workflows.writer]
  run = [\"./writer.py\", \"--fast\"]  # input: one line of JSON on stdin; output: stdout
  running = 2                       # its runs at once, besides [limits]; queued: those that wait
  timeout = \"10m\"                  # also: grace, idle, cwd, env, description, model,
                                    # contracts: some of \"agentos\", \"langgraph\", \"native\",
                                    # \"playbook3d\"; without: all; env_clear = true: of our
                                    # environment only PATH

  [agents.finder]                   # a service; `quell help service` says what it can rely on
  url = \"http://127.0.0.1:8000/run\" # input: posted as JSON; answer: JSON, or events
  cancel = \"http://127.0.0.1:8000/stop\"  # posted at a stop; 2xx confirms it
  key_env = \"FINDER_KEY\"          # a variable with a bearer token; also: headers, headers_env,
                                    # retries, connect_timeout, cancel_timeout, confirm

  [agents.model]                    # any endpoint that speaks the chats of OpenAI
  model = { url = \"https://…/v1\", name = \"…\", key_env = \"MODEL_KEY\" }
                                    # also: system, temperature, max_tokens, id, provider, and the
                                    # keys of a service but cancel and cancel_timeout

  [workflows.publish]
  plan = \"publish.toml\"            # as for quell run; one that waits is answered by a contract
  on_worker_lost = \"continue\"      # with a store: runs of a server that was killed go on in the
                                    # next one, behind the steps that had ended; without: fail
  reducers = { log = \"append\" }    # lists that runs add to in LangGraph; run, url also:
                                    # nodes = [\"a\"]; see `quell help process`

  [teams.desk]
  mode = \"coordinate\"              # or: broadcast, sequence; route with choose = KEY, the key of
                                    # the task that names the member
  members = [\"agent/chief\", \"agent/writer\"]
  leader = \"agent/chief\"            # gets task, results, round; yields {\"delegate\":
                                    # [{\"member\", \"task\"}]} for the others, or the output
  max = 5                           # rounds of the leader; also: description,
                                    # on_member_failed, on_member_stopped: go_on, the default,
                                    # with which the team completes, or fail

  [[keys]]                          # a caller, by the key that it sends: bearer token or x-api-key
  subject = \"ops\"
  secret_env = \"OPS_KEY\"           # the variable that holds it
  admin = true                      # or: read_only; teams, ids of teams of Playbook3D; scopes:
                                    # RESOURCE:ACTION or RESOURCE:ID:ACTION with agents, teams,
                                    # workflows, sessions, config, system or *, and read, run (of
                                    # sessions write, delete) or *: \"*:read\", \"agents:a:run\"

  [[tokens]]                        # JSON web tokens that somebody else issues
  algorithm = \"RS256\"              # public_key_file; or HS256 with secret_env
  public_key_file = \"issuer.pem\"   # also: audiences, issuer, subject_claim, default_scopes
                                    # (of several, each needs its issuer)

  [agentos]                         # with the defaults:
  os_id = \"quell\"                  # also: name, db_id
  unknown_runs = \"not-found\"       # or remember: a cancel before its run stops that
  completed_sentinel = false        # a second event after each cancelled one
  close_brackets = true             # events end the tool calls and steps that a stop cut
  error_codes = true                # errors have an error_code
  heartbeat_ms = 15000              # a silent stream gets a comment; 0: none
  quiescent_wait_max_ms = 30000     # the longest ?wait=quiescent
  cors_origins = [\"http://localhost:3000\"]
  # security_key_env = \"OS_KEY\"    # the variable with the one key of this contract

  [langgraph]                       # with the defaults:
  settle_ms = 20                    # how long a cancel is held for the end of its runs
  grace_max_ms = 5000               # the longest metadata.quell_grace_ms; timeout_max_ms is the
                                    # longest quell_timeout_ms, without a default
  timeout_error = true              # a timeout is an error; false: silence, as upstream
  unmasked_errors = false           # the text of every error is shown
  end_event = false                 # a stream ends with an event `end`
  webhook_hosts = []                # that a run's `webhook` may be sent to, wherever they are:
                                    # \"host\", \"host:port\", \"*.domain\"; \"*\", as none: all
                                    # others, at public addresses
  webhook_attempts = 5              # tries of each; 0: none is sent, a run that asks is refused
  webhook_timeout_ms = 10000        # of one try; 0: as above
  webhooks_max = 10000              # owed at once, those of live runs too; 0: as above
  crons_max = 10000                 # in all; crons_owner_max = 1000 of one owner; 0: none is made
  cron_bytes_max = 65536            # of one, as text; 0: as above
  cron_interval_min_ms = 60000      # between two runs of one; 0: each second is the least
  items_owner_max = 10000           # to be stored; items_owner_bytes_max = 67108864; 0: none

  [playbook3d]                      # with the defaults:
  cancel_wait_ms = 5000             # how long a cancel waits for the end
  token_life_ms = 3600000           # of a token of get-tokens
  accounts_prefix = \"\"              # the path before the calls of the accounts host
  api_prefix = \"\"                   # the path before those of the api host
  without_credits = []              # subjects whose starts are answered 402; also: token_secret,
                                    # platform_key, public_url: where clients reach this contract,
                                    # by default the Host of each request
  # [[playbook3d.teams]]            # id, a UUID, and name
  # [[playbook3d.workflows]]        # id, a UUID, name, component, teams

Without keys and tokens everybody who reaches the port may do everything. So it listens on \
loopback only, answers 403 to a Host that is not localhost or an address of loopback (a name can \
be made to mean this machine), and to writes from pages of other origins than its own and those of \
[agentos] cors_origins; bodies must be application/json where the contract has JSON (415). With a \
key none of this applies. A page of another origin may still read what LangGraph shows to all \
(CORS *).

Descriptors (ulimit -n): the soft limit is raised to the hard one, and programs get it as it was. \
Half are for connections, at most 10,000. Streams, waits and starts have three quarters of these, \
one more is answered 503; the rest is for cancels and reads. A cancel that is to wait takes a \
place of the former; if none is left it is carried out and answered at once. When all are taken, \
the connection is closed that has been idle for longest, or taking more than 250 ms to ask. \
A client that takes nothing for 30 s, or less than about 200 KiB, of what is written to it is \
given up.

Log, on stderr:
  lines for people in a terminal, a JSON object on each line otherwise, or as --log-format says; \
colours only in a terminal, and not with NO_COLOR. Why nothing is served is an object only with \
--log-format json. With --log info: each request, with its method, path, status (499 if its client \
left before it was answered) and duration_ms, and each run that a caller started, with its run.id, \
as its caller knows it, run.uuid, which lines about single bodies have too, run.component, \
run.owner, status, quiescent, cause, error and duration_ms. The error is why it failed, at most \
512 bytes of it, and may quote the last lines that a program wrote on stderr. A request has the \
id of its header x-request-id (at most 128 visible characters of ASCII), which the answer then \
has, or a new one. No query, no header, no body, and of a path with a key only its route is logged.

Signals:
  the first one drains: not ready, no new runs, live runs are stopped with grace, streams get their
  last event; the second one aborts what has not ended. Both wait some seconds for what is not
  stored yet, with a database that is away about ten. The third one ends the server at once.
  What is stopped so has ended, cancelled, also with on_worker_lost = \"continue\": only what a
  killed server has left goes on in the next one. Runs that wait for an answer stay paused there.

Runs that wait for an answer (a step of a plan with `wait`):
  GET /v1/runs?status=paused lists them, `pause` of GET /v1/runs/ID is what one asks.
  curl http://127.0.0.1:7777/v1/runs/ID/resume --json '{\"answer\": \"yes\"}'
  answers one. Its owner may, with a scope of its component that ends in :run, and an admin; a key
  with read_only may not. AgentOS and LangGraph have calls of their own (continue, command.resume).

Exit codes:
  0   drained
  1   its lease is lost, its database is away, read-only or has its name in use: start it again;
      or not all is known to be stored, or a third signal ended it: the next start decides the rest
  2   bad usage, bad file (see `quell check`), address or store not to be had: nothing was served

Examples:
  quell serve --demo
  quell serve --config quell.toml --store runs.db --keep 30d
  QUELL_STORE=postgres://… quell serve --store-env QUELL_STORE --node web-1
  quell serve --demo --listen 127.0.0.1:0 --set agentos.completed_sentinel=true
  OPS_KEY=… quell serve --config quell.toml --listen 0.0.0.0:7777";

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
