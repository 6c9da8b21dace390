"""The JWT bearer grant with identity assertions: XAA §5 step by step, each pair of neighbours, and what is spent."""

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from authserver.config.model import Config
from authserver.config.sections.grants import XaaConfig
from authserver.outbound.client import OutboundClient
from authserver.protocol.grant_types import CLIENT_CREDENTIALS
from authserver.resources.administration import ResourceDraft
from authserver.resources.records import BackendKind, ResourceScope
from authserver.telemetry.logs import flush_logs
from authserver.xaa.policy_administration import PolicyPatch
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.fakes.proving_client import ProvingClient
from server.tests.fakes.signing_client import RSA_KEY, public_jwk
from server.tests.wire.exchanging import a_broker_resource
from server.tests.wire.harness import ISSUER, RESOURCE, Wire, claims_of
from server.tests.wire.xaa import SCOPE, Enterprise, new_client

pytestmark = pytest.mark.anyio

OTHER = "https://other.example.com/mcp"
STRICT = pytest.mark.parametrize("section", [XaaConfig(subject_mode="strict")])
NEEDS_RESOURCE = pytest.mark.parametrize("section", [XaaConfig(require_resource=True)])


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


@pytest.fixture
def section() -> XaaConfig:
    """The section ``xaa``; a test states another by parametrizing it."""
    return XaaConfig()


@pytest.fixture
def config(config: Config, section: XaaConfig) -> Config:
    return replace(config, xaa=section)


async def spent(wire: Wire) -> int:
    return len(await wire.core.db.fetch_all("SELECT jti FROM assertion_jtis"))


async def policy(acme: Enterprise, patch: PolicyPatch) -> None:
    await acme.wire.core.xaa_policies.update(acme.policy.id, patch, now=acme.now)
    await acme.reload()


async def mapped(acme: Enterprise, user_id: str | None, subject: str = "alice@acme") -> None:
    await acme.wire.core.subject_mappings.create(
        idp_id=acme.idp.id, idp_subject=subject, local_user_id=user_id, now=acme.now
    )


async def other_resource(wire: Wire, *scopes: str, uri: str = OTHER) -> None:
    draft = ResourceDraft(
        slug="other", backend_kind=BackendKind.MINT, uri=uri, scopes=tuple(ResourceScope(name=s) for s in scopes)
    )
    await wire.core.resources.create_resource(draft, now=wire.clock.seconds)
    await wire.server.watcher.poll()


# What is issued


async def test_an_assertion_buys_a_token_without_anybody_being_asked(wire: Wire, acme: Enterprise) -> None:
    answer = await acme.issued(acme.assertion(scope="notes:read"), scope="notes:read")
    assert set(answer) == {"access_token", "token_type", "expires_in", "scope"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 3600, "notes:read")
    claims = claims_of(answer["access_token"])
    subject = f"{acme.idp.issuer}:alice@acme"
    assert (claims["sub"], claims["aud"], claims["act"]) == (subject, [RESOURCE], {"sub": acme.idp.issuer})
    assert (claims["client_id"], claims["scope"]) == (acme.client.id, "notes:read")
    assert claims["exp"] - claims["iat"] == 3600
    assert not {"agent_id", "agent_chain", "cnf"} & set(claims)
    detail = f"jti={claims['jti']} idp={acme.idp.issuer} scopes=notes:read"
    assert ("jwt_bearer.issued", detail) in await wire.audit()
    (row,) = await wire.core.db.fetch_all(
        "SELECT actor_id, client_id FROM audit_events WHERE action = $1", "jwt_bearer.issued"
    )
    assert (row["actor_id"], row["client_id"]) == (subject, acme.client.id)
    (issuance,) = await wire.core.db.fetch_all("SELECT kind, subject, resource_id FROM issuances")
    assert (issuance["kind"], issuance["subject"]) == ("machine", subject)
    assert (await wire.introspect(answer["access_token"]))["act"] == {"sub": acme.idp.issuer}
    assert len(await wire.core.db.fetch_all("SELECT id FROM users")) == 1
    assert await wire.core.db.fetch_all("SELECT id FROM consent_grants") == []


