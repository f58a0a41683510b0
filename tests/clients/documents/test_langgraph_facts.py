"""What upstream describes of the operations that we serve, and what our own document has of it.

A client that is made from upstream's document finds every parameter, every key and every status
here, but for the gaps that are listed.
"""

import pytest

from demo import HTTP, URL
from documents import Ours, facts_of

FACTS = facts_of("langgraph")
OURS = Ours(HTTP.get(f"{URL}/openapi.json").json())

# What they have and we do not, and why.
GAPS = {
    # 204, as upstream really answers.
    "DELETE /assistants/{assistant_id}": {"200"},
    "DELETE /threads/{thread_id}": {"200"},
    "DELETE /threads/{thread_id}/runs/{run_id}": {"200"},
    # In the body, where both SDKs put it; a row of a version has no time of its last change.
    "POST /assistants/{assistant_id}/latest": {"query version"},
    "POST /assistants/{assistant_id}/versions": {"updated_at"},
    # No database of its own, no threads with a past that was made up, no parts of values.
    "GET /ok": {"query check_db"},
    "POST /threads": {"supersteps", "extracted"},
    "POST /threads/search": {"extract", "extracted"},
    "GET /threads/{thread_id}": {"extracted"},
    "PATCH /threads/{thread_id}": {"extracted"},
    # An unknown thread is 404 here; a count of nothing is 0.
    "POST /threads/{thread_id}/copy": {"409", "extracted"},
    "POST /threads/count": {"404"},
    # States of subgraphs are none.
    "GET /threads/{thread_id}/state": {"query subgraphs"},
    "GET /threads/{thread_id}/state/{checkpoint_id}": {"query subgraphs"},
    "POST /threads/{thread_id}/state/checkpoint": {"subgraphs"},
}

# Keys that we need and they do not: their server refuses such a body, too.
NEEDED = {
    "POST /assistants/{assistant_id}/latest": {"version"},
    "DELETE /store/items": {"namespace"},
    "POST /store/items/search": {"namespace_prefix"},
}


@pytest.mark.parametrize("name", FACTS)
def test_what_upstream_describes_is_described_here(name):
    facts = FACTS[name]
    statuses = set(facts.get("statuses", "").split())
    lacks, needed = OURS.lacks(name, facts, statuses)
    assert lacks == GAPS.get(name, set())
    assert needed == NEEDED.get(name, set())
