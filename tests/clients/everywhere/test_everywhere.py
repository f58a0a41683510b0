"""I40: every contract shows the same truth.

`everywhere` is the one component that all contracts have. A run that is started through one and
cancelled through another reads the same through all of them, from the next read on.
"""

import itertools
import uuid

import pytest

from demo import ALICE, ALPHA, BEARER, EVERYWHERE, HTTP, NODES, URL, X_API_KEY, Probe, until
from sdks import Python


def accepted(answer):
    assert answer.is_success, answer.text
    return answer


class AgentOs:
    """A run of a workflow, in the session that is the team's."""

    live, over = "RUNNING", "CANCELLED"
    runs = f"{URL}/workflows/{EVERYWHERE}/runs"

    def start(self, message):
        run = str(uuid.uuid4())
        form = {"message": message, "run_id": run, "session_id": ALPHA}
        more = {"background": "true", "stream": "false"}
        accepted(HTTP.post(self.runs, data=form | more, headers=BEARER))
        return run

    def cancel(self, run):
        accepted(HTTP.post(f"{self.runs}/{run}/cancel", headers=BEARER))

    def read(self, run):
        query = {"session_id": ALPHA}
        return accepted(HTTP.get(f"{self.runs}/{run}", params=query, headers=BEARER)).json()


class LangGraph:
    """A run of a graph, in the thread that is the team's."""

    live, over = "running", "interrupted"
    runs = f"{URL}/threads/{ALPHA}/runs"

    def start(self, message):
        body = {"assistant_id": EVERYWHERE, "input": {"message": message}}
        return accepted(HTTP.post(self.runs, json=body, headers=X_API_KEY)).json()["run_id"]

    def cancel(self, run):
        accepted(HTTP.post(f"{self.runs}/{run}/cancel", headers=X_API_KEY))

    def cancel_by_ids(self, run):
        body = {"thread_id": ALPHA, "run_ids": [run]}
        accepted(HTTP.post(f"{URL}/runs/cancel", json=body, headers=X_API_KEY))

    def read(self, run):
        return accepted(HTTP.get(f"{self.runs}/{run}", headers=X_API_KEY)).json()


class Bulk(LangGraph):
    cancel = LangGraph.cancel_by_ids


class Playbook3d:
    """A run of a workflow, of the team."""

    live, over = "running", "canceled"

    def __init__(self):
        self.alice = Python(ALICE)

    def start(self, message):
        workflows = self.alice.workflows()
        workflow = next(each for each in workflows if each["name"] == EVERYWHERE)
        assert workflow["team_id"] == ALPHA
        return self.alice.run_workflow(workflow, {"message": message})["run_id"]

    def cancel(self, run):
        self.alice.call("POST", f"{self.alice.api}/cancel/{ALPHA}/{run}")

    def read(self, run):
        return self.alice.run(run)


class Native:
    """The same run, as quell itself shows it."""

    live, over = "running", "cancelled"
    runs = f"{URL}/v1/runs"

    def cancel(self, run):
        accepted(HTTP.post(f"{self.runs}/{run}/cancel", headers=BEARER))

    def read(self, run):
        row = accepted(HTTP.get(f"{self.runs}/{run}", headers=BEARER)).json()
        return {"status": row["status"], "quell": row}


READERS = [AgentOs, LangGraph, Playbook3d, Native]
STARTERS = [AgentOs, LangGraph, Playbook3d]
CANCELLERS = [AgentOs, LangGraph, Bulk, Playbook3d, Native]


@pytest.fixture(scope="module", autouse=True)
def thread():
    body = {"thread_id": ALPHA, "if_exists": "do_nothing"}
    accepted(HTTP.post(f"{URL}/threads", json=body, headers=X_API_KEY))


def names(value):
    return value.__name__ if isinstance(value, type) else None


@pytest.mark.parametrize(
    ("starter", "canceller"), list(itertools.product(STARTERS, CANCELLERS)), ids=names
)
def test_i40_a_run_that_one_starts_and_another_cancels_reads_the_same_everywhere(
    starter, canceller
):
    probe, readers = Probe(), [reader() for reader in READERS]
    run = starter().start(f"probe={probe.name}")
    probe.wait_for_work(bodies=4)
    if len(NODES) > 1:
        # What another server has is read as it is stored: behind by a commit.
        for reader in readers:
            until(lambda reader=reader: reader.read(run)["quell"]["status"] == "running")
    for reader in readers:
        seen = reader.read(run)
        assert (seen["status"], seen["quell"]["status"]) == (reader.live, "running")
    canceller().cancel(run)
    for reader in readers:
        seen = reader.read(run)["quell"]
        assert seen["status"] in ("stopping", "cancelled"), reader
        assert seen["cause"]["kind"] == "user-request"
    for reader in readers:
        until(lambda reader=reader: reader.read(run)["status"] == reader.over)
    causes = [reader.read(run)["quell"] for reader in readers]
    assert all(seen["quiescent"] and seen["abandoned"] == [] for seen in causes)
    assert all(seen["cause"] == causes[0]["cause"] for seen in causes)
    assert probe.count("dropped") == 4 and probe.count("done") == 0
    probe.assert_still()


@pytest.mark.parametrize("starter", STARTERS, ids=names)
def test_i40_a_run_that_completes_does_so_everywhere(starter):
    run = starter().start("ticks=2 tick_ms=1")
    words = {AgentOs: "COMPLETED", LangGraph: "success", Playbook3d: "executed"}
    for reader, word in words.items():
        until(lambda reader=reader, word=word: reader().read(run)["status"] == word)
    for reader in READERS:
        assert reader().read(run)["quell"]["status"] == "completed"
