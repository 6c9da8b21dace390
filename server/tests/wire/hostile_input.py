"""Sends what an OpenAPI document allows and what it does not: nothing is answered by a fault or an unnamed status."""

import contextlib
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

EXAMPLES = 3
ENDLESS = {"/admin/audit/stream"}


def send_everything(
    document: dict[str, Any], port: int, known: dict[str, dict[str, str]], headers: dict[str, str]
) -> list[str]:
    """Send requests made from a document; return the operations that were tried.

    Args:
        document: The document.
        port: Where to.
        headers: Of every request.
        known: Of the beginning of a path, parameters that name something that is there.
    """
    tried = []
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # the document is ours: it holds no schema that is none
        if operation.path in ENDLESS:
            continue
        names = next((names for begin, names in known.items() if operation.path.startswith(begin)), {})
        base_url = f"http://127.0.0.1:{port}"
        send(operation, GenerationMode.NEGATIVE, base_url, {}, headers)
        send(
            operation, GenerationMode.POSITIVE, base_url, {} if operation.method.upper() == "DELETE" else names, headers
        )
        tried.append(operation.label)
    return tried


def send(operation: Any, mode: GenerationMode, base_url: str, names: dict[str, str], headers: dict[str, str]) -> None:
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
        answer = case.call(base_url=base_url, headers=headers, allow_redirects=False)
        case.validate_response(answer, checks=[not_a_server_error, status_code_conformance])

    # Where nothing is said of an input, none is against it.
    with contextlib.suppress(Unsatisfiable):
        one()
