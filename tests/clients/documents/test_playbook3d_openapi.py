"""Every operation of Playbook3D that the server describes at `/playbook3d/openapi.json`, against that.

schemathesis makes up what is asked for. Part of it is put where it finds something: a key, a team,
a workflow and a run that are there.
"""

import httpx
import pytest
import schemathesis

from demo import ALICE, HTTP, KEY, NODES, PLAYBOOK3D, PREFIX
from documents import CHECKS, EXAMPLES, some
from sdks import Python

pytestmark = pytest.mark.skipif(bool(PREFIX), reason="names of components make no difference")

DOCUMENT = HTTP.get(f"{PLAYBOOK3D}/openapi.json").json()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
SCHEMA.config.update(base_url=PLAYBOOK3D)
# Many where nothing else makes a difference.
SHARE = 10 if len(NODES) == 1 and not KEY else 100
SOME = some(EXAMPLES // SHARE)
CLIENT = httpx.Client(timeout=30)


@pytest.fixture(scope="module")
def there():
    """Yields the ids of what is there, and the credentials for it."""
    alice = Python(ALICE)
    short = alice.workflow("short")
    ids = {
        "api_key": ALICE,
        "team_id": short["team_id"],
        "run_id": alice.run_workflow(short)["run_id"],
    }
    headers = {"Authorization": f"Bearer {alice.token()}", "x-api-key": ALICE}
    return ids, short["id"], headers


def aim(case, ids, workflow):
    """Has many requests find what they name, and none run for long."""
    if isinstance(case.body, dict) and isinstance(case.body.get("id"), str):
        case.body["id"] = workflow
    if case.path_parameters:
        # An id that is in use starts nothing.
        is_start = "run_workflow" in case.path
        meant = {name for name in ids if name in case.path_parameters}
        meant -= {"run_id"} if is_start else set()
        case.path_parameters |= {name: ids[name] for name in meant}


@SCHEMA.parametrize()
@SOME
def test_whatever_is_made_up_is_answered_as_described(case, there):
    ids, workflow, headers = there
    aim(case, ids, workflow)
    case.headers = {**(case.headers or {}), **headers}
    answer = case.call(base_url=PLAYBOOK3D)
    case.validate_response(answer, checks=CHECKS)


@SCHEMA.parametrize()
@SOME
def test_whatever_is_made_up_for_nothing_that_is_there_is_answered_as_described(case, there):
    case.headers = {**(case.headers or {}), **there[2]}
    answer = case.call(base_url=PLAYBOOK3D)
    case.validate_response(answer, checks=CHECKS)


@pytest.mark.parametrize("operation", [each.ok() for each in SCHEMA.get_all_operations()], ids=str)
def test_without_credentials_nothing_is_done_that_needs_some(operation):
    path = operation.path.replace("{api_key}", ALICE)
    for parameter in operation.path_parameters:
        path = path.replace(f"{{{parameter.name}}}", "00000000-0000-0000-0000-000000000000")
    answer = CLIENT.request(operation.method.upper(), PLAYBOOK3D + path)
    is_public = operation.definition.raw.get("security") is None
    assert (answer.status_code != 401) == is_public, operation.label
