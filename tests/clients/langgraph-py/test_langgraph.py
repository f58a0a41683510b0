"""The released Python client against a server in demo mode.

The witness, not the record, decides that work has stopped.
"""

import asyncio
import uuid

import pytest
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

from demo import GRAPHS, NODES, Probe
from langgraph_calls import LONG, assert_stopped, gone, tag, until_ticking


async def test_assistants_are_found_by_graph(client):
    found = await client.assistants.search(graph_id=GRAPHS["echo"])
    assert [row["graph_id"] for row in found] == [GRAPHS["echo"]]
    row = await client.assistants.get(found[0]["assistant_id"])
    assert row["assistant_id"] == found[0]["assistant_id"]
    thread = await client.threads.create()
    values = await client.runs.wait(thread["thread_id"], row["assistant_id"], input={"text": "hi"})
    assert values == {"text": "hi", "log": ["echo:hi"]}
    with pytest.raises(NotFoundError):
        await client.assistants.get(str(uuid.uuid4()))


async def test_an_assistant_is_made_changed_searched_and_deleted(client):
    graph, name = GRAPHS["echo"], f"n-{uuid.uuid4()}"
    config, metadata = {"configurable": {"a": 1}}, {"m": 1}
    made = await client.assistants.create(graph, config, metadata=metadata, name=name)
    id = made["assistant_id"]
    assert (made["version"], made["context"]) == (1, {"a": 1})
    with pytest.raises(ConflictError):
        await client.assistants.create(graph, assistant_id=id)
    again = await client.assistants.create(graph, assistant_id=id, if_exists="do_nothing")
    assert again == made
    changed = await client.assistants.update(id, context={"b": 2}, metadata={"n": 2})
    assert (changed["version"], changed["config"]) == (2, {"configurable": {"b": 2}})
    assert changed["metadata"] == {"m": 1, "n": 2}
    versions = await client.assistants.get_versions(id)
    assert [row["version"] for row in versions] == [2, 1]
    found = await client.assistants.search(
        name=name, metadata={"n": 2}, sort_by="name", select=["assistant_id"], response_format="object"
    )
    assert found == {"assistants": [{"assistant_id": id}], "next": None}
    assert await client.assistants.count(name=name) == 1
    assert (await client.assistants.set_latest(id, 1))["context"] == {"a": 1}
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, id, input={"text": "x"}, context={"c": 3})
    assert run["assistant_id"] == id
    assert (run["kwargs"]["context"], run["metadata"]["m"]) == ({"a": 1, "c": 3}, 1)
    assert (await client.runs.join(thread, run["run_id"]))["log"] == ["echo:x"]
    drawn = await client.assistants.get_graph(id, xray=True)
    assert drawn["nodes"][0]["id"] == "__start__" and drawn["edges"]
    assert (await client.assistants.get_schemas(id))["graph_id"] == graph
    assert await client.assistants.get_subgraphs(id, recurse=True) == {}
    await client.assistants.delete(id)
    with pytest.raises(NotFoundError):
        await client.assistants.get(id)


async def test_items_of_the_store_are_put_found_and_deleted(client):
    root, store = f"r-{uuid.uuid4()}", client.store
    await store.put_item([root, "a"], "k", {"n": 1}, index=False, ttl=5)
    await store.put_item([root, "b"], "l", {"n": 2})
    item = await store.get_item([root, "a"], "k", refresh_ttl=False)
    assert (item["namespace"], item["key"], item["value"]) == ([root, "a"], "k", {"n": 1})
    found = await store.search_items([root], filter={"n": {"$gt": 1}}, query="x")
    assert [item["key"] for item in found["items"]] == ["l"]
    names = await store.list_namespaces(prefix=[root], max_depth=2)
    assert names == {"namespaces": [[root, "a"], [root, "b"]]}
    for namespace, key in [("a", "k"), ("b", "l")]:
        await store.delete_item([root, namespace], key)
    assert (await store.search_items([root]))["items"] == []
    assert await store.get_item([root, "a"], "k") is None


