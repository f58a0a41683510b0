"""The real AgentOSClient against a server: it starts, streams and cancels runs, unchanged.

Whether the work stopped is for the witness to say, which bodies count in, not for the record of
the run.
"""

import asyncio
import json

import httpx
import pytest
from agno.client import AgentOSClient
from agno.db.base import SessionType

from demo import AGENTOS as IDS
from demo import BEARER as HEADERS
from demo import NODES, URL, Probe, fresh


class Kind:
    """What the client calls the operations of one kind of component."""

    def __init__(self, name, what, prefix, tickers):
        self.name, self.what, self.prefix, self.tickers = name, what, prefix, tickers

    @property
    def id(self):
        return IDS.get(self.what, "nothing")

    @property
    def runs(self):
        return f"{URL}/{self.name}s/{self.id}/runs"

    def stream(self, client, message, **more):
        run = getattr(client, f"run_{self.name}_stream")
        return run(self.id, message, headers=HEADERS, **more)

    async def run(self, client, message, **more):
        return await getattr(client, f"run_{self.name}")(self.id, message, headers=HEADERS, **more)

    async def cancel(self, client, run_id):
        return await getattr(client, f"cancel_{self.name}_run")(self.id, run_id, headers=HEADERS)

    def __repr__(self):
        return self.what


AGENT = Kind("agent", "agent", "Run", 1)
SHORT = Kind("agent", "short", "Run", 1)
SILENT = Kind("agent", "silent", "Run", 1)
TEAM = Kind("team", "team", "TeamRun", 3)
FLOW = Kind("workflow", "flow", "Workflow", 4)
FUNCTIONS = Kind("workflow", "functions", "Workflow", 4)
INSTANT = Kind("workflow", "instant", "Workflow", 0)
LONG = [AGENT, SILENT, TEAM, FLOW, FUNCTIONS]


# The client keeps its connections for the life of the process: one loop for all.
LOOP = asyncio.new_event_loop()


def run(scenario):
    return LOOP.run_until_complete(scenario)


@pytest.fixture
def client():
    return AgentOSClient(base_url=URL)


async def read(kind, run_id, session_id):
    async with httpx.AsyncClient(headers=HEADERS) as http:
        answer = await http.get(f"{kind.runs}/{run_id}", params={"session_id": session_id})
        answer.raise_for_status()
        return answer.json()


async def assert_reads(kind, run_id, session_id, status):
    """Of several servers those read what the one has stored that has the run: behind by a commit."""
    if len(NODES) > 1:

        async def is_so():
            return (await read(kind, run_id, session_id))["status"] == status

        await until(is_so)
    assert (await read(kind, run_id, session_id))["status"] == status


async def until(wanted, seconds=30):
    async with asyncio.timeout(seconds):
        while not (found := await wanted()):
            await asyncio.sleep(0.02)
        return found


async def at_work(probe, kind):
    """All its tickers have begun."""
    return Probe(probe).count("start") == kind.tickers


async def has(events, wanted):
    """The client has read such an event."""
    return any(wanted(event) for event in events)


async def assert_stopped(probe, kind):
    """Every body that began was dropped, and nothing counts any more."""

    async def dropped():
        seen = Probe(probe).read()
        return seen if sum(m.endswith(":dropped") for m in seen["marks"]) == kind.tickers else None

    before = await until(dropped)
    await asyncio.sleep(0.2)
    assert Probe(probe).read() == before
    assert not any(mark.endswith(":done") for mark in before["marks"])


