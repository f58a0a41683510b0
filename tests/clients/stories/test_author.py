"""The author of an agent in Python: it is written once, and every contract streams it.

Each word is said by the test only when the client has read the word before: what arrives late
never arrives. Whether the agent is gone after a cancel is for its pipe to say.
"""

import asyncio
import json
import shutil
from pathlib import Path

import httpx
import pytest
from agno.client import AgentOSClient
from langgraph_sdk import get_client

from stories.support import Model, Server

WORDS = ["Green", " tea", " is", " best."]
CONFIG = """
[agents.writer]
description = "Searches, and writes."
run = ["python3", "agent.py"]
"""


@pytest.fixture
def server(tmp_path):
    shutil.copy(Path(__file__).parent / "agent.py", tmp_path)
    (tmp_path / "quell.toml").write_text(CONFIG)
    with Server(tmp_path) as server:
        yield server


async def write(folder, tokens):
    """Has the model say each word when the one before has arrived."""
    arrived = asyncio.Queue()

    async def read():
        async for token in tokens:
            arrived.put_nowait(token)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        async with Model(folder) as model:
            for word in WORDS:
                model.say(word)
                assert await arrived.get() == word
    assert arrived.empty(), "nothing is said twice"


async def test_the_native_api_streams_it(server, tmp_path):
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        asked = {"component": "agent/writer", "input": "Which tea?"}
        run = (await http.post("/v1/runs", json=asked)).json()["id"]
        events = []

        async def read():
            async with http.stream("GET", f"/v1/runs/{run}/events") as stream:
                async for line in stream.aiter_lines():
                    if line.startswith("data: "):
                        events.append(json.loads(line[len("data: ") :]))
                        said = events[-1].get("data")
                        if events[-1]["event"] == "emitted" and said["event"] == "content":
                            yield said["text"]

        await write(tmp_path, read())
        ended = (await http.get(f"/v1/runs/{run}")).json()
        assert (ended["status"], ended["output"]) == ("completed", "Green tea is best.")
        assert ended["text"] == "Green tea is best."
        used = ended["rows"][0]["usage"]
        assert (used["input_tokens"], used["output_tokens"]) == (2, 4)
        calls = {event["event"]: event["data"] for event in events if "tool" in event["event"]}
        assert calls["tool-started"]["name"] == "search"
        assert calls["tool-ended"]["outcome"] == {"result": ["green", "black"]}


async def test_the_client_of_agentos_streams_it(server, tmp_path):
    client = AgentOSClient(base_url=server.url)
    events = []

    async def read():
        async for event in client.run_agent_stream("writer", "Which tea?"):
            events.append(event)
            if event.event == "RunContent":
                yield event.content

    await write(tmp_path, read())
    assert events[-1].event == "RunCompleted"
    assert events[-1].content == "Green tea is best."
    tools = [event for event in events if event.event.startswith("ToolCall")]
    assert [tool.tool.tool_name for tool in tools] == ["search", "search"]


async def test_the_client_of_langgraph_streams_it(server, tmp_path):
    client = get_client(url=server.url, api_key="none")
    asked = {"messages": [{"role": "user", "content": "Which tea?"}]}
    thread = (await client.threads.create())["thread_id"]
    parts = []

    async def read():
        modes = ["messages-tuple", "values"]
        async for part in client.runs.stream(thread, "writer", input=asked, stream_mode=modes):
            parts.append(part)
            said = part.data[0] if part.event == "messages" else {}
            if said.get("type") == "AIMessageChunk" and said["content"]:
                yield said["content"]

    await write(tmp_path, read())
    values = (await client.threads.get(thread))["values"]
    kinds = [(one["type"], one["content"]) for one in values["messages"]]
    found = ("tool", '["green", "black"]')
    assert kinds == [("human", "Which tea?"), ("ai", ""), found, ("ai", "Green tea is best.")]
    await client.http.client.aclose()


async def test_a_stop_ends_it_and_what_it_wrote_is_kept(server, tmp_path):
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        asked = {"component": "agent/writer", "input": "Which tea?"}
        run = (await http.post("/v1/runs", json=asked)).json()["id"]
        async with Model(tmp_path) as model:
            model.say("Green")
            while (await http.get(f"/v1/runs/{run}")).json()["text"] != "Green":
                await asyncio.sleep(0.01)
            stop = {"reason": "enough", "wait": "quiescent"}
            answer = (await http.post(f"/v1/runs/{run}/cancel", json=stop)).json()
            assert answer["disposition"] == "accepted"
            assert await model.is_unread()
        ended = (await http.get(f"/v1/runs/{run}")).json()
        assert (ended["status"], ended["quiescent"]) == ("cancelled", True)
        assert ended["partial"]["result"] == "Green"
