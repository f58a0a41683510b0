"""Start, watch and cancel as the two SDKs do; the witness decides that the work has stopped."""

import time

import jwt
import pytest
import requests

from demo import BOB, EVE, NODES, PLAYBOOK3D, WORKFLOWS
from sdks import Python, Refused

CANCELED = "Run successfully canceled."


def wait_for(client, run_id, status):
    deadline = time.monotonic() + 20
    while (run := client.run(run_id))["status"] != status:
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
    return run


def test_an_unknown_key_is_told_so():
    for call in ("token-wrapper/get-tokens", "get-sdk-secrets"):
        url = f"{PLAYBOOK3D}/{call}/44444444-4444-4444-8444-444444444444"
        assert requests.get(url, timeout=30).status_code == 401


def test_the_token_names_the_user(python):
    claims = jwt.decode(python.token(), options={"verify_signature": False})
    assert claims["username"] == "alice" and claims["exp"] > time.time()


def test_teams_and_workflows_belong_together(python, unity):
    teams, workflows = python.teams(), python.workflows()
    assert all(set(team) == {"id", "name"} for team in teams)
    assert all(set(each) == {"id", "name", "team_id"} for each in workflows)
    assert {each["team_id"] for each in workflows} <= {team["id"] for team in teams}
    assert (unity.get("/teams"), unity.get("/workflows")) == (teams, workflows)


def test_python_runs_a_workflow_to_its_end(python):
    workflow = python.workflow("short")
    started = python.run_workflow(workflow)
    assert started["status"] == "queued"
    assert started["message"] == "Workflow queued successfully."
    run = wait_for(python, started["run_id"], "executed")
    assert (run["platform"], run["workflow"]) == (0, workflow)
    assert (run["team"]["id"], run["owner"]["name"]) == (workflow["team_id"], "alice")
    assert run["webhookUrl"] is None and run["duration"] >= 0
    assert python.result(run) == run["runResult"] is not None
    expected = {"message": "Run is already in a final state: executed."}
    assert python.cancel(run) == expected == python.cancel(run)


def test_python_cancels_a_run(python, probe):
    inputs = {"message": f"tick_ms=5 probe={probe.name}"}
    run_id = python.run_workflow(python.workflow("slow"), inputs)["run_id"]
    probe.wait_for_work(bodies=4)
    run = wait_for(python, run_id, "running")
    assert python.result(run) is None
    assert python.cancel(run) == {"message": CANCELED}
    probe.assert_still()
    assert probe.count("dropped") == 4
    run = python.run(run_id)
    assert run["status"] == "canceled"
    assert run["quell"]["status"] == "cancelled" and run["quell"]["quiescent"]
    assert run["quell"]["cause"]["kind"] == "user-request"
    assert python.cancel(run) == {"message": "Run is already in a final state: canceled."}


def test_unity_cancels_a_run(unity, python, probe):
    workflow = next(w for w in unity.get("/workflows") if w["name"] == WORKFLOWS["slow"])
    run_id = unity.run_workflow(workflow, {"message": f"tick_ms=5 probe={probe.name}"})
    probe.wait_for_work()
    answer = unity.cancel(workflow["team_id"], run_id)
    assert (answer.status_code, answer.json()) == (200, {"message": CANCELED})
    assert answer.headers["quell-disposition"] == "accepted"
    probe.assert_still()
    assert python.run(run_id)["platform"] == "2"


def test_a_stubborn_run_has_the_time_that_it_takes(unity, python, probe):
    workflow = python.workflow("stubborn")
    run_id = unity.run_workflow(workflow, {"ms": 700, "tag": probe.name})
    probe.wait_for_work()
    answer = unity.cancel(workflow["team_id"], run_id)
    # Or, with a short `cancel_wait_ms`, that it is still canceling.
    assert answer.json()["message"] in (
        CANCELED,
        "Run cancellation accepted. Current state: canceling.",
    )
    wait_for(python, run_id, "canceled")
    assert probe.marks()[-1].endswith(":done")
    probe.assert_still()


def test_an_allocated_id_can_be_canceled_before_its_run(python, probe):
    workflow = python.workflow("slow")
    run_id = python.call("GET", f"{python.api}/get_run_id").json()["run_id"]
    url = f"{python.api}/cancel/{workflow['team_id']}/{run_id}"
    answer = python.call("POST", url)
    assert answer.json() == {"message": CANCELED}
    assert answer.headers["quell-disposition"] == "reserved"
    body = {"id": workflow["id"], "inputs": {"message": f"probe={probe.name}"}}
    started = python.call(
        "POST", f"{python.api}/run_workflow/{workflow['team_id']}/{run_id}", json=body
    )
    assert started.json()["status"] == "queued"
    wait_for(python, run_id, "canceled")
    assert probe.marks() == []


def test_who_has_no_credits_may_cancel_and_not_run(python, probe):
    eve = Python(EVE)
    with pytest.raises(Refused) as refused:
        eve.run_workflow(eve.workflow("slow"))
    assert refused.value.status == 402
    inputs = {"message": f"tick_ms=5 probe={probe.name}"}
    run_id = python.run_workflow(python.workflow("slow"), inputs)["run_id"]
    probe.wait_for_work()
    assert eve.cancel(eve.run(run_id)) == {"message": CANCELED}
    probe.assert_still()


def test_a_run_of_another_team_is_out_of_reach(python):
    bob = Python(BOB)
    workflow = python.workflow("slow")
    run_id = python.run_workflow(workflow, {"message": "tick_ms=5"})["run_id"]
    run = python.run(run_id)
    assert all(seen["id"] != run_id for seen in bob.runs())
    for call, status in ((bob.cancel, 403), (bob.result, 404)):
        with pytest.raises(Refused) as refused:
            call(run)
        assert refused.value.status == status
    assert python.cancel(run) == {"message": CANCELED}