async def test_a_thread_is_made_once_and_its_values_grow(client):
    thread = await client.threads.create(metadata={"who": "ada"})
    assert (thread["status"], thread["values"]) == ("idle", None)
    assert thread["metadata"] == {"who": "ada"}
    id = thread["thread_id"]
    with pytest.raises(ConflictError):
        await client.threads.create(thread_id=id)
    again = await client.threads.create(thread_id=id, if_exists="do_nothing")
    assert again["metadata"] == {"who": "ada"}
    await client.runs.wait(id, GRAPHS["echo"], input={"text": "a"})
    await client.runs.wait(id, GRAPHS["echo"], input={"text": "b"})
    thread = await client.threads.get(id)
    assert thread["values"] == {"text": "b", "log": ["echo:a", "echo:b"]}
    assert thread["status"] == "idle"


async def test_a_stream_has_the_events_of_its_modes_in_order(client):
    thread = (await client.threads.create())["thread_id"]
    parts = [
        part
        async for part in client.runs.stream(
            thread,
            GRAPHS["slow"],
            input={"ms": 100, "chunk_ms": 50, "tag": "x"},
            stream_mode=["values", "updates", "custom"],
        )
    ]
    events = [part.event for part in parts]
    assert events[:2] == ["metadata", "values"]
    assert events[-2:] == ["updates", "values"]
    assert set(events[2:-2]) == {"custom"}
    assert parts[1].data["log"] == []
    assert parts[-2].data == {"slow": {"log": ["slow:done"]}}
    assert parts[-1].data["log"] == ["slow:done"]
    run = await client.runs.get(thread, parts[0].data["run_id"])
    assert run["status"] == "success"


async def test_what_a_program_says_comes_in_pieces_and_is_a_message_in_the_values(client):
    thread = (await client.threads.create())["thread_id"]
    modes = ["values", "updates", "messages-tuple"]
    asked = {"messages": [{"role": "user", "content": "which?"}]}
    parts = [
        part
        async for part in client.runs.stream(thread, "teller", input=asked, stream_mode=modes)
    ]
    pieces = [part.data[0] for part in parts if part.event == "messages"]
    ended = pieces.pop(2)
    assert [piece["content"] for piece in pieces] == ["green ", "", "tea", ""]
    assert pieces[1]["tool_call_chunks"][0]["name"] == "look"
    values = [part.data for part in parts if part.event == "values"][-1]
    human, calls, result, answer = values["messages"]
    assert (human["type"], human["content"]) == ("human", "which?")
    assert (answer["type"], answer["content"]) == ("ai", "green tea")
    assert pieces.pop(1)["id"] == calls["id"]
    assert {piece["id"] for piece in pieces} == {answer["id"]}
    assert calls["tool_calls"][0]["args"] == {"for": "tea"}
    assert ended == result
    assert (result["type"], result["tool_call_id"]) == ("tool", calls["tool_calls"][0]["id"])
    assert answer["usage_metadata"]["total_tokens"] == 15
    update = [part.data for part in parts if part.event == "updates"][-1]
    assert update["teller"]["messages"] == [calls, result, answer]
    assert (await client.threads.get(thread))["values"] == values
    await client.runs.wait(thread, "teller", input=asked)
    values = (await client.threads.get(thread))["values"]
    assert [message["type"] for message in values["messages"]] == ["human", "ai", "tool", "ai"] * 2


async def test_a_message_is_shown_as_it_grows_while_its_run_goes_on(client):
    thread = (await client.threads.create())["thread_id"]
    parts, statuses = [], []
    stream = client.runs.stream(
        thread, "teller", input={}, stream_mode="messages", stream_resumable=True
    )
    async for part in stream:
        parts.append(part)
        if part.event == "messages/partial":
            run = await client.runs.get(thread, parts[0].data["run_id"])
            statuses.append(run["status"])
    events = ["metadata", "partial", "partial", "complete"]
    assert [part.event for part in parts] == ["metadata"] + [f"messages/{name}" for name in events]
    assert statuses[0] == "running"
    messages = [part.data[0] for part in parts[2:]]
    assert [message["content"] for message in messages] == ["green ", "green tea", "green tea"]
    assert {message["id"] for message in messages} == set(parts[1].data)
    # A client that comes back with the id of a partial gets the rest.
    run = parts[0].data["run_id"]
    rest = client.runs.join_stream(thread, run, last_event_id=parts[2].id)
    assert [part.id async for part in rest] == [part.id for part in parts[3:]]


