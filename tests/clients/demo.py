"""The server under test, and all that the suites know of its demo data.

QUELL_URL names the server, QUELL_KEY the key that it asks for, if it does. QUELL_PREFIX is what
stands before the name of every component: a renamed catalog passes too. If QUELL_URL is that of a
proxy, QUELL_NODES names the servers behind it.
"""

import os
import time
import uuid

import httpx

URL = os.environ["QUELL_URL"].rstrip("/")
NODES = os.environ.get("QUELL_NODES", "").split() or [URL]
KEY = os.environ.get("QUELL_KEY") or None
PREFIX = os.environ.get("QUELL_PREFIX", "")


def renamed(**names):
    return {what: PREFIX + name for what, name in names.items()}


# The one place that knows what is served: components of AgentOS by what they are here for, graphs
# of LangGraph, workflows of Playbook3D, and the one that every contract has.
AGENTOS = renamed(
    agent="slow-agent",
    short="short-agent",
    silent="silent-agent",
    team="slow-team",
    flow="slow-workflow",
    functions="fn-workflow",
    instant="short-workflow",
)
GRAPHS = renamed(
    **{
        name: name
        for name in (
            "echo",
            "slow",
            "steps",
            "parallel",
            "nested",
            "failing",
            "interrupting",
            "stubborn",
        )
    }
)
WORKFLOWS = renamed(slow="slow", short="short", stubborn="stubborn")
EVERYWHERE = PREFIX + "everywhere"

PLAYBOOK3D = f"{URL}/playbook3d"
ALPHA = "aaaaaaaa-0000-4000-8000-000000000001"
# Keys of members: alice and eve of Alpha, eve without credits, bob of Beta.
ALICE = "11111111-1111-4111-8111-111111111111"
BOB = "22222222-2222-4222-8222-222222222222"
EVE = "33333333-3333-4333-8333-333333333333"

BEARER = {"Authorization": f"Bearer {KEY}"} if KEY else {}
X_API_KEY = {"x-api-key": KEY} if KEY else {}

HTTP = httpx.Client(timeout=30)


def fresh(what):
    return f"{what}-{uuid.uuid4()}"


class Probe:
    """What component code really did: the bodies count themselves, whatever the records say. Each
    server knows its own, so all of them are asked."""

    def __init__(self, name=None):
        self.name = name or fresh("probe")

    def read(self):
        seen = {"probe": self.name, "ticks": {}, "marks": []}
        for node in NODES:
            answer = HTTP.get(f"{node}/_bench/ticks", params={"probe": self.name})
            answer.raise_for_status()
            for body, ticks in answer.json()["ticks"].items():
                seen["ticks"][body] = seen["ticks"].get(body, 0) + ticks
            seen["marks"] += answer.json()["marks"]
        return seen

    def ticks(self):
        return sum(self.read()["ticks"].values())

    def marks(self):
        return self.read()["marks"]

    def count(self, mark):
        return sum(each.endswith(f":{mark}") for each in self.marks())

    def is_at_work(self, bodies=1):
        return len(self.read()["ticks"]) >= bodies

    def wait_for_work(self, bodies=1):
        until(lambda: self.is_at_work(bodies))

    def assert_still(self):
        """Fails if anything ticks from here on."""
        before = self.read()
        time.sleep(0.3)
        assert self.read() == before, "work went on after the run was reported stopped"


def until(wanted, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := wanted()):
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.01)
    return found
