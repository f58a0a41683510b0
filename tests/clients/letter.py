# A program with nodes (`quell help process`), as an assistant of LangGraph: programs.toml.
import json, os, sys

ORDER = ["draft", "send"]


def say(next, **more):
    print(json.dumps({"event": "step", "next": next, **more}), flush=True)


def is_one_of(nodes, names):
    return any(name == "*" or name in nodes for name in names)


asked = json.loads(os.environ.get("QUELL_NODES", "{}"))
begins, before, after = (
    asked.get(key, []) for key in ("next", "interrupt_before", "interrupt_after")
)
state = {**json.load(sys.stdin), "log": []}
now = begins or ORDER[:1]
say(now)
held = not begins and is_one_of(now, before)
while now and not held:
    next = ORDER[ORDER.index(now[0]) + 1 :][:1]
    state["log"].append(now[0])
    say(next, values=state)
    held = is_one_of(now, after) or is_one_of(next, before)
    now = next