async def test_rows_and_log_name_no_user_by_an_e_mail_address(wire: Wire, acme: Enterprise, logged: io.BytesIO) -> None:
    address = "alice@acme.example"
    token = (await acme.issued(acme.assertion(sub=address)))["access_token"]
    await acme.issued(acme.assertion(sub=address))
    proof = {"client_id": acme.client.id, "client_secret": acme.secret}
    assert (await wire.http.post("/oauth/revoke", data={"token": token, **proof})).status_code == 200
    assert claims_of(token)["sub"] == f"{acme.idp.issuer}:{address}"
    rows = await wire.core.db.fetch_all("SELECT * FROM audit_events WHERE action = 'jwt_bearer.issued'")
    assert len({row["actor_id"] for row in rows}) == 1
    assert rows[0]["actor_id"].startswith(f"{acme.idp.issuer}:sha256-")
    flush_logs()
    assert b"token issued for an identity assertion" in logged.getvalue()
    assert b"@" not in logged.getvalue()
    for row in await wire.core.db.fetch_all("SELECT actor_id, client_id, detail FROM audit_events"):
        assert address not in " ".join(row[name] or "" for name in ("actor_id", "client_id", "detail"))


async def test_an_agent_s_token_names_the_provider_in_its_chain(wire: Wire, acme: Enterprise) -> None:
    acme.client, acme.secret = await new_client(wire, is_agent=True)
    acme.provider.client_id = acme.client.id
    claims = claims_of((await acme.issued())["access_token"])
    assert (claims["agent_id"], claims["agent_chain"]) == (acme.client.id, [acme.idp.issuer])


async def test_without_a_resource_the_token_is_for_the_issuer_and_no_catalog_bounds_it(acme: Enterprise) -> None:
    answer = await acme.issued(resource=None)
    assert claims_of(answer["access_token"])["aud"] == [ISSUER]
    assert answer["scope"] == SCOPE


async def test_the_resource_of_the_assertion_counts_when_the_request_names_none(acme: Enterprise) -> None:
    for resource in (RESOURCE, [RESOURCE]):
        answer = await acme.issued(acme.assertion(resource=resource), resource=None)
        assert claims_of(answer["access_token"])["aud"] == [RESOURCE]


async def test_a_token_is_revoked_by_its_client(wire: Wire, acme: Enterprise) -> None:
    token = (await acme.issued())["access_token"]
    proof = {"client_id": acme.client.id, "client_secret": acme.secret}
    assert (await wire.http.post("/oauth/revoke", data={"token": token, **proof})).status_code == 200
    assert await wire.introspect(token) == {"active": False}


# Steps 1 to 9


async def test_a_client_that_does_not_prove_itself_or_has_no_such_grant_is_refused(
    wire: Wire, acme: Enterprise
) -> None:
    await acme.refused(client_secret="wrong", error="invalid_client", reason="invalid_client", status=401)
    await acme.refused(client_id="nobody", error="invalid_client", reason=None, status=401)
    public = (await wire.register())["client_id"]
    await acme.refused(client_id=public, client_secret=None, error="invalid_client", reason=None, status=401)
    other, secret = await new_client(wire, grant_types=(CLIENT_CREDENTIALS,))
    form: dict[str, Any] = {"client_id": other.id, "client_secret": secret}
    await acme.refused(**form, error="unauthorized_client", reason="unauthorized_client")
    sql = "SELECT actor_id, client_id FROM audit_events WHERE detail = 'reason=unauthorized_client'"
    assert [(row["actor_id"], row["client_id"]) for row in await wire.core.db.fetch_all(sql)] == [(other.id, other.id)]
    assert await spent(wire) == 0


