"""A reference id that a client was given explains its refusal in another process, after a restart too."""

import json
import re

import httpx2
import pytest

from e2e.harness.installation import EVERYWHERE, Installation
from e2e.harness.proof_key import ProofKey

pytestmark = pytest.mark.usefixtures("operator")

REDIRECT = "http://127.0.0.1:4000/callback"


@pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")
def test_a_reference_id_explains_its_refusal_at_once_and_after_a_restart(installation: Installation) -> None:
    with installation.serve() as process:
        client_id = installation.create_public_client(REDIRECT)
        query = {"client_id": client_id, "response_type": "code", "redirect_uri": "http://127.0.0.1:3000/cb"}
        page = httpx2.get(f"{installation.issuer}/oauth/authorize", params=query)
        body = httpx2.post(f"{installation.issuer}/oauth/token", data={"grant_type": "magic"}).json()
        (on_page,) = re.findall(r"ref_[a-z2-7]{20}", page.text)
        at_once = installation.explain(body["error_description"])
        assert process.stop() == 0
    with installation.serve():
        later = installation.explain(on_page)
        told = json.loads(installation.explain(f"({body['reference']})", "--json"))
        listed = installation.run("admin", "trace", "list", "--client-id", client_id)

    assert "grant_type=magic" in at_once
    assert "served are: authorization_code, refresh_token" in at_once
    assert f"requested http://127.0.0.1:3000/cb; registered: {REDIRECT}" in later
    assert "fix: Register the exact URI" in later
    assert (told["reference"], told["reason"]) == (body["reference"], "unsupported_grant_type")
    assert f"reference={on_page} " in listed
    assert body["reference"] not in listed


def test_what_is_wrong_with_a_proof_is_explained_to_the_operator(installation: Installation) -> None:
    with installation.serve():
        machine, key = installation.create_machine("notes:read"), ProofKey()
        endpoint = f"{installation.issuer}/oauth/token"
        auth = (machine.client_id, machine.secret or "")

        def ask(*proofs: str) -> httpx2.Response:
            headers = [("DPoP", proof) for proof in proofs]
            return httpx2.post(endpoint, data={"grant_type": "client_credentials"}, auth=auth, headers=headers)

        def explanation(*proofs: str) -> str:
            refused = ask(*proofs)
            assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")
            told = installation.explain(refused.json()["reference"])
            assert not [proof for proof in proofs if proof in told or proof.rpartition(".")[2] in told]
            return told

        used = key.proof(endpoint)
        assert ask(used).status_code == 200
        assert "was used before" in explanation(used)
        elsewhere = explanation(key.proof("https://elsewhere.example/oauth/token"))
        assert f"The proof is for https://elsewhere.example/oauth/token; the token endpoint is {endpoint}" in elsewhere
        assert "The proof is for the method GET" in explanation(key.proof(endpoint, htm="GET"))
        assert "seconds ago, by the clock of who made it" in explanation(key.proof(endpoint, iat=1))
        assert "more than one `DPoP` header value" in explanation(key.proof(endpoint), key.proof(endpoint))


def test_an_unknown_reference_id_says_why_it_may_be_missing(installation: Installation) -> None:
    with pytest.raises(AssertionError, match=r"no trace of ref_a{20}: it is older than traces\.max_age"):
        installation.run("admin", "trace", "show", "ref_" + "a" * 20)
