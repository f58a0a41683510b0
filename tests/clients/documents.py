"""The vendors' OpenAPI documents of five operations, and what an answer has to keep of them.

The documents have the facts of the vendors': paths, parameters, statuses, schemas and values of the
wire. Their descriptions are the names of the statuses. Take no text from a vendor's document.

No 5xx, no undocumented status, no undocumented content type, no body off its schema.
"""

import os
import pathlib

import schemathesis
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

MADE_UP = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


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