# Each entry breaks one step of §5, in their order, and nothing after it: what it does to the claims, to the header and to
# the request; what is answered and recorded; whether the assertion is spent.
Break = tuple[dict[str, Any], dict[str, Any], dict[str, Any], str, str, bool]
STEPS: dict[str, Break] = {
    "4 algorithm": ({}, {"alg": "HS256"}, {}, "invalid_grant", "invalid_assertion", False),
    "4 none": ({}, {"alg": "none"}, {}, "invalid_grant", "invalid_assertion", False),
    "4 issuer": ({"iss": None}, {}, {}, "invalid_grant", "invalid_assertion", False),
    "5 stranger": ({"iss": "https://evil.example"}, {}, {}, "invalid_grant", "untrusted_issuer", False),
    "5 ourselves": ({"iss": ISSUER}, {}, {}, "invalid_grant", "untrusted_issuer", False),
    "7 typ": ({}, {"typ": "JWT"}, {}, "invalid_grant", "type", False),
    "7 kid": ({}, {"kid": "key-2"}, {}, "invalid_grant", "invalid", False),
    "7 exp": ({"exp": 1}, {}, {}, "invalid_grant", "expired", False),
    "7 iat": ({"iat": 1}, {}, {}, "invalid_grant", "expired", False),
    "7 aud": ({"aud": "https://else.example"}, {}, {}, "invalid_grant", "audience", False),
    "7 sub": ({"sub": ""}, {}, {}, "invalid_grant", "invalid", False),
    "8 client": ({"client_id": "another"}, {}, {}, "invalid_grant", "client_mismatch", False),
    "9 resource": ({"resource": OTHER}, {}, {}, "invalid_target", "invalid_resource", False),
    "9 two": ({}, {}, {"resource": [RESOURCE, OTHER]}, "invalid_target", "invalid_resource", False),
    "11 asserted": ({"scope": "notes:write"}, {}, {"scope": "notes:read"}, "invalid_scope", "invalid_scope", True),
    "11 nothing": ({"scope": "else"}, {}, {}, "invalid_scope", "invalid_scope", True),
    "11 ceiling": ({}, {}, {"scope": "notes:drop"}, "invalid_scope", "invalid_scope", True),
    "12 unknown": ({}, {}, {"resource": "https://nowhere.example"}, "invalid_target", "invalid_resource", True),
    "12 slug": ({}, {}, {"resource": "notes"}, "invalid_target", "invalid_resource", True),
}


@pytest.mark.parametrize("step", STEPS)
async def test_each_step_refuses_with_its_code_and_reason(wire: Wire, acme: Enterprise, step: str) -> None:
    claims, header, form, error, reason, is_spent = STEPS[step]
    complete = acme.provider.claims(now=acme.now) | claims
    assertion = acme.provider.sign({k: v for k, v in complete.items() if v is not None}, **header)
    await acme.refused(assertion, **form, error=error, reason=reason)
    assert await spent(wire) == int(is_spent)
    assert await wire.core.db.fetch_all("SELECT id FROM issuances") == []


async def test_an_unknown_resource_is_named(acme: Enterprise) -> None:
    answer = await acme.refused(resource="https://nowhere.example", error="invalid_target", reason="invalid_resource")
    assert answer.json()["error_description"].startswith("unknown resource 'https://nowhere.example' (ref_")


async def test_a_resource_whose_tokens_are_another_server_s_is_no_target(wire: Wire, acme: Enterprise) -> None:
    await a_broker_resource(wire, "mail", "notes:read")
    await acme.refused(resource="https://mail.example.com", error="invalid_target", reason="invalid_resource")
    assert await wire.core.db.fetch_all("SELECT id FROM issuances") == []


@pytest.mark.parametrize(("first", "second"), list(zip(STEPS, list(STEPS)[1:], strict=False)))
async def test_of_two_faults_that_follow_each_other_the_earlier_step_s_is_reported(
    acme: Enterprise, first: str, second: str
) -> None:
    earlier, later = STEPS[first], STEPS[second]
    complete = acme.provider.claims(now=acme.now) | later[0] | earlier[0]
    form = later[2] | earlier[2]
    assertion = acme.provider.sign({k: v for k, v in complete.items() if v is not None}, **later[1] | earlier[1])
    await acme.refused(assertion, **form, error=earlier[3], reason=earlier[4])