async def test_subgraph_events_come_only_when_asked_for(client):
    asked = {}
    for subgraphs in (False, True):
        parts = [
            part.event
            async for part in client.runs.stream(
                None,
                GRAPHS["nested"],
                input={"ms": 60, "chunk_ms": 30},
                stream_mode=["updates", "custom"],
                stream_subgraphs=subgraphs,
            )
        ]
        asked[subgraphs] = parts
    assert asked[False] == ["metadata", "updates", "updates"]
    assert any(event.startswith("custom|sub:") for event in asked[True])
    assert any(event.startswith("updates|sub:") for event in asked[True])


async def test_create_join_and_list(client):
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, GRAPHS["steps"], input={"ms": 100})
    assert run["status"] in ("pending", "running")
    assert (await client.threads.get(thread))["status"] == "busy"
    values = await client.runs.join(thread, run["run_id"])
    assert values["log"] == ["before", "slow:done", "after"]
    listed = await client.runs.list(thread)
    assert [row["run_id"] for row in listed] == [run["run_id"]]
    assert listed[0]["status"] == "success"
    only = await client.runs.list(thread, select=["run_id"])
    assert only == [{"run_id": run["run_id"]}]


async def test_a_joined_stream_is_live_and_a_resumable_one_replays(client):
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(
        thread,
        GRAPHS["slow"],
        input={"ms": 400, "chunk_ms": 50},
        stream_mode=["values", "custom"],
        stream_resumable=True,
    )
    id = run["run_id"]
    live = [part async for part in client.runs.join_stream(thread, id)]
    assert live[-1].event == "values" and live[-1].data["log"] == ["slow:done"]
    every = [part async for part in client.runs.join_stream(thread, id, last_event_id="-1")]
    assert every[0].event == "metadata"
    ids = [part.id for part in every]
    assert ids == sorted(set(ids)) and all(ids)
    rest = [part async for part in client.runs.join_stream(thread, id, last_event_id=ids[2])]
    assert [part.id for part in rest] == ids[3:]


@pytest.mark.parametrize(
    ("graph", "bodies"),
    [("slow", 1), ("steps", 1), ("parallel", 4), ("nested", 1)],
)
async def test_a_cancel_stops_every_body_of_a_run(client, graph, bodies):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, GRAPHS[graph], input={**LONG, "tag": probe})
    await until_ticking(probe, bodies)
    await client.runs.cancel(thread, run["run_id"], wait=True)
    await assert_stopped(probe)
    read = await client.runs.get(thread, run["run_id"])
    assert read["status"] == "interrupted"
    assert read["cancel_reason"].startswith("user-request: interrupt requested via POST /threads/")
    assert read["quell"]["status"] == "cancelled" and read["quell"]["quiescent"]
    state = await client.threads.get(thread)
    assert state["status"] == "interrupted"
    assert state["error"]["error"] == "UserInterrupt"
    assert state["values"]["log"] == (["before"] if graph == "steps" else [])
    with pytest.raises(NotFoundError):
        await client.runs.cancel(thread, run["run_id"])


async def test_a_cancel_closes_a_stream_without_a_word(client):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    made = asyncio.get_running_loop().create_future()
    events = []

    async def read():
        async for part in client.runs.stream(
            thread,
            GRAPHS["slow"],
            input={**LONG, "tag": probe},
            stream_mode=["values", "custom"],
            on_run_created=made.set_result,
        ):
            events.append(part.event)

    reader = asyncio.create_task(read())
    run = await made
    await until_ticking(probe)
    await client.runs.cancel(thread, run["run_id"])
    await asyncio.wait_for(reader, 30)
    assert set(events) == {"metadata", "values", "custom"}
    await assert_stopped(probe)


