"""What the suites of the Python client of LangGraph ask again and again."""

import asyncio
import uuid

import pytest
from langgraph_sdk.errors import NotFoundError

from demo import GRAPHS, Probe

LONG = {"ms": 300_000, "chunk_ms": 20}


def tag():
    return f"py-{uuid.uuid4()}"


async def until_ticking(probe, bodies=1):
    for _ in range(3000):
        if Probe(probe).is_at_work(bodies):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{probe} never ticked")


async def assert_stopped(probe):
    before = Probe(probe).read()
    await asyncio.sleep(0.3)
    assert Probe(probe).read() == before, "work went on after the run was reported stopped"


async def gone(client, thread, run):
    with pytest.raises(NotFoundError):
        await client.runs.get(thread, run)


async def made(client):
    return (await client.threads.create())["thread_id"]


async def ticking(client, graph="slow", thread=None, bodies=1, **more):
    """Starts a run that goes on, and yields its thread, its id and its probe."""
    probe, thread = tag(), thread or await made(client)
    input = {**LONG, "tag": probe}
    run = await client.runs.create(thread, GRAPHS[graph], input=input, **more)
    await until_ticking(probe, bodies)
    return thread, run["run_id"], probe