async def test_a_row_about_an_assertion_that_proves_nothing_names_nobody(wire: Wire, acme: Enterprise) -> None:
    await acme.refused(acme.assertion(exp=1), error="invalid_grant", reason="expired")
    await acme.refused(acme.assertion(client_id="x"), error="invalid_grant", reason="client_mismatch")
    rows = await wire.core.db.fetch_all(
        "SELECT actor_id, client_id, detail FROM audit_events WHERE action = $1", "jwt_bearer.denied"
    )
    named = {row["detail"]: (row["actor_id"], row["client_id"]) for row in rows}
    assert named == {"reason=expired": ("", ""), "reason=client_mismatch": (acme.client.id, acme.client.id)}


async def test_a_missing_assertion_is_told_after_the_client_is_known(acme: Enterprise) -> None:
    await acme.refused("", error="invalid_grant", reason="missing_assertion")
    await acme.refused("no.jwt", error="invalid_grant", reason="invalid_assertion")


async def test_an_altered_assertion_is_refused(acme: Enterprise) -> None:
    good = acme.assertion()
    header, claims, signature = good.split(".")
    changed = "A" if signature[0] != "A" else "B"
    await acme.refused(f"{header}.{claims}.{changed}{signature[1:]}", error="invalid_grant", reason="invalid")
    await acme.issued(good)


async def test_a_disabled_provider_is_refused_until_it_is_enabled(wire: Wire, acme: Enterprise) -> None:
    assertion = acme.assertion()
    await wire.core.idps.update(acme.idp.id, enabled=False, now=acme.now)
    await acme.reload()
    await acme.refused(assertion, error="invalid_grant", reason="idp_disabled")
    await wire.core.idps.update(acme.idp.id, enabled=True, now=acme.now)
    await acme.reload()
    await acme.issued(assertion)


async def test_the_faults_of_steps_8_and_9_leave_the_assertion_usable(wire: Wire, acme: Enterprise) -> None:
    other, secret = await new_client(wire)
    assertion = acme.assertion(resource=RESOURCE)
    form: dict[str, Any] = {"client_id": other.id, "client_secret": secret}
    await acme.refused(assertion, **form, error="invalid_grant", reason="client_mismatch")
    await acme.refused(assertion, resource=OTHER, error="invalid_target", reason="invalid_resource")
    await acme.issued(assertion)


@NEEDS_RESOURCE
async def test_where_a_resource_is_required_one_must_be_named_and_the_assertion_is_kept(acme: Enterprise) -> None:
    assertion = acme.assertion()
    await acme.refused(assertion, resource=None, error="invalid_target", reason="resource_required")
    await acme.issued(assertion)
    await acme.issued(acme.assertion(resource=RESOURCE), resource=None)


async def test_equal_resources_count_once_and_are_compared_folded(acme: Enterprise) -> None:
    await acme.issued(resource=[RESOURCE, RESOURCE])
    spelled = RESOURCE.replace("https://mcp.example.com", "HTTPS://MCP.example.com:443")
    token = await acme.issued(acme.assertion(resource=spelled))
    assert claims_of(token["access_token"])["aud"] == [RESOURCE]


# Step 10


async def test_an_assertion_is_used_once(wire: Wire, acme: Enterprise) -> None:
    assertion = acme.assertion()
    await acme.issued(assertion)
    await acme.refused(assertion, error="invalid_grant", reason="replay")
    assert len(await wire.core.db.fetch_all("SELECT id FROM issuances")) == 1


async def test_a_replay_is_told_before_the_faults_of_later_steps_and_after_those_of_earlier(acme: Enterprise) -> None:
    assertion = acme.assertion()
    await acme.issued(assertion)
    await acme.refused(assertion, scope="notes:drop", error="invalid_grant", reason="replay")
    await acme.refused(assertion, resource="https://nowhere.example", error="invalid_grant", reason="replay")
    await policy(acme, PolicyPatch(enabled=False))
    await acme.refused(assertion, error="invalid_grant", reason="replay")
    two = [RESOURCE, OTHER]
    await acme.refused(assertion, resource=two, error="invalid_target", reason="invalid_resource")


@pytest.mark.parametrize("form", [{"scope": "notes:drop"}, {"resource": "https://nowhere.example"}])
async def test_what_was_found_out_costs_the_assertion(acme: Enterprise, form: dict[str, str]) -> None:
    assertion = acme.assertion()
    assert (await acme.trade(assertion, **form)).status_code == 400
    await acme.refused(assertion, error="invalid_grant", reason="replay")


