"""Every operation of AgentOS that the server describes at `/openapi/agentos.json`, against that.

schemathesis makes up what is asked for. Part of it is put where it finds something: a component, a
run and a session that are there.
"""

import httpx
import pytest
import schemathesis

from demo import AGENTOS, BEARER, HTTP, KEY, NODES, PREFIX, URL, fresh
from documents import CHECKS, EXAMPLES, some

pytestmark = pytest.mark.skipif(bool(PREFIX), reason="names of components make no difference")

DOCUMENT = HTTP.get(f"{URL}/openapi/agentos.json").json()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
SCHEMA.config.update(base_url=URL)
# Many where nothing else makes a difference.
SHARE = 30 if len(NODES) == 1 and not KEY else 200
SOME = some(EXAMPLES // SHARE)
CLIENT = httpx.Client(timeout=30)
# LangGraph has `/metrics` as well, and lets in whom it lets in.
OWN = [each.ok() for each in SCHEMA.get_all_operations()]
OWN = [each for each in OWN if each.path != "/metrics"]


@pytest.fixture(scope="module")
def there():
    """Yields the ids of what is there."""
    ids = {
        "agent_id": AGENTOS["short"],
        "team_id": AGENTOS["team"],
        "workflow_id": AGENTOS["instant"],
        "session_id": fresh("session"),
        "run_id": fresh("run"),
    }
    run = {"message": "hi", "stream": "false", "session_id": ids["session_id"]}
    path = f"{URL}/agents/{ids['agent_id']}/runs"
    HTTP.post(path, data=run | {"run_id": ids["run_id"]}, headers=BEARER).raise_for_status()
    return ids


def aim(case, there):
    """Has many requests find what they name, and none wait for long."""
    if isinstance(case.body, dict) and "message" in case.body:
        case.body["message"] = "ticks=1 tick_ms=1"
    if case.path_parameters and case.method != "DELETE":
        meant = case.path_parameters.keys() & there.keys()
        case.path_parameters |= {name: there[name] for name in meant}
    if case.query and "session_id" in case.query:
        case.query["session_id"] = there["session_id"]


@SCHEMA.parametrize()
@SOME
def test_whatever_is_made_up_is_answered_as_described(case, there):
    aim(case, there)
    case.headers = {**(case.headers or {}), **BEARER}
    answer = case.call(base_url=URL)
    case.validate_response(answer, checks=CHECKS)


@pytest.mark.skipif(not KEY, reason="the server asks for no key")
@pytest.mark.parametrize("operation", OWN, ids=str)
def test_without_the_key_nothing_is_done_that_needs_one(operation):
    path = operation.path
    for parameter in operation.path_parameters:
        path = path.replace(f"{{{parameter.name}}}", "nothing")
    answer = CLIENT.request(operation.method.upper(), URL + path)
    is_public = operation.definition.raw.get("security") is None
    assert (answer.status_code != 401) == is_public, operation.label