async def test_a_cancel_ends_a_wait_with_the_last_values(client):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    waiter = asyncio.create_task(
        client.runs.wait(thread, GRAPHS["steps"], input={**LONG, "tag": probe})
    )
    await until_ticking(probe)
    [run] = await client.runs.list(thread)
    await client.runs.cancel(thread, run["run_id"], wait=True)
    values = await asyncio.wait_for(waiter, 30)
    assert values["log"] == ["before"]
    await assert_stopped(probe)


async def test_a_failure_is_told_by_stream_wait_and_thread(client):
    thread = (await client.threads.create())["thread_id"]
    with pytest.raises(Exception, match="ValueError: boom"):
        await client.runs.wait(thread, GRAPHS["failing"], input={})
    parts = [
        part async for part in client.runs.stream(thread, GRAPHS["failing"], input={"fail": "no"})
    ]
    assert parts[-1].event == "error"
    assert parts[-1].data == {"error": "ValueError", "message": "no"}
    state = await client.threads.get(thread)
    assert state["status"] == "error"
    assert state["error"] == {"error": "ValueError", "message": "no"}


async def test_a_timeout_is_visible(client):
    thread = (await client.threads.create())["thread_id"]
    with pytest.raises(Exception, match="TimeoutError: Run exceeded its time limit of 100 ms"):
        await client.runs.wait(
            thread, GRAPHS["slow"], input=LONG, metadata={"quell_timeout_ms": 100}
        )
    [run] = await client.runs.list(thread)
    assert run["status"] == "timeout"
    assert (await client.threads.get(thread))["status"] == "error"


async def test_bulk_cancel_by_status_stops_a_hundred_runs(client):
    probes = [tag() for _ in range(100)]
    runs = []
    for probe in probes:
        thread = (await client.threads.create())["thread_id"]
        run = await client.runs.create(thread, GRAPHS["slow"], input={**LONG, "tag": probe})
        runs.append((thread, run["run_id"]))
    await asyncio.gather(*(until_ticking(probe) for probe in probes))
    await client.runs.cancel_many(status="running")
    for thread, run in runs:
        await client.runs.join(thread, run)
        assert (await client.runs.get(thread, run))["status"] == "interrupted"
    before = [Probe(probe).ticks() for probe in probes]
    await asyncio.sleep(0.3)
    assert [Probe(probe).ticks() for probe in probes] == before


async def test_bulk_cancel_by_ids_reaches_the_live_ones(client):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    done = await client.runs.create(thread, GRAPHS["echo"], input={})
    await client.runs.join(thread, done["run_id"])
    with pytest.raises(NotFoundError):
        await client.runs.cancel_many(thread_id=thread, run_ids=[done["run_id"]])
    first = await client.runs.create(thread, GRAPHS["slow"], input={**LONG, "tag": probe})
    second = await client.runs.create(thread, GRAPHS["slow"], input=LONG)
    await until_ticking(probe)
    assert (await client.runs.get(thread, second["run_id"]))["status"] == "pending"
    ids = [done["run_id"], first["run_id"], second["run_id"], str(uuid.uuid4())]
    await client.runs.cancel_many(thread_id=thread, run_ids=ids)
    await client.runs.join(thread, first["run_id"])
    statuses = {row["run_id"]: row["status"] for row in await client.runs.list(thread)}
    assert statuses[done["run_id"]] == "success"
    assert statuses[first["run_id"]] == statuses[second["run_id"]] == "interrupted"
    await assert_stopped(probe)


async def test_a_stop_of_a_thread_that_comes_late_does_not_reach_the_next_run(client):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    seen = await client.runs.create(thread, GRAPHS["slow"], input={**LONG, "tag": tag()})
    await client.runs.cancel(thread, seen["run_id"], wait=True)
    await client.runs.create(thread, GRAPHS["slow"], input={**LONG, "tag": probe})
    await until_ticking(probe)
    headers = {"quell-if-run": seen["run_id"]}
    with pytest.raises(NotFoundError):
        await client.runs.cancel_many(thread_id=thread, status="all", headers=headers)
    before = Probe(probe).ticks()
    await asyncio.sleep(0.3)
    assert Probe(probe).ticks() != before
    await client.runs.cancel_many(thread_id=thread, status="all")
    await assert_stopped(probe)


