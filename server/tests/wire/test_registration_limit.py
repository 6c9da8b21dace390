"""Registering needs no proof and leaves a row: a source may do it only so often (ruling R17)."""

import asyncio
import time
from dataclasses import replace

import pytest

from authserver.config.model import Config
from server.tests.wire.harness import REDIRECT, Wire

pytestmark = pytest.mark.anyio

BURST, RATE = 20, 1


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, dcr=replace(config.dcr, rate_limit=RATE, rate_limit_burst=BURST))


async def test_a_source_registers_as_often_as_its_rate_allows_and_hears_when_to_come_back(wire: Wire) -> None:
    document = {"client_name": "flood", "redirect_uris": [REDIRECT]}
    started = time.monotonic()
    answers = await asyncio.gather(*(wire.http.post("/oauth/register", json=document) for _ in range(100)))
    seconds = time.monotonic() - started

    refused = [answer for answer in answers if answer.status_code == 429]
    registered = [answer for answer in answers if answer.status_code == 201]
    assert len(refused) + len(registered) == 100
    assert BURST <= len(registered) <= BURST + RATE * seconds + 1
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert {answer.json()["error"] for answer in refused} == {"slow_down"}
    row = await wire.core.db.fetch_one("SELECT count(*) AS n FROM clients WHERE registration_source = 'dcr'")
    assert row is not None
    assert row["n"] == len(registered)
