"""`POST /runs/cancel` of LangGraph against its OpenAPI document.

Known, unknown, finished, foreign and malformed ids, by ids and by status; with the key, without
one, with a wrong one; then whatever schemathesis makes up.
"""

import uuid

import pytest

from demo import GRAPHS, HTTP, KEY, NODES, URL, X_API_KEY, Probe, fresh, until
from documents import MADE_UP, Document

DOCUMENT = Document("langgraph-cancel-runs", "/runs/cancel", URL)
WRONG = [{}, {"x-api-key": "wrong"}, {"Authorization": "Bearer wrong"}]


def cancel(body, headers=X_API_KEY, **query):
    return DOCUMENT.send(headers, body=body, query=query, media_type="application/json")


def by_ids(thread, *runs):
    return {"thread_id": thread, "run_ids": list(runs)}


def post(path, body):
    answer = HTTP.post(URL + path, json=body, headers=X_API_KEY)
    answer.raise_for_status()
    return answer.json()


def start(graph, **input):
    thread = post("/threads", {})["thread_id"]
    body = {"assistant_id": GRAPHS[graph], "input": input}
    return thread, post(f"/threads/{thread}/runs", body)["run_id"]


def status(thread, run):
    answer = HTTP.get(f"{URL}/threads/{thread}/runs/{run}", headers=X_API_KEY)
    return answer.json()["status"] if answer.status_code == 200 else answer.status_code


def live():
    probe = Probe()
    thread, run = start("slow", ms=30_000, chunk_ms=20, tag=probe.name)
    probe.wait_for_work()
    return probe, thread, run


def finished():
    thread, run = start("echo")
    until(lambda: status(thread, run) == "success")
    return thread, run


def is_refusal(answer):
    return set(answer.json()) == {"detail"} and type(answer.json()["detail"]) is str


@pytest.mark.parametrize("action", [None, "interrupt", "rollback"])
def test_a_known_run_is_204_and_its_work_stops(action):
    probe, thread, run = live()
    query = {"action": action} if action else {}
    answer = cancel(by_ids(thread, run), **query)
    assert (answer.status_code, answer.content) == (204, b"")
    until(lambda: status(thread, run) == (404 if action == "rollback" else "interrupted"))
    probe.assert_still()
    assert cancel(by_ids(thread, run), **query).status_code == 404


@pytest.mark.parametrize("selected", ["pending", "running", "all"])
def test_runs_are_selected_by_status(selected):
    probe, thread, run = live()
    # It starts on what the one before it leaves, whose tag is among that: it has another one.
    body = {"assistant_id": GRAPHS["echo"], "input": {"tag": fresh("probe")}}
    queued = post(f"/threads/{thread}/runs", body)["run_id"]
    assert cancel({"status": selected}).status_code == 204
    stops = {"pending": [queued], "running": [run], "all": [queued, run]}[selected]
    for each in stops:
        until(lambda each=each: status(thread, each) == "interrupted")
    if run in stops:
        probe.assert_still()
    else:
        assert status(thread, run) == "running"
        assert cancel(by_ids(thread, run)).status_code == 204


def test_unknown_finished_and_foreign_runs_are_404():
    probe, thread, run = live()
    theirs, over = finished()
    unknown = str(uuid.uuid4())
    for body in [
        by_ids(thread, unknown),
        by_ids(unknown, unknown),
        by_ids(theirs, over),
        by_ids(theirs, run),
        by_ids(thread, over),
        by_ids(thread),
    ]:
        answer = cancel(body)
        assert answer.status_code == 404 and is_refusal(answer), body
    assert probe.count("dropped") == 0
    assert cancel(by_ids(thread, run)).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "done"},
        {"status": 1},
        {"thread_id": str(uuid.UUID(int=0))},
        {"run_ids": [str(uuid.UUID(int=0))]},
        by_ids("not-a-uuid", str(uuid.UUID(int=0))),
        by_ids(str(uuid.UUID(int=0)), "not-a-uuid"),
        by_ids(str(uuid.UUID(int=0)), None),
        {"thread_id": str(uuid.UUID(int=0)), "run_ids": "x"},
        [],
        None,
        "text",
    ],
    ids=str,
)
def test_a_malformed_body_is_422(body):
    answer = cancel(body)
    assert answer.status_code == 422 and is_refusal(answer)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"status":"running"', b"\0"])
def test_what_is_no_json_is_422(body):
    headers = X_API_KEY | {"Content-Type": "application/json"}
    answer = HTTP.post(f"{URL}/runs/cancel", content=body, headers=headers)
    assert answer.status_code == 422 and is_refusal(answer)


@pytest.mark.skipif(not KEY, reason="the server asks for no key")
@pytest.mark.parametrize("headers", WRONG, ids=["none", "wrong", "bearer"])
def test_without_the_key_every_body_is_401_and_nothing_stops(headers):
    probe, thread, run = live()
    # The document has no 401: it is of a server that asks for no key. The body is its schema of
    # errors all the same.
    for body in [by_ids(thread, run), by_ids(*finished()), {"status": "all"}, {}]:
        answer = HTTP.post(f"{URL}/runs/cancel", json=body, headers=headers)
        assert answer.status_code == 401 and is_refusal(answer)
    assert probe.count("dropped") == 0
    assert cancel(by_ids(thread, run)).status_code == 204


@DOCUMENT.schema.parametrize()
@MADE_UP
def test_whatever_is_made_up_is_as_documented(case):
    DOCUMENT.check(case, X_API_KEY)
