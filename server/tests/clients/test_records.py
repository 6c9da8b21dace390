import pytest

from authserver.clients.records import ClientStatus
from server.tests.clients.builders import a_client


def test_a_client_with_nothing_to_prove_itself_is_public_whatever_its_method() -> None:
    assert a_client(token_endpoint_auth_method="client_secret_basic").is_public
    assert not a_client(secret_hash="sha256$x").is_public
    assert not a_client(jwks="{}").is_public
    assert not a_client(jwks_uri="https://client.example/keys").is_public


def test_a_client_needs_no_proof_when_it_has_none_to_give_or_may_choose() -> None:
    assert a_client().needs_no_proof
    assert a_client(jwks="{}").needs_no_proof
    assert not a_client(jwks="{}", token_endpoint_auth_method="private_key_jwt").needs_no_proof
    assert not a_client(secret_hash="sha256$x").needs_no_proof


@pytest.mark.parametrize("status", list(ClientStatus))
def test_only_an_active_client_is_active(status: ClientStatus) -> None:
    assert a_client(status=status).is_active is (status is ClientStatus.ACTIVE)


def test_the_ceiling_is_a_set_and_empty_when_unset() -> None:
    assert a_client(scope="read write read").scopes == {"read", "write"}
    assert a_client().scopes == frozenset()


def test_a_client_has_the_grants_it_registered() -> None:
    assert a_client().has_grant("refresh_token")
    assert not a_client().has_grant("client_credentials")