async def test_a_rollback_leaves_the_thread_as_it_was(client):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, GRAPHS["echo"], input={"text": "a"})
    before = await client.threads.get(thread)
    run = await client.runs.create(thread, GRAPHS["steps"], input={**LONG, "tag": probe})
    await until_ticking(probe)
    await client.runs.cancel(thread, run["run_id"], wait=True, action="rollback")
    await gone(client, thread, run["run_id"])
    await assert_stopped(probe)
    after = await client.threads.get(thread)
    for key in ("values", "status", "error"):
        assert after[key] == before[key], key
    assert await client.runs.join(thread, run["run_id"]) is not None


async def test_a_bulk_rollback_deletes_what_it_stopped(client):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, GRAPHS["parallel"], input={**LONG, "tag": probe})
    await until_ticking(probe, 4)
    await client.runs.cancel_many(
        thread_id=thread, run_ids=[run["run_id"]], action="rollback"
    )
    for _ in range(3000):
        if not await client.runs.list(thread):
            break
        await asyncio.sleep(0.01)
    await gone(client, thread, run["run_id"])
    await assert_stopped(probe)


async def test_stateless_runs_leave_nothing(client):
    values = await client.runs.wait(None, GRAPHS["echo"], input={"text": "x"})
    assert values == {"text": "x", "log": ["echo:x"]}
    probe = tag()
    run = await client.runs.create(None, GRAPHS["slow"], input={**LONG, "tag": probe})
    await until_ticking(probe)
    await client.runs.cancel(run["thread_id"], run["run_id"], wait=True)
    await assert_stopped(probe)
    await gone(client, run["thread_id"], run["run_id"])
    with pytest.raises(NotFoundError):
        await client.threads.get(run["thread_id"])


async def test_runs_of_a_thread_queue_up_or_are_refused(client):
    thread = (await client.threads.create())["thread_id"]
    first = await client.runs.create(thread, GRAPHS["slow"], input={"ms": 300})
    second = await client.runs.create(thread, GRAPHS["echo"], input={"text": "2"})
    with pytest.raises(ConflictError):
        await client.runs.create(thread, GRAPHS["echo"], multitask_strategy="reject", input={})
    assert (await client.runs.get(thread, second["run_id"]))["status"] == "pending"
    await client.runs.join(thread, first["run_id"])
    await client.runs.join(thread, second["run_id"])
    values = (await client.threads.get(thread))["values"]
    assert values["log"] == ["slow:done", "echo:2"]


async def test_a_vanished_client_cancels_if_it_asked_so(client):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    async for part in client.runs.stream(
        thread,
        GRAPHS["slow"],
        input={**LONG, "tag": probe},
        stream_mode="custom",
        on_disconnect="cancel",
    ):
        if part.event == "custom":
            break
    for _ in range(3000):
        [run] = await client.runs.list(thread)
        if run["status"] == "interrupted":
            break
        await asyncio.sleep(0.01)
    assert run["quell"]["cause"]["kind"] == "disconnected"
    await assert_stopped(probe)


async def test_a_stubborn_body_runs_on_within_the_grace_and_its_result_is_dropped(client):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, GRAPHS["stubborn"], input={"ms": 1_000, "tag": probe})
    await until_ticking(probe)
    await client.runs.cancel(thread, run["run_id"])
    assert (await client.runs.get(thread, run["run_id"]))["status"] == "running"
    await client.runs.cancel(thread, run["run_id"], wait=True)
    assert (await client.runs.get(thread, run["run_id"]))["status"] == "interrupted"
    marks = Probe(probe).marks()
    assert "stubborn:stop-seen" in marks and marks[-1] == "stubborn:done"
    assert (await client.threads.get(thread))["values"]["log"] == []


