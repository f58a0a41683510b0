"""The cancel operations of AgentOS against its OpenAPI documents.

Known, unknown, finished, foreign and malformed ids; with the key, without one, with a wrong one;
then whatever schemathesis makes up.
"""

import uuid
from urllib.parse import quote

import pytest

from demo import AGENTOS, BEARER, HTTP, KEY, URL, Probe
from documents import MADE_UP, Document

COMPONENTS = {"agent": AGENTOS["agent"], "team": AGENTOS["team"], "workflow": AGENTOS["flow"]}
KINDS = list(COMPONENTS)
DOCUMENTS = {
    kind: Document(
        f"agentos-cancel-{kind}-run", f"/{kind}s/{{{kind}_id}}/runs/{{run_id}}/cancel", URL
    )
    for kind in KINDS
}
WRONG = [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}]


def cancel(kind, component, run, headers=BEARER):
    ids = {f"{kind}_id": component, "run_id": run}
    return DOCUMENTS[kind].send(headers, path_parameters=ids)


def start(kind, message, **more):
    run = str(uuid.uuid4())
    form = {"message": message, "stream": "false", "run_id": run, **more}
    path = f"{URL}/{kind}s/{COMPONENTS[kind]}/runs"
    HTTP.post(path, data=form, headers=BEARER).raise_for_status()
    return run


def is_refusal(answer):
    return set(answer.json()) == {"detail", "error_code"} and type(answer.json()["detail"]) is str


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_run_and_a_finished_one_are_200(kind):
    probe = Probe()
    run = start(kind, f"probe={probe.name}", background="true")
    probe.wait_for_work()
    for _ in range(3):
        answer = cancel(kind, COMPONENTS[kind], run)
        assert (answer.status_code, answer.content) == (200, b"{}")
    finished = start(kind, "ticks=1 tick_ms=1")
    assert cancel(kind, COMPONENTS[kind], finished).status_code == 200
    probe.assert_still()


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_and_a_foreign_run_are_404(kind):
    other = KINDS[(KINDS.index(kind) + 1) % len(KINDS)]
    foreign = start(other, "hi", background="true")
    for component, run in [
        (COMPONENTS[kind], str(uuid.uuid4())),
        (COMPONENTS[kind], foreign),
        ("nothing", foreign),
    ]:
        answer = cancel(kind, component, run)
        assert answer.status_code == 404 and is_refusal(answer)
    assert cancel(other, COMPONENTS[other], foreign).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("run", ["\0", "a\nb", "x" * 129, "ä" * 100, "..%2f", " ", "{}", "%"])
def test_a_malformed_id_is_404(kind, run):
    assert cancel(kind, COMPONENTS[kind], run).status_code == 404
    assert cancel(kind, run, run).status_code == 404


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_no_text_are_answered_by_the_document(kind):
    component = COMPONENTS[kind]
    for path in [f"/{kind}s/{component}/runs/%FF/cancel", f"/{kind}s/%C3/runs/x/cancel"]:
        answer = HTTP.post(URL + path, headers=BEARER)
        assert answer.status_code == 404 and is_refusal(answer)
    path = f"{URL}/{kind}s/{component}/runs/{quote('a b')}/cancel?wait=maybe"
    answer = HTTP.post(path, headers=BEARER)
    assert answer.status_code == 422 and is_refusal(answer)


@pytest.mark.skipif(not KEY, reason="the server asks for no key")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("headers", WRONG, ids=["none", "wrong", "basic"])
def test_without_the_key_every_id_is_401_and_nothing_stops(kind, headers):
    probe = Probe()
    finished = start(kind, "ticks=1 tick_ms=1")
    run = start(kind, f"probe={probe.name}", background="true")
    probe.wait_for_work()
    for component, id in [
        (COMPONENTS[kind], run),
        (COMPONENTS[kind], finished),
        (COMPONENTS[kind], str(uuid.uuid4())),
        (COMPONENTS[kind], "\0"),
        ("nothing", "nothing"),
    ]:
        answer = cancel(kind, component, id, headers)
        assert answer.status_code == 401 and is_refusal(answer)
    assert probe.count("dropped") == 0
    assert cancel(kind, COMPONENTS[kind], run).status_code == 200


def made_up(document, headers):
    @document.schema.parametrize()
    @MADE_UP
    def test(case):
        answer = document.check(case, headers)
        # Schemathesis tries other methods too.
        if case.method == "POST":
            assert (answer.status_code == 401) == (headers != BEARER)

    return test


for _kind, _document in DOCUMENTS.items():
    globals()[f"test_whatever_is_sent_to_{_kind}s_is_answered_by_the_document"] = made_up(
        _document, BEARER
    )
    if KEY:
        globals()[f"test_whatever_is_sent_to_{_kind}s_without_the_key_is_401"] = made_up(
            _document, {}
        )
