//! The help of `quell serve`, with every key of `quell.toml`.

/// What `quell serve` does.
pub(crate) const SERVE_ABOUT: &str = "\
Serve agents, teams and workflows over HTTP, so that runs can be started, watched and cancelled.

One engine is behind all contracts, on one port: AgentOS (/agents, /teams, /workflows) and \
LangGraph (/threads, /assistants, /runs) at /, Playbook3D under /playbook3d, the native API under \
/v1 (/openapi.json describes it and LangGraph, /openapi/agentos.json AgentOS, \
/playbook3d/openapi.json Playbook3D; /healthz and /readyz say how it is). A browser gets a page at \
/ui, and at /; it shows what these describe, too. GET /v1/components lists what \
there is to start, /v1/runs the runs, \
/v1/stops the stops that are under way and what each waits for, /v1/nodes the servers on the \
database, /v1/metrics what this one has in numbers; POST /v1/runs/cancel stops what a filter \
means, or would with \"dry_run\": true in its body. A run that \
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
ended with their stop, when the next one opens it; those that wait for an answer do so still, and \
those with a due time (after_seconds) that had not begun begin. The \
guardian tells the next server that their programs have ended; if it was killed too, nothing does, \
and of services that they had asked nothing does either: such a run is not quiescent, and names \
them. \
Runs of a plan with on_worker_lost = \"continue\" go on by themselves, as their next attempts \
(QUELL_ATTEMPT), unless they were stopped or the plan has changed: steps whose end is stored are \
not run again. The step that was cut is, and so are a parallel step and a team as a whole, and a \
step that had ended in the last moment before: what it does outside may be done twice. Stops and \
ends never wait for the disk; who is told of an end by AgentOS or a stream with ids is told it \
when it is stored. HTTP shows the runs of earlier servers as well. Nothing leaves the \
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

