"""The claims of access tokens: tokens.md 2 and 3."""

from typing import Any

import pytest

from authserver.protocol.claims import SignIn, build_access_token_claims

USER_TOKEN: dict[str, Any] = {
    "issuer": "https://as.example",
    "subject": "usr_7",
    "audience": "https://mcp.example/mcp",
    "client_id": "c1",
    "scope": "mcp:echo",
    "jti": "mG2k0pB1Qm6rUu3S9wYx7A",
    "issued_at": 1_790_000_000,
    "expires_at": 1_790_000_900,
}
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def test_a_bound_user_token_has_the_claims_of_the_contract_in_its_order() -> None:
    claims = build_access_token_claims(**USER_TOKEN, jkt=JKT)
    assert list(claims.items()) == [
        ("iss", "https://as.example"),
        ("sub", "usr_7"),
        ("aud", ["https://mcp.example/mcp"]),
        ("client_id", "c1"),
        ("scope", "mcp:echo"),
        ("jti", "mG2k0pB1Qm6rUu3S9wYx7A"),
        ("iat", 1_790_000_000),
        ("nbf", 1_790_000_000),
        ("exp", 1_790_000_900),
        ("cnf", {"jkt": JKT}),
    ]


def test_claims_without_a_value_are_left_out() -> None:
    claims = build_access_token_claims(**USER_TOKEN | {"scope": ""}, jkt="", act={}, agent_id="", agent_chain=[])
    assert set(claims) == {"iss", "sub", "aud", "client_id", "jti", "iat", "nbf", "exp"}


def test_a_delegated_agent_token_names_who_acts() -> None:
    act = {"sub": "agent-2", "act": {"sub": "agent-1"}}
    claims = build_access_token_claims(**USER_TOKEN, act=act, agent_id="agent-2", agent_chain=["agent-1", "agent-2"])
    assert list(claims)[-3:] == ["act", "agent_id", "agent_chain"]
    assert claims["act"] == act
    assert claims["agent_chain"] == ["agent-1", "agent-2"]


@pytest.mark.parametrize(
    ("argument", "claim"),
    [
        ("issuer", "iss"),
        ("subject", "sub"),
        ("audience", "aud"),
        ("client_id", "client_id"),
        ("jti", "jti"),
        ("issued_at", "iat"),
        ("expires_at", "exp"),
    ],
)
def test_a_token_without_a_required_claim_is_not_built(argument: str, claim: str) -> None:
    empty = 0 if argument.endswith("_at") else ""
    with pytest.raises(ValueError, match=f"without {claim}$"):
        build_access_token_claims(**USER_TOKEN | {argument: empty})


def test_a_sign_in_is_told_by_time_and_method() -> None:
    claims = build_access_token_claims(**USER_TOKEN, sign_in=SignIn(at=1_789_999_000, methods=("pwd",)))
    assert list(claims.items())[-2:] == [("auth_time", 1_789_999_000), ("amr", ["pwd"])]
