"""Rows of the contract's tables and of its choices that `test_langgraph.py` has not, each by the
released Python client. The witness decides that work has stopped."""

import asyncio
import json
import time
import uuid
from datetime import datetime

import httpx
import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import (
    BadRequestError,
    ConflictError,
    NotFoundError,
    UnprocessableEntityError,
)

from demo import GRAPHS, HTTP, KEY, NODES, PREFIX, URL, Probe, until
from langgraph_calls import LONG, assert_stopped, gone, made, tag, ticking, until_ticking

pytestmark = pytest.mark.skipif(
    bool(PREFIX or KEY), reason="names of components and keys make no difference"
)


async def status(client, thread, run):
    return (await client.runs.get(thread, run))["status"]


# Sections 1 to 4: the server, pages of lists, errors.


async def test_the_server_says_what_it_is_and_counts_what_executes(client):
    assert await client.http.get("/ok") == {"ok": True, "services": {}}
    about = await client.http.get("/info")
    assert type(about["version"]) is str and about["flags"]["assistants"]
    counts = {"format": "json"}
    before = (await client.http.get("/metrics", params=counts))["workers"]["active"]
    thread, run, probe = await ticking(client)
    during = await client.http.get("/metrics", params=counts)
    # Of several servers each counts its own.
    assert during["workers"]["active"] >= (before + 1 if len(NODES) == 1 else 0)
    await client.runs.cancel(thread, run, wait=True)
    await assert_stopped(probe)


async def test_a_list_has_pages(client):
    name = f"n-{uuid.uuid4()}"
    ids = [
        (await client.assistants.create(GRAPHS["echo"], name=name))["assistant_id"]
        for _ in range(3)
    ]
    found, offset = [], 0
    while offset is not None:
        page = await client.assistants.search(
            name=name, limit=2, offset=offset, response_format="object"
        )
        found += [row["assistant_id"] for row in page["assistants"]]
        offset = page["next"] and int(page["next"])
    assert sorted(found) == sorted(ids)
    for id in ids:
        await client.assistants.delete(id)


async def test_what_is_wrong_with_a_create_is_told_and_nothing_is_made(client):
    thread, unknown = await made(client), str(uuid.uuid4())
    echo = GRAPHS["echo"]
    for error, words, call in [
        (UnprocessableEntityError, "Invalid assistant: 'nope'", (thread, "nope")),
        (NotFoundError, "Thread or assistant not found.", (thread, unknown)),
        (NotFoundError, "Thread or assistant not found.", (unknown, echo)),
        (UnprocessableEntityError, "Invalid thread ID: must be a UUID", ("x", echo)),
    ]:
        with pytest.raises(error) as refused:
            await client.runs.create(*call, input={})
        assert refused.value.body["detail"].startswith(words)
    for error, words, more in [
        (
            BadRequestError,
            "Cannot specify both",
            {"config": {"configurable": {"a": 1}}, "context": {"b": 2}},
        ),
        (UnprocessableEntityError, "stream_mode", {"stream_mode": "nope"}),
        (UnprocessableEntityError, "multitask_strategy", {"multitask_strategy": "nope"}),
        (UnprocessableEntityError, "metadata.quell_grace_ms", {"metadata": {"quell_grace_ms": 0}}),
        (
            UnprocessableEntityError,
            "metadata.quell_timeout_ms",
            {"metadata": {"quell_timeout_ms": "1"}},
        ),
    ]:
        with pytest.raises(error) as refused:
            await client.runs.create(thread, echo, **{"input": {}} | more)
        assert refused.value.body["detail"].startswith(words) and len(refused.value.body) == 1
    with pytest.raises(BadRequestError, match="You must provide a thread_id when resuming"):
        await client.runs.create(None, echo, command={"resume": "x"})
    assert await client.runs.list(thread) == []
    assert (await client.threads.get(thread))["status"] == "idle"


async def test_a_thread_that_is_not_there_is_made_if_asked(client):
    thread = str(uuid.uuid4())
    values = await client.runs.wait(
        thread, GRAPHS["echo"], input={"text": "x"}, if_not_exists="create"
    )
    assert values["log"] == ["echo:x"]
    assert (await client.threads.get(thread))["values"] == values


# Section 5: how runs are made.