async def test_a_delayed_run_waits_and_is_cancelled_at_once(client):
    probe = tag()
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(
        thread, GRAPHS["slow"], input={**LONG, "tag": probe}, after_seconds=60
    )
    assert (await client.threads.get(thread))["status"] == "busy"
    await client.runs.cancel(thread, run["run_id"])
    assert (await client.runs.get(thread, run["run_id"]))["status"] == "interrupted"
    assert Probe(probe).marks() == []
    assert (await client.threads.get(thread))["status"] == "idle"


async def test_threads_are_changed_searched_counted_and_copied(client):
    who = str(uuid.uuid4())
    made = [await client.threads.create(metadata={"who": who, "nr": nr}) for nr in range(3)]
    ids = [thread["thread_id"] for thread in made]
    values = await client.runs.wait(ids[0], GRAPHS["echo"], input={"text": who})
    changed = await client.threads.update(ids[1], metadata={"nr": 7, "more": None}, ttl=60)
    assert changed["metadata"] == {"who": who, "nr": 7, "more": None}
    shown = await client.threads.get(ids[1], include=["ttl"])
    assert (shown["ttl"]["ttl_minutes"], shown["ttl"]["strategy"]) == (60, "delete")
    assert "ttl" not in await client.threads.get(ids[1])

    async def found(**asked):
        return [row["thread_id"] for row in await client.threads.search(**asked)]

    assert await found(metadata={"who": who}) == [ids[1], ids[0], ids[2]]
    by_id = {"sort_by": "thread_id", "sort_order": "asc"}
    assert await found(metadata={"who": who}, limit=2, offset=1, **by_id) == ids[1:]
    assert await found(values={"text": who}) == [ids[0]]
    assert await found(metadata={"who": who, "graph_id": GRAPHS["echo"]}) == [ids[0]]
    assert await found(ids=[ids[2]], status="idle") == [ids[2]]
    assert await found(ids=[ids[2]], status="busy") == []
    rows = await client.threads.search(ids=[ids[0]], select=["thread_id", "values"])
    assert rows == [{"thread_id": ids[0], "values": values}]
    assert await client.threads.count(metadata={"who": who}) == 3
    assert await client.threads.count(values={"text": who}) == 1
    await client.threads.copy(ids[0])
    assert await client.threads.count(values={"text": who}) == 2
    with pytest.raises(NotFoundError):
        await client.threads.update(str(uuid.uuid4()), metadata={})
    for id in await found(metadata={"who": who}):
        await client.threads.delete(id)
    assert await client.threads.count(metadata={"who": who}) == 0


async def test_a_deleted_thread_stops_its_runs_and_is_gone(client):
    thread = (await client.threads.create())["thread_id"]
    probe = tag()
    run = await client.runs.create(thread, GRAPHS["parallel"], input={**LONG, "tag": probe})
    later = await client.runs.create(thread, GRAPHS["echo"], input={"text": "later"})
    await until_ticking(probe, 4)
    await client.threads.delete(thread)
    await assert_stopped(probe)
    for _ in range(len(NODES) + 1):
        with pytest.raises(NotFoundError):
            await client.threads.get(thread)
        with pytest.raises(NotFoundError):
            await client.runs.list(thread)
        await gone(client, thread, run["run_id"])
        await gone(client, thread, later["run_id"])
    with pytest.raises(NotFoundError):
        await client.threads.delete(thread)
    again = await client.threads.create(thread_id=thread, if_exists="raise")
    assert (again["values"], again["metadata"]) == (None, {})


