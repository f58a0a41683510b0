"""Every operation of LangGraph that the server describes at `/openapi.json`, against that.

schemathesis makes up what is asked for. Part of it is put where it finds something: a thread, a
run, an assistant and a graph that are there.
"""

import httpx
import pytest
import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import negative_data_rejection

from demo import GRAPHS, HTTP, KEY, NODES, PREFIX, URL, X_API_KEY
from documents import CHECKS, EXAMPLES, some

pytestmark = pytest.mark.skipif(bool(PREFIX), reason="names of components make no difference")

TAGS = ["Assistants", "Threads", "Thread Runs", "Stateless Runs", "Store", "System"]
DOCUMENT = HTTP.get(f"{URL}/openapi.json").json()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT).include(tag=TAGS)
SCHEMA.config.update(base_url=URL)
# Many where nothing else makes a difference.
SHARE = 30 if len(NODES) == 1 and not KEY else 200
SOME = some(EXAMPLES // SHARE)
CLIENT = httpx.Client(timeout=30)


def post(path, body):
    answer = HTTP.post(URL + path, json=body, headers=X_API_KEY)
    answer.raise_for_status()
    return answer.json()


@pytest.fixture(scope="module")
def there():
    """Yields the ids of what is there."""
    thread = post("/threads", {})["thread_id"]
    run = post(f"/threads/{thread}/runs", {"assistant_id": GRAPHS["echo"], "input": {}})
    return {"thread_id": thread, "run_id": run["run_id"], "assistant_id": run["assistant_id"]}


def aim(case, there):
    """Has many requests find what they name, and none wait for long or call out.

    Tells whether something was left out for that: it may be what was wrong with the request.
    """
    has_left_out = False
    for body in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(body, dict):
            for key, of in [("webhook", str), ("after_seconds", (int, float))]:
                if isinstance(body.get(key), of):
                    del body[key]
                    has_left_out = True
            if isinstance(body.get("assistant_id"), str) and "if_exists" not in body:
                body["assistant_id"] = GRAPHS["echo"]
    if case.path_parameters and case.method != "DELETE":
        meant = case.path_parameters.keys() & there.keys()
        case.path_parameters |= {name: there[name] for name in meant}
    return has_left_out


def is_wrong(case):
    """Tells whether the body is none of those that are described."""
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    return bool(body and body.mode.is_negative)


@SCHEMA.parametrize()
@SOME
def test_whatever_is_made_up_is_answered_as_described(case, there):
    has_left_out = aim(case, there)
    case.headers = {**(case.headers or {}), **X_API_KEY}
    answer = case.call(base_url=URL)
    refuses = is_wrong(case) and not has_left_out
    case.validate_response(answer, checks=CHECKS + [negative_data_rejection] * refuses)


@pytest.mark.skipif(not KEY, reason="the server asks for no key")
@pytest.mark.parametrize("operation", [each.ok() for each in SCHEMA.get_all_operations()], ids=str)
def test_without_the_key_nothing_is_done_that_needs_one(operation):
    path = operation.path
    for parameter in operation.path_parameters:
        path = path.replace(f"{{{parameter.name}}}", "00000000-0000-0000-0000-000000000000")
    answer = CLIENT.request(operation.method.upper(), URL + path, json={})
    is_public = operation.definition.raw.get("security") is None
    assert (answer.status_code != 401) == is_public, operation.label
