"""The web socket of workflows, with a client of another maker: start, cut, come back, cancel.

Whether the work went on or stopped is for the witness to say, which bodies count in.
"""

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from demo import AGENTOS as IDS
from demo import BEARER as HEADERS
from demo import KEY, NODES, URL, Probe, fresh

SOCKET = URL.replace("http://", "ws://") + "/workflows/ws"


class Socket:
    """One socket: what is said, and what comes, with its form."""

    def __init__(self, socket):
        self.socket = socket

    async def say(self, action, **fields):
        await self.socket.send(json.dumps({"action": action, **fields}))

    async def next(self):
        async with asyncio.timeout(30):
            text = await self.socket.recv()
        if text.startswith("{"):
            return "bare", json.loads(text)
        name, data, *rest = text.split("\n")
        assert rest == ["", ""] and data.startswith("data: ")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['event']}"
        return "event", event

    async def ask(self, action, **fields):
        await self.say(action, **fields)
        form, said = await self.next()
        assert form == "bare"
        return said

    async def until(self, name, form):
        events = []
        while not events or events[-1]["event"] != name:
            came, event = await self.next()
            assert came == form
            events.append(event)
        return events


class open_socket:
    """Opens a socket, and says who it is, where that is asked for."""

    def __init__(self, **more):
        self.connecting = connect(SOCKET, proxy=None, **more)

    async def __aenter__(self):
        socket = Socket(await self.connecting.__aenter__())
        _, hello = await socket.next()
        assert (hello["event"], hello["requires_auth"]) == ("connected", KEY is not None)
        if KEY:
            assert (await socket.ask("ping"))["event"] == "auth_required"
            said = await socket.ask("authenticate", token="wrong")
            assert said == {"event": "auth_error", "error": "Invalid token"}
            assert (await socket.ask("authenticate", token=KEY))["event"] == "authenticated"
        assert await socket.ask("ping") == {"event": "pong"}
        return socket

    async def __aexit__(self, *error):
        await self.connecting.__aexit__(*error)


async def until(wanted, seconds=30):
    async with asyncio.timeout(seconds):
        while not (found := wanted()):
            await asyncio.sleep(0.02)
        return found


def indices(events):
    return [event["event_index"] for event in events if "event_index" in event]


async def begin(socket, what, message, session):
    await socket.say(
        "start-workflow", workflow_id=IDS[what], message=message, session_id=session
    )
    form, first = await socket.next()
    assert (form, first["event"], first["event_index"]) == ("event", "WorkflowStarted", 0)
    assert first["session_id"] == session
    return first["run_id"]


def test_a_run_is_started_and_told_to_its_end():
    async def scenario():
        async with open_socket() as socket:
            await begin(socket, "flow", "ticks=3 tick_ms=1", fresh("session"))
            events = await socket.until("WorkflowCompleted", "event")
            assert indices(events) == list(range(1, len(events) + 1))

    asyncio.run(scenario())


def test_a_run_goes_on_without_its_client_who_comes_back_for_the_rest():
    async def scenario():
        probe, session = Probe(), fresh("session")
        async with open_socket() as socket:
            run = await begin(socket, "flow", f"ticks=60 tick_ms=20 probe={probe.name}", session)
            had = [0]
            while len(had) < 30:
                _, event = await socket.next()
                had.append(event["event_index"])
            assert had == list(range(30))
            # Cut, and not closed.
            socket.socket.transport.abort()
        before = probe.ticks()
        await until(lambda: probe.ticks() > before + 8)

        async def back():
            async with open_socket() as socket:
                await socket.say(
                    "reconnect", run_id=run, last_event_index=had[-1], workflow_id=IDS["flow"],
                    session_id=session,
                )
                events = await socket.until("WorkflowCompleted", "bare")
                assert events[0]["event"] in ("catch_up", "replay")
                return indices(events)

        # Of several servers each may be asked, and any has all.
        came = [await back() for _ in range(len(NODES))]
        assert came[0][0] == 30 and came[0] == list(range(30, came[0][-1] + 1))
        assert all(each == came[0] for each in came)
        assert probe.count("done") == 4 and probe.ticks() == 240

    asyncio.run(scenario())


def test_a_run_is_cancelled_over_http_and_its_work_stops():
    async def scenario():
        probe = Probe()
        async with open_socket() as socket:
            run = await begin(socket, "functions", f"probe={probe.name}", fresh("session"))
            await until(lambda: probe.count("start") == 4)
            said = None
            await socket.say("cancel", run_id=run)
            while said is None or said[0] != "bare":
                said = await socket.next()
            assert said[1] == {"event": "error", "error": "Unknown action: cancel"}
            async with httpx.AsyncClient(headers=HEADERS) as http:
                path = f"{URL}/workflows/{IDS['functions']}/runs/{run}/cancel"
                assert (await http.post(path)).json() == {}
            events = await socket.until("WorkflowCancelled", "event")
            assert events[-1]["run_id"] == run
        await until(lambda: probe.count("dropped") == 4)
        probe.assert_still()

    asyncio.run(scenario())


def test_a_page_of_another_origin_has_no_socket():
    async def scenario():
        async with open_socket(origin="http://localhost:3000"):
            pass
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(origin="http://evil.example"):
                pass
        assert refused.value.response.status_code == 403

    asyncio.run(scenario())
