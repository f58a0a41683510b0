"""`POST /cancel/{team_id}/{run_id}` of Playbook3D against its OpenAPI document.

Known, unknown, finished, foreign and malformed ids, with and without credentials; then whatever
schemathesis makes up.
"""

import time
import uuid

import pytest
import requests

from demo import ALICE, BOB, PLAYBOOK3D
from documents import MADE_UP, Document
from sdks import Python

DOCUMENT = Document("playbook3d-cancel-run", "/cancel/{team_id}/{run_id}", PLAYBOOK3D)


def has_both_keys(body):
    return set(body) == {"result", "description"} and body["result"] == body["description"]


@pytest.fixture(scope="module")
def ids():
    """A live and a finished run of alice, one of bob, and ids that name nothing."""
    alice, bob = Python(ALICE), Python(BOB)
    ours, theirs = alice.workflow("slow"), bob.workflow("slow")
    finished = alice.run_workflow(alice.workflow("short"))["run_id"]
    while alice.run(finished)["status"] != "executed":
        time.sleep(0.02)
    foreign = bob.run_workflow(theirs, {"message": "tick_ms=5"})["run_id"]
    yield {
        "alice": alice,
        "team": ours["team_id"],
        "other_team": theirs["team_id"],
        "live": alice.run_workflow(ours, {"message": "tick_ms=5"})["run_id"],
        "finished": finished,
        "foreign": foreign,
        "unknown": str(uuid.uuid4()),
        "malformed": "not-a-uuid",
    }
    bob.cancel(bob.run(foreign))


def headers(ids, credentials):
    token, key = ids["alice"].token(), ALICE
    return {
        "both": {"Authorization": f"Bearer {token}", "x-api-key": key},
        "platform": {
            "Authorization": f"Bearer {token}",
            "x-api-key": ids["alice"].platform_key,
        },
        "none": {},
        "bearer": {"Authorization": f"Bearer {token}"},
        "key": {"x-api-key": key},
        "wrong": {"Authorization": "Bearer x.y.z", "x-api-key": key},
    }[credentials]


CASES = [
    ("team", "live", 200),
    ("team", "finished", 200),
    ("team", "unknown", 404),
    ("team", "foreign", 404),
    ("team", "malformed", 400),
    ("other_team", "foreign", 403),
    ("other_team", "unknown", 403),
    ("other_team", "malformed", 400),
    ("unknown", "live", 404),
    ("unknown", "unknown", 404),
    ("malformed", "live", 400),
    ("malformed", "malformed", 400),
]


@pytest.mark.parametrize("credentials", ["none", "bearer", "key", "wrong", "platform", "both"])
@pytest.mark.parametrize(("team", "run", "status"), CASES)
def test_every_case_is_as_documented(ids, team, run, status, credentials):
    if credentials not in ("both", "platform"):
        status = 401
    path = {"team_id": ids[team], "run_id": ids[run]}
    answer = DOCUMENT.send(headers(ids, credentials), path_parameters=path)
    assert answer.status_code == status
    assert status == 200 or has_both_keys(answer.json())


@DOCUMENT.schema.parametrize()
@MADE_UP
def test_whatever_is_made_up_without_credentials_is_401(case):
    answer = DOCUMENT.check(case, {})
    # Schemathesis tries other methods too.
    assert answer.status_code == (401 if case.method == "POST" else 405)


@DOCUMENT.schema.parametrize()
@MADE_UP
def test_whatever_is_made_up_with_credentials_is_as_documented(ids, case):
    assert DOCUMENT.check(case, headers(ids, "both")).status_code != 401


def test_made_up_ids_with_credentials_are_as_documented(ids):
    strange = ["%00", "%ff", "..", "%2e%2e", "a" * 5000, "'", "%F0%9F%98%80", "{}", "-", "%2F"]
    for text in strange:
        for path in (f"{text}/{ids['unknown']}", f"{ids['team']}/{text}"):
            url = f"{PLAYBOOK3D}/cancel/{path}"
            answer = requests.post(url, headers=headers(ids, "both"), timeout=30)
            assert answer.status_code in (400, 404), (path, answer.status_code)
            assert has_both_keys(answer.json())
