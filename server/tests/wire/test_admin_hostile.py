"""What no operator would send: every endpoint of the document, with bodies and parameters made from its schemas.

Whatever arrives is answered with a status that the document names, and never as a fault.
"""

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from authserver.admin.api.table import TABLE
from authserver.admin.openapi import build_document
from server.tests.web.test_run import running
from server.tests.wire.harness import Wire
from server.tests.wire.operating import API_KEY

pytestmark = pytest.mark.anyio

EXAMPLES = 3
ENDLESS = {"/admin/audit/stream"}
HEADERS = {"authorization": f"Bearer {API_KEY}"}


def send_everything(document: dict[str, Any], port: int, known: dict[str, dict[str, str]]) -> list[str]:
    """Send requests made from a document; return the operations that were tried.

    Args:
        document: The document.
        port: Where to.
        known: Of the beginning of a path, parameters that name something that is there.
    """
    tried = []
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # the document is ours: it holds no schema that is none
        if operation.path in ENDLESS:
            continue
        names = next((names for begin, names in known.items() if operation.path.startswith(begin)), {})
        base_url = f"http://127.0.0.1:{port}"
        send(operation, GenerationMode.NEGATIVE, base_url, {})
        send(operation, GenerationMode.POSITIVE, base_url, {} if operation.method.upper() == "DELETE" else names)
        tried.append(operation.label)
    return tried


def send(operation: Any, mode: GenerationMode, base_url: str, names: dict[str, str]) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        for name in names.keys() & (case.path_parameters or {}).keys():
            case.path_parameters[name] = names[name]
        answer = case.call(base_url=base_url, headers=HEADERS)
        case.validate_response(answer, checks=[not_a_server_error, status_code_conformance])

    one()


@pytest.mark.timeout(600)  # it makes the requests of a hundred endpoints, beside whatever else runs
async def test_whatever_is_sent_is_answered_as_the_document_says(wire: Wire) -> None:
    document = build_document(TABLE, version="0")
    known = {
        "/admin/users/": {"id": wire.user.id},
        "/admin/clients/": {"id": wire.runtime.client.id},
        "/admin/resources/": {"id": wire.resource.id, "slug": wire.resource.slug},
    }
    async with running(wire.server.admin) as listener:
        tried = await asyncio.to_thread(send_everything, document, listener.port, known)
    assert len(tried) == len(TABLE) - len(ENDLESS)