async def test_null_input_on_an_empty_thread_fails_and_says_so(client):
    thread = await made(client)
    with pytest.raises(Exception, match="EmptyInputError: Received no input for __start__"):
        await client.runs.wait(thread, GRAPHS["echo"], input=None)
    assert (await client.threads.get(thread))["status"] == "error"
    values = await client.runs.wait(thread, GRAPHS["steps"], input={"ms": 1})
    assert await client.runs.wait(thread, GRAPHS["steps"], input=None) == values


async def test_what_has_no_effect_is_accepted_and_shown(client):
    thread, more = await made(client), {"durability": "sync", "feedback_keys": ["k"]}
    stream = client.runs.stream(thread, GRAPHS["echo"], input={}, **more)
    parts = [part async for part in stream]
    assert parts[-1].data["log"] == ["echo:"]
    [run] = await client.runs.list(thread)
    assert run["kwargs"]["durability"] == "sync" and run["kwargs"]["feedback_keys"] == ["k"]


async def test_a_delayed_run_is_shown_with_the_time_at_which_it_is_due(client):
    thread, before = await made(client), time.time()
    run = await client.runs.create(thread, GRAPHS["echo"], input={}, after_seconds=1)
    due = datetime.fromisoformat(run["created_at"]).timestamp()
    assert due >= before + 0.9 and run["status"] == "pending"
    await client.runs.join(thread, run["run_id"])
    assert time.time() >= due - 0.1


async def test_a_stateless_run_may_keep_its_thread(client):
    text = tag()
    run = await client.runs.create(
        None, GRAPHS["echo"], input={"text": text}, on_completion="keep"
    )
    values = await client.runs.join(run["thread_id"], run["run_id"])
    assert values == {"text": text, "log": [f"echo:{text}"]}
    assert await status(client, run["thread_id"], run["run_id"]) == "success"
    assert (await client.threads.get(run["thread_id"]))["values"] == values


@pytest.mark.parametrize("graph", ["slow", "stubborn"])
@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
async def test_the_next_run_takes_the_place_of_all_live_ones_and_never_overlaps(
    client, graph, strategy
):
    thread = await made(client)
    await client.runs.wait(thread, GRAPHS["echo"], input={"text": "a"})
    grace = {"metadata": {"quell_grace_ms": 300}}
    _, first, probe = await ticking(client, graph, thread, **grace)
    queued = await client.runs.create(thread, GRAPHS["echo"], input={"text": "queued"})
    after = tag()
    taken = await client.runs.create(
        thread, GRAPHS["slow"], input={"ms": 100, "chunk_ms": 10, "tag": after},
        multitask_strategy=strategy,
    )
    await until_ticking(after)
    # The new one has ticked, so the old one does not any more.
    await assert_stopped(probe)
    values = await client.runs.join(thread, taken["run_id"])
    assert values["log"] == ["echo:a", "slow:done"]
    for run in (first, queued["run_id"]):
        if strategy == "rollback":
            await gone(client, thread, run)
        else:
            read = await client.runs.get(thread, run)
            assert (read["status"], read["quell"]["cause"]["kind"]) == ("interrupted", "superseded")
    assert (await client.threads.get(thread))["status"] == "idle"


async def test_a_busy_thread_refuses_in_words_that_tell_nothing_of_its_run(client):
    thread, run, probe = await ticking(client)
    with pytest.raises(ConflictError) as refused:
        await client.runs.create(thread, GRAPHS["echo"], input={}, multitask_strategy="reject")
    assert refused.value.body == {
        "detail": "Thread is already running a task. Wait for it to finish or choose a different "
        "multitask strategy."
    }
    assert [row["run_id"] for row in await client.runs.list(thread)] == [run]
    await client.threads.delete(thread)
    await assert_stopped(probe)


async def test_a_repeated_create_starts_nothing_twice(client):
    thread, probe = await made(client), tag()
    more = {"input": {**LONG, "tag": probe}, "headers": {"Idempotency-Key": tag()}}
    runs = [await client.runs.create(thread, GRAPHS["slow"], **more) for _ in range(3)]
    assert len({run["run_id"] for run in runs}) == 1
    with pytest.raises(ConflictError, match="different request"):
        await client.runs.create(thread, GRAPHS["echo"], **more)
    await until_ticking(probe)
    await client.runs.cancel(thread, runs[0]["run_id"], wait=True)
    await assert_stopped(probe)
    assert Probe(probe).count("start") == 1


# Sections 6 and 7: pauses, waits and joins.


