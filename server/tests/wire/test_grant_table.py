"""One grant is one file and one line of the table (decision 0017)."""

import importlib
import pkgutil
import re
from dataclasses import replace
from pathlib import Path

import pytest

import authserver
from authserver.config.declaring import declared_keys
from authserver.config.model import Config
from authserver.protocol.grant_types import DEVICE_CODE, USER_GRANTS
from authserver.tokens import grants
from authserver.tokens.grants.table import ENABLING_VARIABLES, GRANTS, served_grants

SOURCE = Path(authserver.__file__).parent
MODULES = [name for _, name, _ in pkgutil.iter_modules(grants.__path__) if name not in {"entry", "table"}]
SWITCHED = [name for name, entry in GRANTS.items() if entry.switch is not None]


def test_every_module_of_a_grant_has_an_entry_in_the_table() -> None:
    entries = [
        entry
        for name in MODULES
        if (entry := getattr(importlib.import_module(f"authserver.tokens.grants.{name}"), "ENTRY", None))
    ]
    assert {entry.grant_type for entry in entries} == set(GRANTS)


@pytest.mark.parametrize("grant_type", SWITCHED)
def test_a_grant_is_switched_by_the_key_that_its_entry_names(grant_type: str) -> None:
    entry = GRANTS[grant_type]
    assert entry.switch is not None
    variables = {declared.path: declared.key.env for declared in declared_keys(Config)}
    assert ENABLING_VARIABLES[grant_type] == variables[entry.switch.key]
    section, _, name = entry.switch.key.partition(".")
    config = Config()
    off = replace(config, **{section: replace(getattr(config, section), **{name: False})})
    assert grant_type not in served_grants(off)
    on = replace(config, **{section: replace(getattr(config, section), **{name: True})})
    assert grant_type in served_grants(on)


@pytest.mark.parametrize("grant_type", SWITCHED)
def test_the_name_of_a_grant_is_written_once(grant_type: str) -> None:
    literal = re.compile(f'= "{re.escape(grant_type)}"')
    places = [path for path in SOURCE.rglob("*.py") if literal.search(path.read_text())]
    assert len(places) == 1, places


def test_a_grant_that_nobody_thought_about_counts_as_one_without_a_user() -> None:
    assert set(GRANTS) >= USER_GRANTS
    assert {"authorization_code", "refresh_token", DEVICE_CODE} == USER_GRANTS