async def test_of_fifty_at_once_one_gets_the_token(wire: Wire, acme: Enterprise) -> None:
    assertion = acme.assertion()
    answers = await asyncio.gather(*(acme.trade(assertion) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    assert len(await wire.core.db.fetch_all("SELECT id FROM issuances")) == 1
    rows = [row for row in await wire.audit() if row[0].startswith("jwt_bearer")]
    assert rows.count(("jwt_bearer.denied", "reason=replay")) == 49


async def test_an_issued_token_is_one_commit_and_so_is_a_refusal_that_spends(
    wire: Wire, acme: Enterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    await acme.issued()
    commits = 0
    write = wire.core.db.write

    async def counted(transaction: Callable[..., Any]) -> Any:
        nonlocal commits
        commits += 1
        return await write(transaction)

    monkeypatch.setattr(wire.core.db, "write", counted)
    await acme.issued()
    assert commits == 1
    assert (await acme.trade(scope="notes:drop")).status_code == 400
    assert commits == 2


# Steps 11 to 13


async def test_a_client_without_scopes_gets_nothing(wire: Wire, acme: Enterprise) -> None:
    acme.client, acme.secret = await new_client(wire, scope="")
    acme.provider.client_id = acme.client.id
    await acme.refused(error="invalid_scope", reason="client_scope_empty")


async def test_scopes_are_what_every_bound_leaves(wire: Wire, acme: Enterprise) -> None:
    assert (await acme.issued())["scope"] == SCOPE
    assert (await acme.issued(acme.assertion(scope="else notes:write")))["scope"] == "notes:write"
    await other_resource(wire, "notes:write", "files")
    assert (await acme.issued(resource=OTHER))["scope"] == "notes:write"
    await acme.refused(resource=OTHER, scope="notes:read", error="invalid_scope", reason="invalid_scope")
    only = acme.assertion(scope="notes:read")
    await acme.refused(only, resource=OTHER, error="invalid_scope", reason="invalid_scope")
    await acme.refused(scope='"', error="invalid_scope", reason="invalid_scope")


async def test_without_a_policy_everything_is_denied(wire: Wire, acme: Enterprise) -> None:
    await wire.core.xaa_policies.delete(acme.policy.id, now=acme.now)
    await acme.reload()
    await acme.refused(error="access_denied", reason="policy_denied", status=403)


@pytest.mark.parametrize(
    ("patch", "is_allowed"),
    [
        (PolicyPatch(), True),
        (PolicyPatch(enabled=False), False),
        (PolicyPatch(scopes=()), False),
        (PolicyPatch(scopes=("notes:read",)), False),
        (PolicyPatch(scopes=("notes:write", "notes:read", "more")), True),
        (PolicyPatch(client_ids=("somebody",)), False),
        (PolicyPatch(resources=(OTHER,)), False),
        (PolicyPatch(resources=(OTHER, RESOURCE)), True),
    ],
)
async def test_a_policy_lets_everything_through_or_nothing(
    acme: Enterprise, patch: PolicyPatch, *, is_allowed: bool
) -> None:
    await policy(acme, patch)
    if is_allowed:
        assert (await acme.issued())["scope"] == SCOPE
    else:
        await acme.refused(error="access_denied", reason="policy_denied", status=403)


async def test_a_policy_for_resources_does_not_let_a_token_for_none_through(acme: Enterprise) -> None:
    await policy(acme, PolicyPatch(resources=(RESOURCE,)))
    await acme.refused(resource=None, error="access_denied", reason="policy_denied", status=403)


async def test_a_later_policy_may_let_through_what_an_earlier_does_not(wire: Wire, acme: Enterprise) -> None:
    await policy(acme, PolicyPatch(scopes=("notes:read",)))
    await wire.core.xaa_policies.create(name="mine", idp_id=acme.idp.id, client_ids=(acme.client.id,), now=acme.now + 1)
    await acme.reload()
    assert (await acme.issued())["scope"] == SCOPE


async def test_a_catalog_fault_is_told_before_the_policy_s(acme: Enterprise) -> None:
    await policy(acme, PolicyPatch(enabled=False))
    nowhere = "https://nowhere.example"
    await acme.refused(resource=nowhere, error="invalid_target", reason="invalid_resource")


# Steps 14 and 15


@pytest.mark.parametrize("jkt", ["another", ""])
async def test_an_assertion_bound_to_a_key_needs_a_proof_with_it(acme: Enterprise, jkt: str) -> None:
    await acme.refused(acme.assertion(cnf={"jkt": jkt}), error="invalid_grant", reason="dpop_key_mismatch")


async def test_a_proof_binds_the_token_to_its_key(wire: Wire, acme: Enterprise) -> None:
    prover = ProvingClient(url=f"{ISSUER}/oauth/token")
    for bound in ({}, {"cnf": {"jkt": prover.jkt}}):
        answer = await acme.issued(acme.assertion(**bound), proof=prover.proof(now=acme.now))
        assert answer["token_type"] == "DPoP"
        assert claims_of(answer["access_token"])["cnf"] == {"jkt": prover.jkt}
    another = acme.assertion(cnf={"jkt": "another"})
    proof = prover.proof(now=acme.now)
    await acme.refused(another, proof=proof, error="invalid_grant", reason="dpop_key_mismatch")


async def test_a_broken_proof_costs_the_assertion(acme: Enterprise) -> None:
    assertion = acme.assertion()
    await acme.refused(assertion, proof="broken", error="invalid_dpop_proof", reason="invalid_dpop_proof")
    await acme.refused(assertion, error="invalid_grant", reason="replay")


async def test_a_denied_policy_is_told_before_a_missing_proof(acme: Enterprise) -> None:
    await policy(acme, PolicyPatch(enabled=False))
    bound = acme.assertion(cnf={"jkt": "a key"})
    await acme.refused(bound, error="access_denied", reason="policy_denied", status=403)


@STRICT
async def test_a_missing_proof_is_told_before_an_unmapped_subject(acme: Enterprise) -> None:
    await acme.refused(acme.assertion(cnf={"jkt": "a key"}), error="invalid_grant", reason="dpop_key_mismatch")
    await acme.refused(error="access_denied", reason="subject_mapping_failed", status=400)


@STRICT
async def test_a_strict_server_lets_mapped_subjects_through_alone(wire: Wire, acme: Enterprise) -> None:
    await mapped(acme, None)
    claims = claims_of((await acme.issued())["access_token"])
    assert claims["sub"] == f"{acme.idp.issuer}:alice@acme"
    await mapped(acme, wire.user.id, "ada@acme")
    assert claims_of((await acme.issued(acme.assertion(sub="ada@acme")))["access_token"])["sub"] == wire.user.id
    await acme.refused(acme.assertion(sub="bob@acme"), error="access_denied", reason="subject_mapping_failed")


async def test_the_token_of_a_mapped_user_ends_with_the_user(wire: Wire, acme: Enterprise) -> None:
    await mapped(acme, wire.user.id)
    token = (await acme.issued())["access_token"]
    assert claims_of(token)["sub"] == wire.user.id
    assert (await wire.introspect(token))["sub"] == wire.user.id
    await wire.core.accounts.disable_user(wire.user.id, now=acme.now)
    assert await wire.introspect(token) == {"active": False}
    await acme.refused(error="invalid_grant", reason="subject_inactive")
    await wire.core.accounts.delete_user(wire.user.id, force=True, now=acme.now)
    assert await wire.introspect(token) == {"active": False}
    await acme.refused(error="invalid_grant", reason="subject_inactive")


async def test_a_mapping_is_of_one_provider(wire: Wire, acme: Enterprise) -> None:
    await mapped(acme, wire.user.id, "ada@acme")
    claims = claims_of((await acme.issued())["access_token"])
    assert claims["sub"] == f"{acme.idp.issuer}:alice@acme"


async def test_keys_of_every_kind_and_without_a_name_are_tried(acme: Enterprise) -> None:
    acme.provider.publish(public_jwk(RSA_KEY), public_jwk(acme.provider.key))
    acme.provider.kid = None
    await acme.issued()