async def test_a_pause_is_no_cancel_and_goes_on_with_its_answer(client):
    thread, graph = await made(client), GRAPHS["interrupting"]
    paused = await client.runs.wait(thread, graph, input={})
    [asked] = paused["__interrupt__"]
    assert asked["value"] == {"question": "go on?"}
    [run] = await client.runs.list(thread)
    assert (run["status"], run["quell"]["status"]) == ("success", "paused")
    row = await client.threads.get(thread)
    assert row["status"] == "interrupted"
    assert [each["id"] for each in sum(row["interrupts"].values(), [])] == [asked["id"]]
    parts = [
        part
        async for part in client.runs.stream(
            thread, graph, command={"resume": "yes"}, stream_mode=["values", "updates"]
        )
    ]
    assert parts[-1].data["log"] == ["answer:yes"]
    assert (await client.threads.get(thread))["status"] == "idle"
    parts = [
        part
        async for part in client.runs.stream(thread, graph, input={}, stream_mode="updates")
    ]
    assert parts[-1].data["__interrupt__"][0]["value"] == {"question": "go on?"}
    run = parts[0].data["run_id"]
    await client.runs.cancel(thread, run, wait=True)
    assert await status(client, thread, run) == "interrupted"
    assert (await client.threads.get(thread))["interrupts"] == {}


async def test_a_wait_may_return_the_error_and_a_run_that_is_not_there_is_one(client):
    thread = await made(client)
    told = await client.runs.wait(thread, GRAPHS["failing"], input={}, raise_error=False)
    assert told == {"__error__": {"error": "ValueError", "message": "boom"}}
    missing = {"error": "HTTPException", "message": "404: Run not found"}
    run = str(uuid.uuid4())
    assert await client.runs.join(thread, run) == {"__error__": missing}
    parts = [part async for part in client.runs.join_stream(thread, run)]
    assert [(part.event, part.data) for part in parts] == [("error", missing)]


async def test_words_of_an_unknown_class_are_masked(client):
    thread = await made(client)
    with pytest.raises(Exception, match="An internal error occurred"):
        await client.runs.wait(thread, "broken", input={})
    assert (await client.threads.get(thread))["error"]["message"] == "An internal error occurred"


async def test_a_timeout_is_told_by_a_stream_and_keeps_the_values(client):
    thread, probe = await made(client), tag()
    told = {"error": "TimeoutError", "message": "Run exceeded its time limit of 300 ms"}
    parts = [
        part
        async for part in client.runs.stream(
            thread,
            GRAPHS["steps"],
            input={**LONG, "tag": probe},
            metadata={"quell_timeout_ms": 300},
        )
    ]
    assert (parts[-1].event, parts[-1].data) == ("error", told)
    await assert_stopped(probe)
    row = await client.threads.get(thread)
    assert (row["status"], row["error"], row["values"]["log"]) == ("error", told, ["before"])


class Cut(httpx.AsyncHTTPTransport):
    """Breaks the first body of each call behind its first piece."""

    def __init__(self):
        super().__init__()
        self.calls = []

    async def handle_async_request(self, request):
        response = await super().handle_async_request(request)
        self.calls.append(f"{request.method} {request.url.path}")
        if request.url.path.endswith(("/stream", "/wait")) and request.method == "POST":
            response.stream = CutStream(response.stream)
        return response


class CutStream(httpx.AsyncByteStream):
    def __init__(self, whole):
        self.whole = whole

    async def __aiter__(self):
        async for piece in self.whole:
            yield piece
            raise httpx.RemoteProtocolError("cut")

    async def aclose(self):
        await self.whole.aclose()


@pytest.fixture
async def cutting():
    cut = Cut()
    async with httpx.AsyncClient(base_url=URL, transport=cut, timeout=30) as http:
        yield LangGraphClient(http), cut.calls