@pytest.mark.parametrize("kind", LONG, ids=repr)
def test_a_run_is_started_streamed_and_cancelled_and_its_work_stops(client, kind):
    async def scenario():
        probe, run_id, session = fresh("probe"), fresh("run"), fresh("session")
        events = []

        async def follow():
            message = f"hello probe={probe}"
            async for event in kind.stream(client, message, run_id=run_id, session_id=session):
                events.append(event)

        stream = asyncio.create_task(follow())
        await until(lambda: at_work(probe, kind))
        # The work has begun; what the client has read of it comes when it comes.
        await until(lambda: has(events, lambda _: True))
        assert events[0].event == f"{kind.prefix}Started"
        assert (events[0].run_id, events[0].session_id) == (run_id, session)
        await assert_reads(kind, run_id, session, "RUNNING")
        if kind not in (SILENT, FUNCTIONS):
            await until(lambda: has(events, lambda event: event.event == "RunContent"))
        assert await kind.cancel(client, run_id) is None
        async with asyncio.timeout(30):
            await stream
        await assert_stopped(probe, kind)
        own = [event.event for event in events if event.run_id == run_id]
        assert own[-1] == f"{kind.prefix}Cancelled" == events[-1].event
        assert own.count(f"{kind.prefix}Cancelled") == 1
        assert f"{kind.prefix}Completed" not in own
        assert events[-1].reason == f"Run {run_id} was cancelled"
        over = await read(kind, run_id, session)
        assert (over["status"], over["cancellation_stage"]) == ("CANCELLED", "EXECUTING")
        assert over["quell"]["quiescent"] and over["quell"]["cause"]["kind"] == "user-request"
        await kind.cancel(client, run_id)

    run(scenario())


@pytest.mark.parametrize("kind", LONG, ids=repr)
def test_a_run_that_is_waited_for_is_cancelled(client, kind):
    async def scenario():
        probe, run_id, session = fresh("probe"), fresh("run"), fresh("session")
        waiting = asyncio.create_task(
            kind.run(client, f"probe={probe}", run_id=run_id, session_id=session)
        )
        await until(lambda: at_work(probe, kind))
        await kind.cancel(client, run_id)
        async with asyncio.timeout(30):
            run = await waiting
        assert (run.run_id, run.status.value if hasattr(run.status, "value") else run.status) == (
            run_id,
            "CANCELLED",
        )
        await assert_stopped(probe, kind)

    run(scenario())


@pytest.mark.parametrize("kind", LONG, ids=repr)
def test_a_run_in_the_background_is_cancelled(client, kind):
    async def scenario():
        probe, run_id, session = fresh("probe"), fresh("run"), fresh("session")
        form = {
            "message": f"probe={probe}",
            "background": "true",
            "stream": "false",
            "run_id": run_id,
            "session_id": session,
        }
        async with httpx.AsyncClient(headers=HEADERS) as http:
            answer = await http.post(kind.runs, data=form)
        assert answer.status_code == 202
        assert answer.json() == {"run_id": run_id, "session_id": session, "status": "PENDING"}
        await until(lambda: at_work(probe, kind))
        await kind.cancel(client, run_id)
        await assert_stopped(probe, kind)
        await assert_reads(kind, run_id, session, "CANCELLED")

    run(scenario())


async def numbered(url, form, upto=None):
    """Reads events to the end, or until there are so many that have a number, and leaves."""
    events = []
    async with httpx.AsyncClient(headers=HEADERS, timeout=60) as http:
        async with http.stream("POST", url, data=form) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    events += [event] if "event_index" in event else []
                if upto and len(events) == upto:
                    break
    return events


@pytest.mark.parametrize("kind", [AGENT, TEAM, FLOW, FUNCTIONS], ids=repr)
def test_the_stream_of_a_background_run_goes_on_after_its_client_was_away(client, kind):
    async def scenario():
        probe, run_id, session = fresh("probe"), fresh("run"), fresh("session")
        form = {"message": f"probe={probe}", "background": "true", "run_id": run_id}
        events = await numbered(kind.runs, form | {"session_id": session}, upto=3)
        await until(lambda: at_work(probe, kind))
        resume = f"{kind.runs}/{run_id}/resume"
        for upto in (1, 2, None):
            if upto is None:
                await kind.cancel(client, run_id)
            form = {"last_event_index": events[-1]["event_index"], "session_id": session}
            events += await numbered(resume, form, upto)
        assert [event["event_index"] for event in events] == list(range(len(events)))
        assert events[-1]["event"] == f"{kind.prefix}Cancelled"
        await assert_stopped(probe, kind)
        whole = await numbered(resume, {})
        assert [event["event"] for event in whole] == [event["event"] for event in events]

    run(scenario())


