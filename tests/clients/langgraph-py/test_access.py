"""Who may see and stop what, by the released Python client (contract, section 9)."""

import asyncio

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.errors import AuthenticationError, ConflictError, NotFoundError

from demo import BOB, KEY, URL, Probe
from langgraph_calls import assert_stopped, ticking


@pytest.mark.skipif(not KEY, reason="the server asks for no key")
async def test_a_wrong_key_is_nobody_and_rows_of_others_are_not_there(client):
    with pytest.raises(AuthenticationError, match="Invalid API key"):
        await get_client(url=URL, api_key="wrong").threads.create()
    bob = get_client(url=URL, api_key=BOB)
    thread, run, probe = await ticking(client)
    for call in [
        bob.threads.get(thread),
        bob.threads.delete(thread),
        bob.threads.get_state(thread),
        bob.runs.get(thread, run),
        bob.runs.list(thread),
        bob.runs.cancel(thread, run),
        bob.runs.delete(thread, run),
        bob.runs.cancel_many(thread_id=thread, run_ids=[run]),
        bob.runs.cancel_many(status="all"),
    ]:
        with pytest.raises(NotFoundError):
            await call
    before = Probe(probe).ticks()
    await asyncio.sleep(0.3)
    assert Probe(probe).ticks() > before
    with pytest.raises(ConflictError):
        await bob.threads.create(thread_id=thread, if_exists="do_nothing")
    await client.runs.cancel(thread, run, wait=True)
    await assert_stopped(probe)