def told_by_every_server(path, headers=None):
    """What each server says of a run that has ended, without what keeps the answer alive."""
    for node in NODES:
        answer = HTTP.get(f"{node}{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        yield answer.text.replace(": heartbeat\n", "").strip()


@pytest.mark.parametrize("is_stateless", [False, True])
async def test_a_client_whose_stream_is_cut_comes_back_by_location(cutting, is_stateless):
    client, calls = cutting
    thread = None if is_stateless else await made(client)
    parts = [
        part
        async for part in client.runs.stream(
            thread,
            GRAPHS["slow"],
            input={"ms": 300, "chunk_ms": 50},
            stream_mode=["values", "custom"],
            stream_resumable=True,
        )
    ]
    assert parts[-1].data["log"] == ["slow:done"]
    ids = [part.id for part in parts]
    assert ids == sorted(set(ids)), "nothing twice"
    back = f"/runs/{parts[0].data['run_id']}/stream"
    assert f"GET {back}" in [call.replace(f"/threads/{thread}", "") for call in calls]
    if is_stateless:
        # Who comes back behind the end is told by every server what is missing.
        for text in told_by_every_server(back, {"Last-Event-ID": ids[1]}):
            missing = [line[4:] for line in text.splitlines() if line.startswith("id: ")]
            assert missing == ids[2:] and "slow:done" in text


@pytest.mark.filterwarnings("ignore:Request failed")
@pytest.mark.parametrize("is_stateless", [False, True])
async def test_a_client_whose_wait_is_cut_comes_back_by_location(cutting, is_stateless):
    client, calls = cutting
    thread = None if is_stateless else await made(client)
    # Its first piece is the line that keeps it alive, after five seconds.
    values = await client.runs.wait(thread, GRAPHS["slow"], input={"ms": 5_300})
    assert values["log"] == ["slow:done"] and calls[-1].endswith("/join")
    if is_stateless:
        # The run is deleted at its end. Every server still says what it left.
        back = calls[-1].removeprefix("GET ")
        run = back.removesuffix("/join")
        until(lambda: all(HTTP.get(node + run).status_code == 404 for node in NODES))
        for text in told_by_every_server(back):
            assert json.loads(text) == values


# Section 8: streams.


async def test_a_joined_stream_is_narrowed_and_keeps_events_of_subgraphs(client):
    thread = await made(client)
    run = await client.runs.create(
        thread,
        GRAPHS["nested"],
        input={"ms": 60, "chunk_ms": 20},
        stream_mode=["custom", "updates"],
        stream_subgraphs=True,
        stream_resumable=True,
    )
    await client.runs.join(thread, run["run_id"])

    async def joined(mode):
        stream = client.runs.join_stream(
            thread, run["run_id"], stream_mode=mode, last_event_id="-1"
        )
        return [part.event async for part in stream]

    custom = await joined("custom")
    assert any(event.startswith("custom|sub:") for event in custom)
    assert not any(event.startswith("updates") for event in custom)
    assert any(event.startswith("updates|sub:") for event in await joined(["updates", "custom"]))
    assert set(await joined("values")) <= {"metadata"}


async def test_the_last_client_that_leaves_a_join_cancels_if_it_asked_so(client):
    thread, run, probe = await ticking(client, stream_mode="custom")
    async for _ in client.runs.join_stream(thread, run, cancel_on_disconnect=True):
        break
    while await status(client, thread, run) != "interrupted":
        await asyncio.sleep(0.01)
    await assert_stopped(probe)


# Section 10: cancels.


async def test_a_cancel_of_what_is_not_there_is_told(client):
    thread, run, probe = await ticking(client)
    other, unknown = await made(client), str(uuid.uuid4())
    for ids in [(thread, unknown), (other, run), (unknown, run)]:
        with pytest.raises(NotFoundError, match="No runs found to cancel."):
            await client.runs.cancel(*ids)
    for ids, words in [((thread, "x"), "Invalid run ID"), (("x", run), "Invalid thread ID")]:
        with pytest.raises(UnprocessableEntityError, match=f"{words}: must be a UUID"):
            await client.runs.cancel(*ids)
    assert Probe(probe).count("dropped") == 0
    await client.runs.cancel(thread, run, wait=True)
    with pytest.raises(NotFoundError, match="No matching runs to cancel. Please verify"):
        await client.runs.cancel(thread, run)
    await assert_stopped(probe)


@pytest.mark.parametrize("graph", ["slow", "steps", "parallel", "nested"])
async def test_a_cancel_in_the_first_moments_is_not_lost(client, graph):
    thread, probe = await made(client), tag()
    run = await client.runs.create(thread, GRAPHS[graph], input={**LONG, "tag": probe})
    await client.runs.cancel(thread, run["run_id"])
    await client.runs.join(thread, run["run_id"])
    assert await status(client, thread, run["run_id"]) == "interrupted"
    await assert_stopped(probe)
    assert (await client.threads.get(thread))["status"] in ("idle", "interrupted")


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
async def test_a_queued_run_is_cancelled_alone_and_its_thread_stays_busy(client, action):
    thread, run, probe = await ticking(client)
    queued, never = [tag(), tag()], []
    for each in queued:
        made_run = await client.runs.create(thread, GRAPHS["slow"], input={**LONG, "tag": each})
        never.append(made_run["run_id"])
    await client.runs.cancel(thread, never[0], action=action)
    await client.runs.cancel(thread, never[1], action=action, wait=True)
    for each in never:
        if action == "rollback":
            await gone(client, thread, each)
        else:
            assert await status(client, thread, each) == "interrupted"
    assert (await client.threads.get(thread))["status"] == "busy"
    assert await status(client, thread, run) == "running"
    await client.runs.cancel(thread, run, wait=True)
    await assert_stopped(probe)
    assert all(Probe(each).marks() == [] for each in queued)


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
async def test_a_stateless_run_is_gone_with_its_stop(client, action):
    probe = tag()
    run = await client.runs.create(None, GRAPHS["parallel"], input={**LONG, "tag": probe})
    await until_ticking(probe, 4)
    await client.runs.cancel(run["thread_id"], run["run_id"], wait=True, action=action)
    await assert_stopped(probe)
    await gone(client, run["thread_id"], run["run_id"])
    with pytest.raises(NotFoundError):
        await client.threads.get(run["thread_id"])


async def test_a_bulk_cancel_takes_the_runs_of_one_thread_if_it_names_it(client):
    one, other = await ticking(client), await ticking(client)
    await client.runs.cancel_many(thread_id=one[0], status="all")
    await client.runs.join(one[0], one[1])
    await assert_stopped(one[2])
    assert await status(client, *other[:2]) == "running"
    await client.runs.cancel_many(status="all")
    await client.runs.join(other[0], other[1])
    await assert_stopped(other[2])
    with pytest.raises(NotFoundError, match="No runs found to cancel."):
        await client.runs.cancel_many(thread_id=one[0], status="all")


async def test_a_bulk_cancel_reaches_work_that_ignores_it_and_says_running_until_then(client):
    grace = {"metadata": {"quell_grace_ms": 1_000}}
    thread, run, probe = await ticking(client, "stubborn", **grace)
    await client.runs.cancel_many(status="running")
    assert await status(client, thread, run) == "running"
    assert (await client.threads.get(thread))["status"] == "busy"
    await client.runs.join(thread, run)
    assert await status(client, thread, run) == "interrupted"
    await assert_stopped(probe)
    assert Probe(probe).count("dropped") == 1


async def test_a_wait_for_a_stop_may_be_capped(client):
    thread, run, probe = await ticking(client, "stubborn", metadata={"quell_grace_ms": 1_500})
    await client.runs.cancel(thread, run, wait=True, params={"timeout": "0.1"})
    assert await status(client, thread, run) == "running"
    await client.runs.cancel(thread, run, params={"wait": "quiescent"})
    read = await client.runs.get(thread, run)
    assert read["status"] == "interrupted" and read["quell"]["quiescent"]
    await assert_stopped(probe)


async def test_a_rollback_nobody_waits_for_deletes_the_run_and_frees_the_thread(client):
    thread, run, probe = await ticking(client, "nested")
    await client.runs.cancel(thread, run, action="rollback")
    while await client.runs.list(thread):
        await asyncio.sleep(0.01)
    await gone(client, thread, run)
    await assert_stopped(probe)
    row = await client.threads.get(thread)
    assert (row["status"], row["values"]) == ("idle", None)
    values = await client.runs.wait(thread, GRAPHS["echo"], input={"text": "next"})
    assert values["log"] == ["echo:next"]


async def test_finished_steps_outlive_the_cancel_and_the_cut_one_comes_next(client):
    thread, run, probe = await ticking(client, "steps")
    await client.runs.cancel(thread, run, wait=True)
    await assert_stopped(probe)
    assert (await client.threads.get(thread))["values"]["log"] == ["before"]
    history = await client.threads.get_history(thread)
    assert history[0]["next"] == ["slow"]


async def test_what_is_not_served_is_404(client):
    for path in [f"/threads/{uuid.uuid4()}/stream", "/mcp/", f"/a2a/{uuid.uuid4()}"]:
        with pytest.raises(NotFoundError):
            await client.http.get(path)