def test_a_client_that_leaves_cancels_its_run(client):
    async def scenario():
        probe, run_id, session = fresh("probe"), fresh("run"), fresh("session")
        events = TEAM.stream(client, f"probe={probe}", run_id=run_id, session_id=session)
        follow = asyncio.create_task(anext(events))
        await follow
        await until(lambda: at_work(probe, TEAM))
        await events.aclose()
        await assert_stopped(probe, TEAM)
        over = await read(TEAM, run_id, session)
        assert over["status"] == "CANCELLED" and "cancellation_stage" not in over
        assert over["quell"]["cause"]["kind"] == "disconnected"

    run(scenario())


def test_short_runs_complete_in_every_form(client):
    async def scenario():
        run = await SHORT.run(client, "hi", session_id="s")
        assert (run.content, run.session_id) == ("t0 t1 t2 ", "s")
        events = [event async for event in SHORT.stream(client, "hi")]
        assert [event.event for event in events] == [
            "RunStarted",
            "ModelRequestStarted",
            *["RunContent"] * 3,
            "ModelRequestCompleted",
            "RunContentCompleted",
            "RunCompleted",
        ]
        assert events[-1].content == "t0 t1 t2 "
        team = await TEAM.run(client, "ticks=2 tick_ms=1")
        assert team.content == "done"
        assert [member.content for member in team.member_responses] == ["t0 t1 "] * 3
        assert team.tools[0].tool_args == {"task": "ticks=2 tick_ms=1"}
        flow = await FLOW.run(client, "ticks=2 tick_ms=1")
        assert [step.content for step in flow.step_results[0].steps] == ["t0 t1 "] * 4
        assert len(flow.step_executor_runs) == 4
        instant = [event async for event in INSTANT.stream(client, "hi")]
        assert [event.event for event in instant] == [
            "WorkflowStarted",
            "StepStarted",
            "StepOutput",
            "StepCompleted",
            "WorkflowCompleted",
        ]

    run(scenario())


def test_streams_of_many_runs_are_parsed_without_a_gap(client, caplog):
    async def scenario():
        for kind in (TEAM, FLOW, FUNCTIONS):
            events = [event async for event in kind.stream(client, "ticks=5 tick_ms=1")]
            assert events[-1].event == f"{kind.prefix}Completed"

    run(scenario())
    assert "Unknown event" not in caplog.text and "Failed to parse" not in caplog.text


def test_what_there_is_is_listed(client):
    async def scenario():
        config = await client.aget_config(headers=HEADERS)
        assert {IDS["agent"], IDS["short"]} <= {agent.id for agent in config.agents}
        assert IDS["agent"] in {agent.id for agent in await client.list_agents(headers=HEADERS)}
        assert IDS["team"] in {team.id for team in await client.list_teams(headers=HEADERS)}
        assert IDS["flow"] in {flow.id for flow in await client.list_workflows(headers=HEADERS)}
        agent = await client.aget_agent(IDS["agent"], headers=HEADERS)
        assert agent.id == IDS["agent"]
        assert (await client.aget_team(IDS["team"], headers=HEADERS)).id == IDS["team"]
        flow = await client.aget_workflow(IDS["flow"], headers=HEADERS)
        assert flow.steps[0]["type"] == "Parallel" and len(flow.steps[0]["steps"]) == 4

    run(scenario())


