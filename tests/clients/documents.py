"""The vendors' OpenAPI documents of five operations, and what an answer has to keep of them.

The documents have the facts of the vendors': paths, parameters, statuses, schemas and values of the
wire. Their descriptions are the names of the statuses. Take no text from a vendor's document.

No 5xx, no undocumented status, no undocumented content type, no body off its schema.
"""

import os
import pathlib

import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

HERE = pathlib.Path(__file__).resolve().parent / "openapi"

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

EXAMPLES = int(os.environ.get("QUELL_EXAMPLES", "200"))


def some(examples):
    """Yields the settings of a test that makes up so many requests."""
    return settings(
        max_examples=max(examples, 1),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


MADE_UP = some(EXAMPLES)


def facts_of(contract):
    """Yields what a vendor's document says of each operation that we serve."""
    return yaml.safe_load((HERE / f"{contract}-facts.yaml").read_text())


class Ours:
    """Our own document, held against the facts of a vendor's."""

    def __init__(self, document):
        self.document = document

    def lacks(self, name, facts, statuses):
        """Yields what the vendor has of an operation and we do not, and the fields that we need and
        the vendor does not."""
        method, path = name.split(" ")
        ours = self.document["paths"][path][method.lower()]
        body = self.schema(ours.get("requestBody"))
        answer = self.schema(ours["responses"].get("200"))
        theirs = set(filter(None, facts.get("parameters", "").split(", "))) | statuses
        for part in ("body", "answer"):
            theirs |= set(facts.get(part, "").split())
        known = {f"{each['in']} {each['name']}" for each in ours["parameters"]}
        known |= body.get("properties", {}).keys() | answer.get("properties", {}).keys()
        needed = set(body.get("required", [])) - set(facts.get("required", "").split())
        return theirs - known - set(ours["responses"]), needed

    def schema(self, part):
        """Yields the schema of a body, or of a row of it."""
        part = next(iter((part or {}).get("content", {}).values()), {}).get("schema", {})
        # What has properties may say besides which of them are needed.
        while "properties" not in part and (
            more := part.get("items") or part.get("anyOf", [None])[0] or part.get("$ref")
        ):
            if isinstance(more, str):
                more = self.document["components"]["schemas"][more.split("/")[-1]]
            part = more
        return part


class Document:
    """A document with one operation."""

    def __init__(self, name, path, base_url):
        self.schema = schemathesis.openapi.from_path(HERE / f"{name}.yaml")
        self.schema.config.update(base_url=base_url)
        self.base_url = base_url
        self.operation = self.schema[path]["POST"]

    def send(self, headers, **parts):
        """Sends a request and checks the answer against the document."""
        case = self.operation.Case(headers=dict(headers), **parts)
        return self.check(case, headers)

    def check(self, case, headers):
        # Made-up credentials never replace those that are meant.
        meant = {name.lower() for name in headers}
        made_up = {k: v for k, v in (case.headers or {}).items() if k.lower() not in meant}
        case.headers = made_up | dict(headers)
        answer = case.call(base_url=self.base_url)
        case.validate_response(answer, checks=CHECKS)
        return answer
