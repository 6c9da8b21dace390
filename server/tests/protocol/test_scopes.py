"""Scopes: public API 9.3 and 10."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.errors import InvalidScope
from authserver.protocol.scopes import (
    build_scope,
    choose_authorization_scopes,
    choose_machine_scopes,
    choose_refresh_scopes,
    find_outside,
    keep_scopes,
    parse_scopes,
)

CATALOG = ("files:read", "files:write", "mail:send")
UNSET: frozenset[str] = frozenset()

words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1, max_size=5)
scope_lists = st.lists(words, max_size=8, unique=True)


def choose(
    requested: str | None,
    *,
    catalog: tuple[str, ...] = CATALOG,
    ceiling: frozenset[str] = UNSET,
    require_scope: bool = False,
    resource_named: bool = True,
) -> tuple[str, ...]:
    return choose_authorization_scopes(
        requested, catalog=catalog, ceiling=ceiling, require_scope=require_scope, resource_named=resource_named
    )


def test_scopes_are_split_on_white_space_and_deduplicated_in_order() -> None:
    assert parse_scopes("  b a\tb\nc  a ") == ("b", "a", "c")


def test_a_blank_scope_string_holds_no_scope() -> None:
    assert parse_scopes(" \t ") == ()


@pytest.mark.parametrize("scope", ['a"b', "a\\b", "é", "a\x00b", "a\x7f", "a\u00a0b", "a\x1cb"])
def test_a_character_outside_rfc_6749_is_refused(scope: str) -> None:
    with pytest.raises(InvalidScope, match=r"^the requested scope is invalid or not allowed: "):
        parse_scopes(scope)


@given(scope_lists)
def test_built_scopes_parse_to_themselves(scopes: list[str]) -> None:
    assert parse_scopes(build_scope(scopes)) == tuple(scopes)


@given(st.text())
def test_parsing_any_text_gives_scopes_or_a_refusal(text: str) -> None:
    try:
        scopes = parse_scopes(text)
    except InvalidScope:
        return
    assert parse_scopes(build_scope(scopes)) == scopes


def test_bounds_keep_the_order_of_what_they_bound() -> None:
    assert keep_scopes(("c", "a", "b"), within={"a", "c"}) == ("c", "a")
    assert find_outside(("c", "a", "b"), bound={"c"}) == "a"
    assert find_outside(("c", "a"), bound={"a", "c"}) is None


@pytest.mark.parametrize("requested", [None, "", "  "])
def test_row_1_an_absent_scope_is_refused_where_it_is_required(requested: str | None) -> None:
    with pytest.raises(InvalidScope) as refusal:
        choose(requested, require_scope=True)
    assert refusal.value.description == "scope parameter is required (oauth.require_scope=true)"


def test_row_1_comes_before_row_2() -> None:
    with pytest.raises(InvalidScope, match="scope parameter is required"):
        choose(None, catalog=(), require_scope=True)


def test_row_2_an_absent_scope_is_the_catalog_within_the_ceiling() -> None:
    assert choose(None, ceiling=frozenset({"mail:send", "files:read", "other"})) == ("files:read", "mail:send")


def test_row_2_an_unset_ceiling_leaves_the_catalog() -> None:
    assert choose(None) == CATALOG


def test_row_2_tells_the_three_ways_to_be_empty_apart() -> None:
    descriptions = []
    for catalog, resource_named in ((CATALOG, True), ((), True), ((), False)):
        with pytest.raises(InvalidScope) as refusal:
            choose(None, catalog=catalog, ceiling=frozenset({"other"}), resource_named=resource_named)
        descriptions.append(refusal.value.description)
    assert "no scope of the resource lies within the client's registered scope" in descriptions[0]
    assert "the resource declares no scopes" in descriptions[1]
    assert "no registered resource declares any scope" in descriptions[2]


def test_row_3_a_request_beyond_the_ceiling_is_refused_and_names_the_ceiling() -> None:
    with pytest.raises(InvalidScope, match=r"'mail:send'.*ceiling"):
        choose("files:read mail:send", ceiling=frozenset({"files:read"}))


def test_row_3_comes_before_row_4() -> None:
    with pytest.raises(InvalidScope, match="ceiling"):
        choose("mail:send", catalog=(), ceiling=frozenset({"files:read"}))


def test_row_4_a_resource_without_scopes_refuses_every_request() -> None:
    with pytest.raises(InvalidScope) as refusal:
        choose("files:read", catalog=())
    assert refusal.value.description == "no scopes registered for resource"


@pytest.mark.parametrize(("resource_named", "where"), [(True, "the resource"), (False, "any registered resource")])
def test_row_5_a_request_beyond_the_catalog_names_the_first_such_scope(*, resource_named: bool, where: str) -> None:
    with pytest.raises(InvalidScope, match=f"'x' is not a scope of {where}$"):
        choose("files:read x y", resource_named=resource_named)


def test_row_5_holds_without_any_catalog_too() -> None:
    with pytest.raises(InvalidScope, match="'files:read' is not a scope of any registered resource"):
        choose("files:read", catalog=(), resource_named=False)


def test_row_6_comes_before_row_3() -> None:
    with pytest.raises(InvalidScope, match="character"):
        choose('files:read "', ceiling=frozenset({"other"}))


def test_a_request_within_all_bounds_is_granted_as_it_was_asked() -> None:
    assert choose("mail:send files:read mail:send", ceiling=frozenset(CATALOG)) == ("mail:send", "files:read")


@given(scope_lists, scope_lists, scope_lists, st.booleans())
def test_what_is_chosen_never_exceeds_catalog_or_ceiling(
    requested: list[str],
    catalog: list[str],
    ceiling: list[str],
    resource_named: bool,  # noqa: FBT001  hypothesis passes it by position
) -> None:
    try:
        chosen = choose(
            build_scope(requested), catalog=tuple(catalog), ceiling=frozenset(ceiling), resource_named=resource_named
        )
    except InvalidScope:
        return
    assert chosen
    assert set(chosen) <= set(catalog)
    assert not ceiling or set(chosen) <= set(ceiling)
    assert not requested or list(chosen) == requested


def test_a_refresh_without_scope_gets_what_was_granted() -> None:
    assert choose_refresh_scopes(None, family=("b", "a"), ceiling=UNSET) == ("b", "a")


def test_a_refresh_without_scope_is_narrowed_to_the_ceiling_of_now() -> None:
    assert choose_refresh_scopes(None, family=("b", "a"), ceiling={"a", "c"}) == ("a",)


def test_a_refresh_of_which_the_ceiling_leaves_nothing_is_refused() -> None:
    with pytest.raises(InvalidScope, match="no granted scope"):
        choose_refresh_scopes("", family=("b", "a"), ceiling={"c"})


def test_a_refresh_may_ask_for_less_and_gets_it_in_the_stored_order() -> None:
    assert choose_refresh_scopes("c b", family=("b", "a", "c"), ceiling=UNSET) == ("b", "c")


def test_a_refresh_may_not_ask_for_more_than_was_granted() -> None:
    with pytest.raises(InvalidScope, match="'x' was not granted"):
        choose_refresh_scopes("a x", family=("a",), ceiling={"a", "x"})


def test_an_explicit_refresh_beyond_the_ceiling_is_refused_not_narrowed() -> None:
    with pytest.raises(InvalidScope, match=r"'b'.*ceiling"):
        choose_refresh_scopes("a b", family=("a", "b"), ceiling={"a"})


@given(scope_lists, scope_lists.filter(bool), scope_lists)
def test_a_refresh_never_widens(requested: list[str], family: list[str], ceiling: list[str]) -> None:
    try:
        chosen = choose_refresh_scopes(build_scope(requested), family=tuple(family), ceiling=frozenset(ceiling))
    except InvalidScope:
        return
    assert chosen
    assert set(chosen) <= set(family)
    assert not ceiling or set(chosen) <= set(ceiling)
    assert not requested or set(chosen) == set(requested)


@pytest.mark.parametrize(
    ("requested", "catalog", "chosen"),
    [
        (None, None, ("b", "a", "x")),
        (" ", ("a", "b"), ("b", "a")),
        ("a", ("a", "b"), ("a",)),
        ("a x", None, ("a", "x")),
    ],
)
def test_a_machine_gets_its_ceiling_within_the_catalogue(
    requested: str | None, catalog: tuple[str, ...] | None, chosen: tuple[str, ...]
) -> None:
    assert choose_machine_scopes(requested, ceiling=("b", "a", "x", "b"), catalog=catalog) == chosen


@pytest.mark.parametrize(
    ("requested", "catalog", "reason"),
    [
        ("a c", ("a", "c"), "scope_outside_ceiling"),
        ("a x", ("a", "b"), "scope_not_in_catalog"),
        ("c", ("a",), "scope_outside_ceiling"),
        ("a", (), "scope_not_in_catalog"),
        (None, (), "ceiling_excludes_all"),
        (None, ("c",), "ceiling_excludes_all"),
        ('a"', None, "scope_malformed"),
    ],
)
def test_a_machine_gets_nothing_beyond_a_bound(
    requested: str | None, catalog: tuple[str, ...] | None, reason: str
) -> None:
    with pytest.raises(InvalidScope) as refusal:
        choose_machine_scopes(requested, ceiling=("b", "a", "x"), catalog=catalog)
    assert refusal.value.reason == reason


@given(scope_lists, scope_lists.filter(bool), st.none() | scope_lists)
def test_a_machine_never_gets_more_than_its_bounds(
    requested: list[str], ceiling: list[str], catalog: list[str] | None
) -> None:
    try:
        chosen = choose_machine_scopes(build_scope(requested), ceiling=ceiling, catalog=catalog)
    except InvalidScope:
        return
    assert chosen
    assert set(chosen) <= set(ceiling)
    assert catalog is None or set(chosen) <= set(catalog)
    assert not requested or set(chosen) == set(requested)