def test_the_configuration_has_what_is_served(client):
    async def scenario():
        config = await client.aget_config(headers=HEADERS)
        assert config == client.get_config(headers=HEADERS)
        assert config.os_id and config.databases and not config.interfaces
        assert "tick-model" in {model.id for model in config.available_models}
        assert [each.db_id for each in config.session.dbs] == config.databases
        team = next(team for team in config.teams if team.id == IDS["team"])
        assert team.mode == "broadcast" and team.name == team.id

    run(scenario())


def test_what_is_not_kept_is_listed_as_empty_and_changes_are_refused(client):
    async def scenario():
        for pages in (
            client.list_memories(headers=HEADERS),
            client.get_user_memory_stats(headers=HEADERS),
            client.list_eval_runs(headers=HEADERS),
            client.list_knowledge_content(headers=HEADERS),
            client.search_knowledge("tea", headers=HEADERS),
            client.get_traces(headers=HEADERS),
            client.get_trace_session_stats(headers=HEADERS),
            client.search_traces(headers=HEADERS),
        ):
            page = await pages
            assert page.data == [] and page.meta.total_count == 0
        assert await client.get_memory_topics(headers=HEADERS) == []
        assert (await client.get_knowledge_config(headers=HEADERS)).readers == {}
        assert (await client.get_metrics(headers=HEADERS)).metrics == []
        assert await client.refresh_metrics(headers=HEADERS) == []
        assert (await client.get_metrics_refresh_status(headers=HEADERS)).status == "idle"
        for status, asked in (
            (404, client.get_memory("m", headers=HEADERS)),
            (404, client.get_eval_run("e", headers=HEADERS)),
            (404, client.get_knowledge_content("c", headers=HEADERS)),
            (404, client.get_trace("t", headers=HEADERS)),
            (400, client.create_memory("tea", user_id="u", headers=HEADERS)),
            (400, client.delete_memory("m", headers=HEADERS)),
            (400, client.delete_eval_runs(["e"], headers=HEADERS)),
            (400, client.delete_all_knowledge_content(headers=HEADERS)),
        ):
            with pytest.raises(httpx.HTTPStatusError) as refused:
                await asked
            assert refused.value.response.status_code == status

    run(scenario())


@pytest.mark.parametrize("kind", [AGENT, TEAM, FLOW], ids=repr)
def test_what_is_not_there_is_a_404(client, kind):
    async def scenario():
        with pytest.raises(httpx.HTTPStatusError) as refused:
            await kind.cancel(client, fresh("nope"))
        assert refused.value.response.status_code == 404
        unknown = Kind(kind.name, None, kind.prefix, 0)
        with pytest.raises(httpx.HTTPStatusError) as refused:
            await unknown.run(client, "hi")
        assert refused.value.response.status_code == 404

    run(scenario())


def session_type(kind):
    return SessionType(kind.name)


