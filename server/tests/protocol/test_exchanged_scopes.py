"""Which scopes an exchanged token gets (token exchange, section 7): never more than any bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.errors import InvalidScope
from authserver.protocol.exchanged_scopes import choose_mapped, derive_consented, sources_of, split_scope

NAMES = st.sets(st.sampled_from("abcdef"))
MAPS = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("uvwxyz"), min_size=1, unique=True), min_size=1
)


@given(granted=NAMES, catalog=NAMES, subject=NAMES)
def test_what_is_derived_lies_within_every_bound(granted: set[str], catalog: set[str], subject: set[str]) -> None:
    derived = derive_consented(granted=granted, catalog=catalog, subject=subject)
    assert list(derived) == sorted(derived)
    assert set(derived) <= granted & catalog
    assert not subject or set(derived) <= subject


@given(scope_map=MAPS, requested=st.lists(st.sampled_from("uvwxyz"), unique=True), subject=NAMES)
def test_along_a_link_each_scope_is_covered_by_the_first_that_stands_for_it(
    scope_map: dict[str, list[str]], requested: list[str], subject: set[str]
) -> None:
    first = {target: min(sources) for target, sources in sources_of(scope_map).items()}
    covered = {target for target, source in first.items() if source in subject}
    if (requested and set(requested) <= covered) or (not requested and covered):
        chosen = choose_mapped(requested, scope_map=scope_map, subject=subject)
        assert set(chosen) == (set(requested) or covered)
    else:
        with pytest.raises(InvalidScope):
            choose_mapped(requested, scope_map=scope_map, subject=subject)


def test_of_two_scopes_that_stand_for_one_the_first_in_the_alphabet_counts() -> None:
    scope_map = {"b": ["t"], "a": ["t"]}
    assert choose_mapped(["t"], scope_map=scope_map, subject={"a"}) == ("t",)
    with pytest.raises(InvalidScope) as refused:
        choose_mapped(["t"], scope_map=scope_map, subject={"b"})
    assert refused.value.reason == "fronting_subject_scope_insufficient"


def test_a_scope_parameter_is_its_words_each_once() -> None:
    assert split_scope(" b  a b ") == ("b", "a")
    assert split_scope(None) == split_scope(" \t ") == ()