/// Below the help of `quell serve`.
pub(crate) const SERVE_AFTER_HELP: &str = "\
The file:
  listen = \"127.0.0.1:7777\"

  [server]
  grace = \"5s\"                     # between a stop and abort
  abort_wait = \"1s\"                # between abort and abandon
  running_max = 100                 # runs at once; the others are queued
                                    # (without: 1 for 16 descriptors, at most 256; programs, those
                                    # of plans as well, wait while 1 for 16 descriptors runs); one
                                    # caller may have all of them, and the others wait, without
                                    # each_owner of [limits]
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
                                    # Both are for all callers together: whoever comes first may
                                    # have all, until they end. What each one may have at most:
  each_owner = { running = 10, queued = 50 }
                                    # callers without a key are one owner; also: agents, teams,
                                    # workflows, in the same way; all_nodes = { running, … } on all
                                    # servers of a database together, with these keys but queued,
                                    # and components

  [agents.writer]                   # or [workflows.writer]
  run = [\"./writer.py\", \"--fast\"]  # input: one line of JSON on stdin; output: stdout
  running = 2                       # its runs at once, besides [limits]; queued: those that wait
  name = \"The writer\"              # as people read it; without: its id
  history = 3                       # earlier runs of its AgentOS session that a run gets as
                                    # `history`, at most 100; unset: none (quell help answers)
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
  reducers = { log = \"append\" }    # lists that runs add to in LangGraph, or \"messages\", by
                                    # their ids; run, url also:
                                    # nodes = [\"a\"]; see `quell help process`

  [teams.desk]
  mode = \"coordinate\"              # or: broadcast, sequence; route with choose = KEY, the key of
                                    # the task that names the member
  members = [\"agent/chief\", \"agent/writer\"]
  leader = \"agent/chief\"            # gets task, results, round; yields {\"delegate\":
                                    # [{\"member\", \"task\"}]} for the others, or the output
  max = 5                           # rounds of the leader; also: name, description, history,
                                    # on_member_failed, on_member_stopped: go_on, the default,
                                    # with which the team completes, or fail

  [[keys]]                          # a caller, by the key that it sends: bearer token or x-api-key
  subject = \"ops\"
  secret_env = \"OPS_KEY\"           # the variable that holds it; or secret_file, a file, whose
                                    # secret can be exchanged (see Signals): a line of ASCII
  admin = true                      # or: read_only; teams, ids of teams of Playbook3D; scopes:
                                    # RESOURCE:ACTION or RESOURCE:ID:ACTION with agents, teams,
                                    # workflows, sessions, config, system or *, and read, run (of
                                    # sessions write, delete) or *: \"*:read\", \"agents:a:run\";
                                    # memories, knowledge, evals, metrics, traces as sessions

  [[tokens]]                        # JSON web tokens that somebody else issues
  algorithm = \"RS256\"              # or ES256, with public_key_file; or HS256 with secret_env or
                                    # secret_file, of 32 bytes or more; RSA keys have 2048 to
                                    # 4096 bits
  public_key_file = \"issuer.pem\"   # also: audiences, issuer, subject_claim, default_scopes
                                    # (of several, each needs its issuer)
  # jwks_url = \"https://…/jwks\"    # in place of both: the issuer's set of keys, at most 256 KiB
                                    # and 64 keys, for RS256 and ES256. It is asked at the start,
                                    # every five minutes, at SIGHUP, and, at most twice a minute,
                                    # for a key that a token names; without an answer the former
                                    # keys stay, and none if it publishes none. At SIGHUP one that
                                    # is new has to answer. http:// on this machine only. Or
                                    # jwks_file

  [tls]                             # https in place of http
  cert_file = \"server.pem\"        # the certificate, and those of the authorities between
  key_file = \"server.key\"         # its private key; both in PEM

  [agentos]                         # with the defaults:
  os_id = \"quell\"                  # also: name, db_id; description, by default none
  unknown_runs = \"not-found\"       # or remember: a cancel before its run stops that
  completed_sentinel = false        # a second event after each cancelled one
  close_brackets = true             # events end the tool calls and steps that a stop cut
  error_codes = true                # errors have an error_code
  heartbeat_ms = 15000              # a silent stream gets a comment; 0: none
  quiescent_wait_max_ms = 30000     # the longest ?wait=quiescent
  cors_origins = [\"http://localhost:3000\"]
  # security_key_env = \"OS_KEY\"    # the variable with the one key of this contract;
                                    # the others go by [[keys]] and [[tokens]] alone

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
be made to mean this machine), and to writes and web sockets from pages of other origins than its \
own and those of [agentos] cors_origins; bodies must be application/json where the contract has \
JSON (415). With a key none of this applies but the origins of web sockets. A page of another \
origin may still read what LangGraph shows to all (CORS *).

Descriptors (ulimit -n): the soft limit is raised to the hard one, and programs get it as it was. \
Half are for connections, more from 6,144 on, at most 14,000. Streams, waits, starts and web \
sockets have three quarters of these, one more is answered 503; the rest is for cancels and reads, \
the last eighth for cancels alone, and up to a sixteenth for /healthz and its like. A request \
counts when all of it has come. \
A cancel that is to wait takes a place of the former; if none is left it is carried out and \
answered at once. When all are taken, the connection is closed that has been idle for longest, or \
taking more than 250 ms to ask. \
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
has, or a new one; with a header traceparent (W3C) also trace.id and trace.parent. The lines of \
the begin and the end of a run have those of the request that started it. \
No query, no header, no body, and of a path with a key only its route is logged.

Traces, of a quell that is built with them (cargo install … --features otel):
  the span of each run, below that of the run above it, goes to the collector that \
OTEL_EXPORTER_OTLP_ENDPOINT names (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT), over OTLP: HTTP with \
protobuf, by itself once every 5 s. Without that variable, and with OTEL_SDK_DISABLED=true, none \
does. The span of a run that a request with a traceparent starts is below the span that this \
names. Other variables: OTEL_EXPORTER_OTLP_HEADERS, which no log shows; OTEL_SERVICE_NAME, by \
default quell; OTEL_RESOURCE_ATTRIBUTES; OTEL_TRACES_SAMPLER and _ARG, by default \
parentbased_always_on; OTEL_BSP_SCHEDULE_DELAY, _MAX_QUEUE_SIZE (2048 spans) and \
_MAX_EXPORT_BATCH_SIZE (512). No run and no stop waits for a collector: what ends while the queue \
is full is lost, and so is what is not taken within 10 s, of which the log warns at most once a \
minute. A server that ends waits up to 5 s for it; the third signal ends that, too.

Signals:
  SIGHUP ends nothing: keys, tokens and the certificate are read again, and the tables of them in
  the file of the configuration; the rest of that counts at the next start. If any of it is wrong
  all stays as it was, and the log says why; a server without keys gets none. Requests of a key
  that is gone are refused from then on; streams that it had opened go on to their end, as do its
  runs. Crons of LangGraph that it had made go on making runs: an admin finds them by user_id, the
  subject of the key (POST /runs/crons/search), and deletes them (DELETE /runs/crons/CRON_ID).
  Variables stay those of the start: what is to be exchanged is in files. A server whose
  terminal is gone, which is SIGHUP as well, ends as by SIGTERM; nohup keeps SIGHUP from it.
  Of the others the first one drains: not ready, no new runs, live runs are stopped with grace,
  streams get their last event; the second one aborts what has not ended. Both wait some seconds
  for what is not stored yet, with a database that is away ten to sixteen. The third one ends the
  server at once.
  What is stopped so has ended, cancelled, also with on_worker_lost = \"continue\": only what a
  killed server has left goes on in the next one. Runs that wait for an answer stay paused there,
  and those with a due time that have not begun begin there.

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