@pytest.mark.parametrize("kind", [SHORT, TEAM, INSTANT], ids=repr)
def test_sessions_are_listed_shown_renamed_and_deleted(client, kind):
    async def scenario():
        session, message = fresh("session"), f"ticks=2 tick_ms=1 {fresh('message')}"
        of = {"headers": HEADERS}
        runs = [(await kind.run(client, message, session_id=session)).run_id]
        runs.append((await kind.run(client, "ticks=1 again", session_id=session)).run_id)

        async def listed():
            page = await client.get_sessions(session_name=message, component_id=kind.id, **of)
            return page if page.data else None

        page = await until(listed)
        (found,) = page.data
        assert (found.session_id, found.session_name) == (session, message)
        assert (page.meta.total_count, page.meta.total_pages) == (1, 1)
        for wanted in (None, session_type(kind)):
            shown = await client.get_session(session, wanted, **of)
            assert (shown.session_id, shown.session_name) == (session, message)
            assert getattr(shown, f"{kind.name}_id") == kind.id
            told = await client.get_session_runs(session, wanted, **of)
            assert [it.run_id for it in told] == runs
            assert {it.status for it in told} == {"COMPLETED"}
            assert told[0].run_input == message
            short = await client.aget_session_run_previews(session, wanted, **of)
            assert [(it.run_id, it.status, it.created_at) for it in short] == [
                (it.run_id, it.status, it.created_at) for it in told
            ]
            assert short[0].run_input == message
            assert short[0].content_preview == told[0].content[:280]
        assert not await client.get_session_runs(session, status=["running", "PAUSED"], **of)
        assert not await client.aget_session_run_previews(session, status=["running"], **of)
        one = await client.get_session_run(session, runs[0], **of)
        assert one.run_input == message and one.created_at is not None

        async with httpx.AsyncClient(headers=HEADERS) as http:
            own = await http.get(kind.runs, params={"session_id": session})
        assert [it["run_id"] for it in own.json()] == runs

        renamed = await client.rename_session(session, "another name", **of)
        assert renamed.session_name == "another name"
        assert (await client.get_session(session, **of)).session_name == "another name"

        await client.delete_session(session, **of)
        await assert_no_session(client, session)

    run(scenario())


async def assert_no_session(client, session):
    for ask in (client.get_session, client.get_session_runs, client.aget_session_run_previews):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            await ask(session, headers=HEADERS)
        assert refused.value.response.status_code == 404


def test_sessions_that_are_deleted_together_leave_no_work(client):
    async def scenario():
        probe, sessions = fresh("probe"), [fresh("session"), fresh("session"), fresh("none")]
        stream = AGENT.stream(client, f"probe={probe}", session_id=sessions[0])
        await anext(stream)
        await until(lambda: at_work(probe, AGENT))
        await SHORT.run(client, "hi", session_id=sessions[1])
        kinds = [SessionType.AGENT] * len(sessions)
        await client.delete_sessions(sessions, kinds, headers=HEADERS)
        await assert_stopped(probe, AGENT)
        assert [event.event async for event in stream][-1] == "RunCancelled"
        for session in sessions:
            await assert_no_session(client, session)

    run(scenario())


# Served by programs.toml; its plan is asking.json.
ASKING = "asking"


async def asks(client):
    """A run of it has asked its first question."""
    session = fresh("session")
    paused = await client.run_workflow(ASKING, "hi", session_id=session, headers=HEADERS)
    return paused, session


async def answered(client, paused, session, how):
    """As a program does that knows the client: what is asked, resolved and sent back."""
    (asked,) = paused.step_requirements
    how(asked)
    assert asked.is_resolved
    return await client.continue_workflow_run(
        ASKING, paused.run_id, [asked], session_id=session, headers=HEADERS
    )


def status(over):
    return getattr(over.status, "value", over.status)


def test_a_plan_asks_and_the_client_confirms_and_puts_in(client):
    async def scenario():
        paused, session = await asks(client)
        (asked,) = paused.step_requirements
        assert status(paused) == "PAUSED"
        assert (asked.step_id, asked.confirmation_message) == ("ok", "send it?")
        assert asked.needs_confirmation and not asked.needs_user_input

        paused = await answered(client, paused, session, lambda asked: asked.confirm())
        (asked,) = paused.step_requirements
        assert status(paused) == "PAUSED"
        assert (asked.step_id, asked.user_input_message) == ("who", "to whom?")
        assert asked.needs_user_input and not asked.needs_confirmation

        put_in = lambda asked: asked.set_user_input(answer="ada")
        over = await answered(client, paused, session, put_in)
        assert status(over) == "COMPLETED"
        assert json.loads(over.content)["send"]["stdout"] == "sent to ada\n"
        assert not over.step_requirements

    run(scenario())


