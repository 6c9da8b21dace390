"""Client metadata: public API 11.2 to 11.4 and 12.5, MCP checklist AS-23 and CM-03 to CM-18."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.client_metadata import ClientMetadata, parse_metadata_document, parse_registration
from authserver.protocol.errors import InvalidClientMetadata, InvalidRedirectUri, InvalidRequest
from authserver.protocol.grant_types import (
    AUTHORIZATION_CODE,
    CLIENT_CREDENTIALS,
    DEVICE_CODE,
    JWT_BEARER,
    REFRESH_TOKEN,
    TOKEN_EXCHANGE,
)

CALLBACK = "https://client.example/cb"
URL = "https://client.example/oauth/client.json"
USER_GRANTS = frozenset({AUTHORIZATION_CODE, REFRESH_TOKEN})
SECRETS = frozenset({"none", "client_secret_basic", "client_secret_post"})
KEYS = SECRETS | {"private_key_jwt"}
JWKS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=5,
)
MEMBERS = [
    "redirect_uris",
    "client_name",
    "grant_types",
    "response_types",
    "token_endpoint_auth_method",
    "token_endpoint_auth_methods_supported",
    "application_type",
    "jwks",
    "jwks_uri",
    "dpop_bound_access_tokens",
    "agent",
    "agent_description",
    "client_id",
    "scope",
]


def registration(
    *, served_grants: frozenset[str] = USER_GRANTS, served_auth_methods: frozenset[str] = SECRETS, **members: Any
) -> ClientMetadata:
    document = {"client_name": "Client", "redirect_uris": [CALLBACK]} | members
    return parse_registration(
        document,
        served_grants=served_grants,
        served_auth_methods=served_auth_methods,
        enabling_variables={DEVICE_CODE: "THE_VARIABLE_OF_DEVICES"},
    )


def document(
    *,
    served_grants: frozenset[str] = USER_GRANTS,
    served_auth_methods: frozenset[str] = SECRETS,
    held_grants: frozenset[str] | None = None,
    **members: Any,
) -> ClientMetadata:
    return parse_metadata_document(
        {"client_id": URL, "client_name": "Client", "redirect_uris": [CALLBACK]} | members,
        url=URL,
        served_grants=served_grants,
        served_auth_methods=served_auth_methods,
        held_grants=held_grants,
    )


# --- dynamic registration --------------------------------------------------------------------------------------------


def test_the_least_registration_gets_the_defaults() -> None:
    assert registration() == ClientMetadata(
        redirect_uris=(CALLBACK,),
        client_name="Client",
        grant_types=("authorization_code", "refresh_token"),
        response_types=("code",),
        token_endpoint_auth_method="none",
        application_type="web",
        jwks=None,
        jwks_uri=None,
        dpop_bound_access_tokens=False,
        agent=False,
        agent_description="",
    )


def test_everything_is_registered_as_sent() -> None:
    metadata = registration(
        client_name="Räuber 👩\u200d💻 \u202ecilbup",
        redirect_uris=[CALLBACK, "https://client.example/cb2"],
        grant_types=["refresh_token", "authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="client_secret_post",
        application_type="native",
        dpop_bound_access_tokens=True,
        agent=True,
        agent_description="Books rooms",
    )
    assert metadata.client_name == "Räuber 👩\u200d💻 \u202ecilbup"
    assert metadata.redirect_uris == (CALLBACK, "https://client.example/cb2")
    assert metadata.grant_types == ("refresh_token", "authorization_code")
    assert metadata.token_endpoint_auth_method == "client_secret_post"
    assert metadata.application_type == "native"
    assert metadata.dpop_bound_access_tokens
    assert metadata.agent
    assert metadata.agent_description == "Books rooms"


def test_null_and_empty_members_count_as_omitted() -> None:
    absent: dict[str, Any] = dict.fromkeys(MEMBERS[2:])
    empty: dict[str, Any] = {
        "grant_types": [],
        "response_types": [],
        "token_endpoint_auth_method": "",
        "application_type": "",
    }
    assert registration(**absent) == registration(**empty) == registration()


def test_scope_and_unknown_members_are_ignored_whatever_they_are() -> None:
    assert registration(scope=["a"], logo_uri=7, software_statement={"a": 1}, client_secret="x") == registration()


@pytest.mark.parametrize("body", [None, [], "text", 7, True])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(InvalidRequest, match=r"^invalid JSON body"):
        parse_registration(body, served_grants=USER_GRANTS, served_auth_methods=SECRETS)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("redirect_uris", CALLBACK),
        ("redirect_uris", [1]),
        ("redirect_uris", [None]),
        ("redirect_uris", {CALLBACK: True}),
        ("client_name", 1),
        ("client_name", ["Client"]),
        ("grant_types", "authorization_code"),
        ("grant_types", [["authorization_code"]]),
        ("response_types", "code"),
        ("token_endpoint_auth_method", ["none"]),
        ("token_endpoint_auth_method", False),
        ("application_type", 0),
        ("dpop_bound_access_tokens", 1),
        ("dpop_bound_access_tokens", "true"),
        ("agent", 0),
        ("agent", "false"),
        ("agent_description", {}),
        ("jwks", "{}"),
        ("jwks", []),
        ("jwks_uri", 1),
    ],
)
def test_a_member_of_the_wrong_json_type_is_named(member: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"^invalid JSON body: {member} must be"):
        registration(**{member: value})


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"client_name": None}, "client_name is required"),
        ({"client_name": ""}, "client_name is required"),
        ({"client_name": " \u00a0 "}, "client_name is required"),
        ({"client_name": "x" * 256}, "client_name is longer than 255 bytes"),
        ({"client_name": "ä" * 128}, "client_name is longer than 255 bytes"),
        ({"client_name": "a\x00b"}, "client_name must not hold control characters"),
        ({"client_name": "a\nb"}, "client_name must not hold control characters"),
        ({"client_name": "a\x9bb"}, "client_name must not hold control characters"),
        ({"client_name": "a\u2028b"}, "client_name must not hold control characters"),
        ({"client_name": "a\ud800b"}, "client_name must not hold control characters"),
        ({"redirect_uris": None}, "redirect_uris is required"),
        ({"redirect_uris": []}, "redirect_uris is required"),
        ({"redirect_uris": [], "grant_types": ["refresh_token"]}, "redirect_uris is required"),
        ({"redirect_uris": [CALLBACK] * 11}, "redirect_uris has more than 10 entries"),
        ({"grant_types": ["implicit"]}, "grant_types: 'implicit' is not supported"),
        ({"grant_types": [f"g{n}" for n in range(33)]}, "grant_types has more than 32 entries"),
        (
            {"grant_types": [DEVICE_CODE]},
            f"grant_types: '{DEVICE_CODE}' is disabled on this server (THE_VARIABLE_OF_DEVICES)",
        ),
        ({"response_types": ["code", "token"]}, "response_types: 'token' is not supported"),
        ({"token_endpoint_auth_method": "tls_client_auth"}, "token_endpoint_auth_method 'tls_client_auth' is not"),
        ({"token_endpoint_auth_method": "private_key_jwt", "jwks": JWKS}, "'private_key_jwt' is not supported"),
        ({"application_type": "desktop"}, "application_type must be web or native"),
        ({"jwks": JWKS}, "jwks and jwks_uri are for private_key_jwt only"),
        ({"jwks_uri": "https://client.example/jwks"}, "jwks and jwks_uri are for private_key_jwt only"),
        ({"agent_description": "x" * 256}, "agent_description is longer than 255 bytes"),
        ({"agent_description": "a\tb"}, "agent_description must not hold control characters"),
    ],
)
def test_a_problem_is_described(members: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidClientMetadata) as refusal:
        registration(**members)
    assert refusal.value.description.startswith("client validation failed: ")
    assert problem in refusal.value.description


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(InvalidClientMetadata) as refusal:
        registration(client_name="", grant_types=["implicit", DEVICE_CODE], response_types=["token"])
    assert refusal.value.description == (
        "client validation failed: grant_types: 'implicit' is not supported; "
        f"grant_types: '{DEVICE_CODE}' is disabled on this server (THE_VARIABLE_OF_DEVICES); "
        "client_name is required; response_types: 'token' is not supported"
    )


def test_a_bad_redirect_uri_is_named() -> None:
    with pytest.raises(InvalidRedirectUri, match="'javascript:alert"):
        registration(redirect_uris=[CALLBACK, "javascript:alert(1)"])


def test_a_private_use_scheme_is_for_public_clients() -> None:
    uri = "cursor://anysphere.cursor-mcp/oauth/callback"
    assert registration(redirect_uris=[uri]).redirect_uris == (uri,)
    with pytest.raises(InvalidRedirectUri, match="public clients"):
        registration(redirect_uris=[uri], token_endpoint_auth_method="client_secret_basic")


def test_a_client_of_machine_grants_needs_no_redirect_uri() -> None:
    metadata = registration(
        redirect_uris=None,
        grant_types=[CLIENT_CREDENTIALS],
        token_endpoint_auth_method="client_secret_basic",
        served_grants=USER_GRANTS | {CLIENT_CREDENTIALS},
    )
    assert metadata.redirect_uris == ()
    assert metadata.application_type == "web"


@pytest.mark.parametrize(
    ("declared", "uris", "application_type"),
    [
        (None, [CALLBACK], "web"),
        ("web", [CALLBACK], "web"),
        ("native", [CALLBACK], "native"),
        (None, ["http://localhost/cb", "http://127.0.0.1/cb"], "native"),
        ("web", ["http://localhost/cb"], "native"),
        ("web", ["cursor://a/cb", "http://127.0.0.1:1/cb"], "native"),
        ("web", ["cursor://a/cb", CALLBACK], "web"),
        (None, ["http://localhost/cb", CALLBACK], "web"),
    ],
)
def test_the_application_type_is_concrete(declared: str | None, uris: list[str], application_type: str) -> None:
    assert registration(application_type=declared, redirect_uris=uris).application_type == application_type
    assert document(application_type=declared, redirect_uris=uris).application_type == application_type


def test_keys_are_registered_once_their_method_is_served() -> None:
    inline = registration(token_endpoint_auth_method="private_key_jwt", jwks=JWKS, served_auth_methods=KEYS)
    assert inline.jwks is not None
    assert orjson.loads(inline.jwks) == JWKS
    by_url = registration(
        token_endpoint_auth_method="private_key_jwt", jwks_uri="https://c.example/jwks", served_auth_methods=KEYS
    )
    assert by_url.jwks_uri == "https://c.example/jwks"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({}, "exactly one of jwks and jwks_uri"),
        ({"jwks": JWKS, "jwks_uri": "https://c.example/jwks"}, "exactly one of jwks and jwks_uri"),
        ({"jwks": {"keys": ["x" * 65536]}}, "jwks is longer than 65536 bytes"),
        ({"jwks": {}}, "it has no array of keys"),
        ({"jwks": {"keys": {}}}, "it has no array of keys"),
        ({"jwks": {"keys": [{}] * 101}}, "it has more than 100 keys"),
        ({"jwks": {"keys": []}}, "no public key in it can be used"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}, "no public key in it can be used"),
        ({"jwks_uri": "http://c.example/jwks"}, "jwks_uri must be an https URL"),
        ({"jwks_uri": "https://u@c.example/jwks"}, "jwks_uri must be an https URL"),
        ({"jwks_uri": "https://c.example/jwks#a"}, "jwks_uri must be an https URL"),
        ({"jwks_uri": "https:/jwks"}, "jwks_uri must be an https URL"),
        ({"jwks_uri": "jwks"}, "jwks_uri must be an https URL"),
        ({"jwks_uri": "https://c.example/" + "a" * 2048}, "jwks_uri must be an https URL"),
    ],
)
def test_keys_that_cannot_be_used_are_refused(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidClientMetadata, match=problem):
        registration(token_endpoint_auth_method="private_key_jwt", served_auth_methods=KEYS, **keys)


def test_a_key_set_nested_beyond_measure_is_refused() -> None:
    jwks: dict[str, Any] = {}
    for _ in range(500):
        jwks = {"keys": jwks}
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        registration(jwks=jwks)


@given(st.dictionaries(st.sampled_from(MEMBERS), json_values))
def test_any_json_is_registered_or_refused(members: dict[str, Any]) -> None:
    try:
        metadata = registration(**members)
    except (InvalidRequest, InvalidClientMetadata, InvalidRedirectUri):
        return
    assert metadata.client_name.strip()
    assert set(metadata.grant_types) <= USER_GRANTS


# --- client ID metadata documents ------------------------------------------------------------------------------------


def test_the_least_document_gets_the_defaults() -> None:
    assert document() == registration()


def test_the_document_of_a_command_line_client_is_accepted() -> None:
    metadata = document(
        client_name="Claude Code",
        redirect_uris=["http://localhost/callback", "http://127.0.0.1/callback"],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",
        client_uri="https://client.example",
    )
    assert metadata.application_type == "native"
    assert metadata.token_endpoint_auth_method == "none"


def test_a_response_type_for_other_servers_is_left_out_of_a_document() -> None:
    assert document(response_types=["id_token", "code", "code id_token"]) == document()


def test_a_document_without_the_response_type_that_is_served_is_refused() -> None:
    with pytest.raises(InvalidClientMetadata, match="response_types: none of them is served here"):
        document(response_types=["id_token", "token"])


def test_a_document_says_nothing_about_agents_or_scopes() -> None:
    metadata = document(agent=True, agent_description="x", scope="admin", application_type="anything")
    assert metadata == document()


@pytest.mark.parametrize(
    "client_id",
    [None, "", URL + "/", URL.upper(), "https://client.example/oauth/%63lient.json", "https://other.example/"],
)
def test_cm_03_a_document_that_names_another_client_is_refused(client_id: str | None) -> None:
    with pytest.raises(InvalidClientMetadata, match="client_id is not the URL"):
        document(client_id=client_id)


@pytest.mark.parametrize("body", [None, [], "text", 7])
def test_cm_04_a_document_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(InvalidRequest):
        parse_metadata_document(body, url=URL, served_grants=USER_GRANTS, served_auth_methods=SECRETS)


@pytest.mark.parametrize("member", ["client_name", "redirect_uris"])
def test_cm_05_name_and_redirect_uris_are_required(member: str) -> None:
    with pytest.raises(InvalidClientMetadata, match=f"{member} is required"):
        document(**dict[str, Any]({member: None}))


def test_cm_05_redirect_uris_are_required_for_machine_grants_too() -> None:
    served = USER_GRANTS | {CLIENT_CREDENTIALS}
    with pytest.raises(InvalidClientMetadata, match="redirect_uris is required"):
        document(redirect_uris=[], grant_types=[CLIENT_CREDENTIALS], served_grants=served)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "client_secret_jwt"])
@pytest.mark.parametrize("choices", [None, ["none"], ["private_key_jwt"]])
def test_cm_06_a_shared_secret_is_refused_whatever_else_is_offered(method: str, choices: list[str] | None) -> None:
    with pytest.raises(InvalidClientMetadata, match=f"'{method}' is not supported"):
        document(token_endpoint_auth_method=method, token_endpoint_auth_methods_supported=choices)


@pytest.mark.parametrize(("member", "value"), [("client_secret", "x"), ("client_secret_expires_at", 0)])
def test_cm_06_a_published_secret_is_refused(member: str, value: Any) -> None:
    with pytest.raises(InvalidClientMetadata, match=member):
        document(**{member: value})


def test_cm_07_keys_make_the_client_confidential_once_their_method_is_served() -> None:
    metadata = document(
        token_endpoint_auth_method="private_key_jwt", jwks_uri="https://c.example/jwks", served_auth_methods=KEYS
    )
    assert metadata.token_endpoint_auth_method == "private_key_jwt"
    assert metadata.jwks_uri == "https://c.example/jwks"
    with pytest.raises(InvalidClientMetadata, match="exactly one"):
        document(token_endpoint_auth_method="private_key_jwt", served_auth_methods=KEYS)


@pytest.mark.parametrize(
    ("method", "choices", "served", "chosen"),
    [
        (None, None, SECRETS, "none"),
        ("none", None, KEYS, "none"),
        ("none", ["private_key_jwt"], SECRETS, "none"),
        ("private_key_jwt", ["none", "private_key_jwt"], SECRETS, "none"),
        ("private_key_jwt", ["none", "private_key_jwt"], KEYS, "none"),
        ("private_key_jwt", None, KEYS, "private_key_jwt"),
        (None, ["private_key_jwt", "none"], KEYS, "none"),
        (None, ["private_key_jwt"], KEYS, "private_key_jwt"),
        (None, ["private_key_jwt", "none"], SECRETS, "none"),
        (None, ["client_secret_basic", "none"], SECRETS, "none"),
        ("tls_client_auth", ["none"], SECRETS, "none"),
        # refused
        ("private_key_jwt", None, SECRETS, None),
        ("private_key_jwt", ["private_key_jwt"], SECRETS, None),
        ("tls_client_auth", ["private_key_jwt"], KEYS, None),
        (None, ["private_key_jwt"], SECRETS, None),
        (None, ["client_secret_basic"], SECRETS, None),
    ],
)
def test_cm_08_of_several_methods_a_served_one_is_chosen(
    method: str | None, choices: list[str] | None, served: frozenset[str], chosen: str | None
) -> None:
    members: dict[str, Any] = {
        "token_endpoint_auth_method": method,
        "token_endpoint_auth_methods_supported": choices,
        "jwks_uri": "https://c.example/jwks" if "private_key_jwt" in {method, *(choices or [])} else None,
    }
    if chosen is None:
        with pytest.raises(InvalidClientMetadata, match="is not supported"):
            document(**members, served_auth_methods=served)
        return
    metadata = document(**members, served_auth_methods=served)
    assert metadata.token_endpoint_auth_method == chosen
    assert (metadata.jwks_uri is not None) == ("private_key_jwt" in served & {method, *(choices or [])})


def test_cm_08_a_document_that_offers_both_methods_need_not_have_keys_but_not_two_sets() -> None:
    both: dict[str, Any] = {
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "served_auth_methods": KEYS,
    }
    metadata = document(**both)
    assert (metadata.token_endpoint_auth_method, metadata.jwks, metadata.jwks_uri) == ("none", None, None)
    with pytest.raises(InvalidClientMetadata, match="exactly one"):
        document(**both, jwks=JWKS, jwks_uri="https://c.example/jwks")


def test_a_document_may_have_a_hundred_redirect_uris_and_a_registration_ten() -> None:
    uris = [f"https://client.example/cb/{number}" for number in range(101)]
    assert document(redirect_uris=uris[:100]).redirect_uris == tuple(uris[:100])
    assert registration(redirect_uris=uris[:10]).redirect_uris == tuple(uris[:10])
    with pytest.raises(InvalidClientMetadata, match="more than 100 entries"):
        document(redirect_uris=uris)
    with pytest.raises(InvalidClientMetadata, match="more than 10 entries"):
        registration(redirect_uris=uris[:11])


def test_private_and_symmetric_keys_are_not_kept() -> None:
    private = JWKS["keys"][0] | {"kid": "private", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}
    symmetric = {"kty": "oct", "k": "AAAA", "kid": "symmetric"}
    metadata = registration(
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [private, *JWKS["keys"], symmetric]},
        served_auth_methods=KEYS,
    )
    assert metadata.jwks is not None
    assert orjson.loads(metadata.jwks) == JWKS


def test_keys_without_a_method_for_them_are_refused() -> None:
    with pytest.raises(InvalidClientMetadata, match="for private_key_jwt only"):
        document(jwks=JWKS)


def test_a_bad_redirect_uri_of_a_document_is_named() -> None:
    with pytest.raises(InvalidRedirectUri, match="redirect_uri 'http://client"):
        document(redirect_uris=["http://client.example/cb"])


@pytest.mark.parametrize("grant", [JWT_BEARER, DEVICE_CODE, TOKEN_EXCHANGE, "urn:example:grant"])
def test_a_document_may_name_grants_that_other_servers_serve(grant: str) -> None:
    assert document(grant_types=[AUTHORIZATION_CODE, grant]).grant_types == (AUTHORIZATION_CODE,)


def test_a_document_with_no_grant_that_is_served_is_refused() -> None:
    with pytest.raises(InvalidClientMetadata, match="none of them is served here"):
        document(grant_types=[JWT_BEARER, DEVICE_CODE])


def test_a_machine_grant_that_is_on_is_accepted_when_the_client_is_new() -> None:
    grants = [AUTHORIZATION_CODE, CLIENT_CREDENTIALS]
    assert document(grant_types=grants, served_grants=frozenset(grants)).grant_types == tuple(grants)


def test_a_machine_grant_added_later_is_ignored() -> None:
    grants = [AUTHORIZATION_CODE, CLIENT_CREDENTIALS, TOKEN_EXCHANGE]
    held = frozenset({AUTHORIZATION_CODE, CLIENT_CREDENTIALS})
    metadata = document(grant_types=grants, held_grants=held, served_grants=USER_GRANTS | {CLIENT_CREDENTIALS})
    assert metadata.grant_types == (AUTHORIZATION_CODE, CLIENT_CREDENTIALS)
    assert document(grant_types=grants, held_grants=USER_GRANTS).grant_types == (AUTHORIZATION_CODE,)


@given(st.dictionaries(st.sampled_from(MEMBERS), json_values))
def test_any_json_is_a_document_or_refused(members: dict[str, Any]) -> None:
    try:
        metadata = document(**members)
    except (InvalidRequest, InvalidClientMetadata, InvalidRedirectUri):
        return
    assert metadata.redirect_uris
    assert metadata.token_endpoint_auth_method == "none"