async def test_a_deleted_run_is_stopped_and_its_thread_as_before(client):
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, GRAPHS["echo"], input={"text": "a"})
    before = await client.threads.get(thread)
    probe = tag()
    run = await client.runs.create(thread, GRAPHS["slow"], input={**LONG, "tag": probe})
    await until_ticking(probe)
    await client.runs.delete(thread, run["run_id"])
    await assert_stopped(probe)
    await gone(client, thread, run["run_id"])
    assert await client.threads.get(thread) == before
    with pytest.raises(NotFoundError):
        await client.runs.delete(thread, run["run_id"])
    (ended,) = await client.runs.list(thread, status="success", select=["run_id", "status"])
    assert set(ended) == {"run_id", "status"}
    assert await client.runs.list(thread, limit=1, offset=1) == []
    await client.runs.delete(thread, ended["run_id"])
    assert (await client.threads.get(thread))["values"] is None


async def test_a_batch_starts_all_of_its_runs(client):
    probes = [tag(), tag()]
    payloads = [
        {"assistant_id": GRAPHS["slow"], "input": {**LONG, "tag": probe}} for probe in probes
    ]
    runs = await client.runs.create_batch(payloads)
    for probe, run in zip(probes, runs, strict=True):
        await until_ticking(probe)
        await client.runs.delete(run["thread_id"], run["run_id"])
        await assert_stopped(probe)
    with pytest.raises(UnprocessableEntityError):
        await client.runs.create_batch([*payloads, {"assistant_id": "nope"}])


async def test_states_are_read_listed_and_changed(client):
    thread = (await client.threads.create())["thread_id"]
    assert (await client.threads.get_state(thread))["values"] == {}
    for text in ["a", "b"]:
        await client.runs.wait(thread, GRAPHS["echo"], input={"text": text})
    last = await client.threads.get_state(thread)
    assert last["values"] == {"text": "b", "log": ["echo:a", "echo:b"]}
    history = await client.threads.get_history(thread)
    assert history[0] == last
    # Of each run what it has left, and what was there before its input.
    assert [state["values"].get("text") for state in history] == ["b", "a", "a", None]
    assert [state["metadata"]["source"] for state in history] == ["loop", "input"] * 2
    assert history[0]["parent_checkpoint"] == history[1]["checkpoint"]
    before = await client.threads.get_history(thread, before=last["checkpoint"], limit=5)
    assert before == history[1:]
    first = history[1]["checkpoint"]
    assert await client.threads.get_state(thread, checkpoint=first) == history[1]
    assert await client.threads.get_state(thread, checkpoint_id=first["checkpoint_id"]) == history[1]
    again = await client.runs.wait(thread, GRAPHS["echo"], input=None, checkpoint=first)
    assert again == last["values"]
    changed = await client.threads.update_state(thread, {"text": "mine"}, as_node="echo")
    now = await client.threads.get_state(thread)
    assert now["checkpoint"] == changed["checkpoint"]
    assert now["values"] == {"text": "mine", "log": ["echo:a", "echo:b"]}
    assert len(await client.runs.list(thread)) == 3
    probe = tag()
    run = await client.runs.create(thread, GRAPHS["slow"], input={**LONG, "tag": probe})
    await until_ticking(probe)
    with pytest.raises(ConflictError):
        await client.threads.update_state(thread, {"text": "x"})
    await client.runs.cancel(thread, run["run_id"], wait=True, action="rollback")
    assert await client.threads.get_state(thread) == now


async def test_a_run_goes_on_in_the_node_that_was_cut(client):
    probe, graph = tag(), GRAPHS["steps"]
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, graph, input={**LONG, "tag": probe})
    await until_ticking(probe)
    live = await client.threads.get_state(thread)
    assert (live["next"], live["values"]["log"]) == (["slow"], ["before"])
    await client.runs.cancel(thread, run["run_id"], wait=True)
    cut = await client.threads.get_state(thread)
    assert (cut["next"], cut["values"]["log"]) == (["slow"], ["before"])
    await client.threads.update_state(thread, {"ms": 10})
    values = await client.runs.wait(thread, graph, input=None)
    assert values["log"] == ["before", "slow:done", "after"]
    assert (await client.threads.get(thread))["status"] == "idle"