def test_a_plan_asks_and_the_client_rejects(client):
    async def scenario():
        paused, session = await asks(client)
        # Nothing is decided yet: it is asked again, and nothing has changed.
        with pytest.raises(httpx.HTTPStatusError) as refused:
            await client.continue_workflow_run(
                ASKING,
                paused.run_id,
                paused.step_requirements,
                session_id=session,
                headers=HEADERS,
            )
        assert refused.value.response.status_code == 422
        assert paused.step_requirements[0].on_reject == "cancel"
        over = await answered(client, paused, session, lambda asked: asked.reject())
        assert status(over) == "CANCELLED"

    run(scenario())


def test_a_run_that_asks_is_cancelled(client):
    async def scenario():
        paused, session = await asks(client)
        await client.cancel_workflow_run(ASKING, paused.run_id, headers=HEADERS)
        runs = f"{URL}/workflows/{ASKING}/runs"

        async def over():
            query = {"session_id": session}
            async with httpx.AsyncClient(headers=HEADERS) as http:
                now = (await http.get(f"{runs}/{paused.run_id}", params=query)).json()
            return now if now["status"] != "PAUSED" else None

        assert (await until(over))["status"] == "CANCELLED"

    run(scenario())


# Served by programs.toml, as an agent and as a team: it says what it was told, before and now.
RECALLING = "recalling"


@pytest.mark.parametrize("kind", ["agent", "team"])
def test_a_run_knows_what_was_said_before_it_in_its_session(client, kind):
    async def scenario():
        session = fresh("session")

        async def told(message, session_id=session):
            ask = getattr(client, f"run_{kind}")
            return await ask(RECALLING, message, session_id=session_id, headers=HEADERS)

        assert (await told("one")).content == "one"
        assert (await told("two")).content == "one, two"
        assert (await told("three")).content == "one, two, three"
        assert (await told("four")).content == "two, three, four"
        assert (await told("five", fresh("session"))).content == "five"

        # It is no part of what is shown of a run.
        runs = await client.get_session_runs(session, headers=HEADERS)
        assert [run.run_input for run in runs] == ["one", "two", "three", "four"]
        await client.delete_session(session, headers=HEADERS)
        assert (await told("six")).content == "six"

    run(scenario())


@pytest.mark.parametrize("kind", ["agent", "team"])
def test_an_ended_run_is_continued_with_a_new_message(client, kind):
    async def scenario():
        session = fresh("session")

        async def told(message):
            ask = getattr(client, f"run_{kind}")
            return await ask(RECALLING, message, session_id=session, headers=HEADERS)

        first, _ = await told("one"), await told("later")
        go_on = getattr(client, f"continue_{kind}_run")
        known = {"session_id": session, "headers": HEADERS}
        new = await go_on(RECALLING, first.run_id, [], input="and?", **known)
        assert (status(new), new.content) == ("COMPLETED", "one, and?")
        assert new.run_id != first.run_id
        assert (new.forked_from_run_id, new.session_id) == (first.run_id, session)

        events = []
        stream = getattr(client, f"continue_{kind}_run_stream")
        async for event in stream(RECALLING, new.run_id, [], input="so?", **known):
            events.append(event)
        prefix = "Run" if kind == "agent" else "TeamRun"
        assert events[0].event == f"{prefix}Started"
        assert events[-1].event == f"{prefix}Completed"
        assert events[-1].content == "one, and?, so?"
        assert events[0].run_id not in (first.run_id, new.run_id)

        shown = await client.get_session_run(session, new.run_id, headers=HEADERS)
        assert shown.forked_from_run_id == first.run_id
        # Without a message nothing is made, and nothing else is done instead of it.
        for more in ({}, {"input": "x", "regenerate": "true"}, {"input": "x", "continue_from": "1"}):
            with pytest.raises(httpx.HTTPStatusError) as refused:
                await go_on(RECALLING, first.run_id, [], **known, **more)
            assert refused.value.response.status_code == (422 if more else 409)
        assert len(await client.get_session_runs(session, headers=HEADERS)) == 4

    run(scenario())