async def test_a_run_ends_before_a_node_and_forks(client):
    graph, thread = GRAPHS["steps"], (await client.threads.create())["thread_id"]
    short = {"ms": 10, "chunk_ms": 5}
    held = await client.runs.wait(thread, graph, input=short, interrupt_before=["slow"])
    assert held["log"] == ["before"]
    assert (await client.runs.list(thread))[0]["status"] == "success"
    assert (await client.threads.get(thread))["status"] == "interrupted"
    values = await client.runs.wait(thread, graph, input=None, interrupt_after=["slow"])
    assert values["log"] == ["before", "slow:done"]
    assert (await client.threads.get_state(thread))["next"] == ["after"]
    history = await client.threads.get_history(thread, limit=50)
    at = next(state for state in history if state["next"] == ["slow"])["checkpoint"]
    forked = await client.runs.wait(thread, graph, input=None, checkpoint=at)
    assert forked["log"] == ["before", "slow:done", "after"]
    await client.threads.update_state(thread, {"log": ["mine"]}, as_node="slow", checkpoint=at)
    assert (await client.threads.get_state(thread))["next"] == ["after"]
    values = await client.runs.wait(thread, graph, command={"update": {"text": "told"}})
    assert (values["text"], values["log"]) == ("told", ["before", "mine", "after"])
    values = await client.runs.wait(thread, graph, command={"goto": "after"})
    assert values["log"] == ["before", "mine", "after", "after"]
    modes = ["checkpoints", "tasks", "debug"]
    parts = [
        part async for part in client.runs.stream(thread, graph, input=short, stream_mode=modes)
    ]
    told = [part.data["next"] for part in parts if part.event == "checkpoints"]
    assert told == [["before"], ["slow"], ["after"], []]
    results = [part.data for part in parts if part.event == "tasks" and "result" in part.data]
    assert [task["name"] for task in results] == ["before", "slow", "after"]
    with pytest.raises(NotFoundError):
        await client.runs.create(thread, graph, checkpoint_id=thread)
    with pytest.raises(UnprocessableEntityError):
        await client.runs.create(thread, graph, interrupt_before="slow")


async def test_a_program_with_nodes_ends_before_one_and_goes_on_there(client):
    thread = (await client.threads.create())["thread_id"]
    asked = {"to": "ada"}
    values = await client.runs.wait(thread, "letter", input=asked, interrupt_before=["send"])
    assert values == {"to": "ada", "log": ["draft"]}
    assert (await client.threads.get_state(thread))["next"] == ["send"]
    values = await client.runs.wait(thread, "letter", input=None)
    assert values == {"to": "ada", "log": ["draft", "send"]}
    history = await client.threads.get_history(thread)
    assert [state["next"] for state in history][:3] == [[], ["send"], ["send"]]
    assert (await client.threads.get(thread))["status"] == "idle"


async def test_a_cron_is_made_changed_found_and_deleted(client):
    graph, thread = GRAPHS["echo"], (await client.threads.create())["thread_id"]
    made = await client.crons.create_for_thread(
        thread, graph, schedule="0 9 * * *", timezone="Europe/Berlin", input={"text": "x"}
    )
    assert (made["thread_id"], made["timezone"]) == (thread, "Europe/Berlin")
    probe = tag()
    other = await client.crons.create(
        graph, schedule="@yearly", metadata={"probe": probe}, on_run_completed="keep"
    )
    assert (other["thread_id"], other["on_run_completed"]) == (None, "keep")
    off = await client.crons.update(made["cron_id"], enabled=False, metadata={"probe": probe})
    assert (off["enabled"], off["metadata"]) == (False, {"probe": probe})
    found = await client.crons.search(metadata={"probe": probe}, sort_by="created_at")
    assert [row["cron_id"] for row in found] == [other["cron_id"], made["cron_id"]]
    assert await client.crons.count(metadata={"probe": probe}) == 2
    await client.crons.delete(other["cron_id"])
    with pytest.raises(NotFoundError):
        await client.crons.delete(other["cron_id"])
    with pytest.raises(UnprocessableEntityError):
        await client.crons.create(graph, schedule="* * * * * *")
    await client.threads.delete(thread)
    assert await client.crons.search(thread_id=thread) == []
