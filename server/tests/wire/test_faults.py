"""Every statement of a request may fail: the answer is 500 or 503 with its request id, and nothing was spent."""

import pytest

from authserver.clients.administration import NewClient
from authserver.protocol.grant_types import DEVICE_CODE
from authserver.storage.database import StorageUnavailable
from authserver.telemetry.metrics import scrape
from server.tests.fakes.proving_client import ProvingClient
from server.tests.wire.faults import CANARY, MOST_STATEMENTS, check_fault, fail_each_statement, faults, inject
from server.tests.wire.harness import ISSUER, REDIRECT, Answer, Wire, hidden_fields, query_of

pytestmark = pytest.mark.anyio


async def test_a_redemption_that_fails_anywhere_leaves_the_code(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    client_id = (await wire.register())["client_id"]
    codes = [await wire.code(client_id) for _ in range(2)]
    answers: list[Answer] = []

    async def redeem() -> Answer:
        answers.append(await wire.redeem(client_id, codes[0]))
        if answers[-1].status_code == 200:
            codes.pop(0)
        return answers[-1]

    assert await fail_each_statement(wire, monkeypatch, redeem, check_fault) >= 5
    # Whatever failed before, the same code was good until nothing failed.
    assert codes == []
    row = await wire.core.db.fetch_one("SELECT count(*) AS n FROM issuances")
    assert row is not None
    assert row["n"] == 2


async def test_a_refresh_that_fails_anywhere_leaves_the_token(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    client_id = (await wire.register())["client_id"]
    held = [(await wire.tokens(client_id))["refresh_token"]]

    async def refresh() -> Answer:
        answer = await wire.refresh(client_id, held[-1])
        if answer.status_code == 200:
            held.append(answer.json()["refresh_token"])
        return answer

    assert await fail_each_statement(wire, monkeypatch, refresh, check_fault) >= 6
    assert len(held) == 3
    assert (await wire.refresh(client_id, held[-1])).status_code == 200


async def test_a_machine_token_leaves_with_its_row_or_not_at_all(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    grants = ("client_credentials",)
    new = NewClient(name="cron", grant_types=grants, auth_method="client_secret_basic", scope="notes:read")
    client = await wire.core.clients.create(new, now=wire.clock.seconds)

    async def ask() -> Answer:
        auth = (client.client.id, client.client_secret or "")
        return await wire.http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=auth)

    # The client, the issuance, the audit row.
    assert await fail_each_statement(wire, monkeypatch, ask, check_fault) == 3
    row = await wire.core.db.fetch_one("SELECT count(*) AS n FROM issuances")
    assert row is not None
    # One for each run through all statements.
    assert row["n"] == 2
    rows = [(action, detail) for action, detail in await wire.audit() if action.startswith("client_credentials")]
    assert rows.count(("client_credentials.denied", "reason=internal_error")) == len(rows) - 2 > 0


@pytest.mark.parametrize("grant", ["authorization_code", "refresh_token", "client_credentials"])
async def test_a_request_with_a_proof_that_fails_anywhere_leaves_the_proof(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, grant: str
) -> None:
    prover = ProvingClient(url=f"{ISSUER}/oauth/token")
    new = NewClient(
        name="cron", grant_types=("client_credentials",), auth_method="client_secret_basic", scope="notes:read"
    )
    machine = await wire.core.clients.create(new, now=wire.clock.seconds)
    client_id = (await wire.register())["client_id"]
    codes = [await wire.code(client_id) for _ in range(2)]
    held = [(await wire.tokens(client_id))["refresh_token"]]
    proofs = [prover.proof(now=wire.clock.seconds) for _ in range(2)]
    spent: list[str] = []

    async def send() -> Answer:
        if grant == "authorization_code":
            return await wire.redeem(client_id, codes[0], proof=proofs[0])
        if grant == "refresh_token":
            return await wire.refresh(client_id, held[-1], proof=proofs[0])
        auth = (machine.client.id, machine.client_secret or "")
        return await wire.http.post("/oauth/token", data={"grant_type": grant}, auth=auth, headers={"DPoP": proofs[0]})

    async def request() -> Answer:
        answer = await send()
        if answer.status_code == 200:
            assert answer.json()["token_type"] == "DPoP"
            spent.append(proofs.pop(0))
            codes.pop(0)
            held.append(answer.json().get("refresh_token", held[-1]))
        return answer

    # A machine asks with three without a proof; its row is the fourth.
    assert await fail_each_statement(wire, monkeypatch, request, check_fault) >= 4
    # Whatever failed before, the same proof was good until nothing failed, and from then on no more.
    assert len(spent) == 2
    assert len(await wire.core.db.fetch_all("SELECT jti FROM dpop_jtis")) == 2
    proofs.insert(0, spent[0])
    codes.insert(0, "x" * 43)
    again = await send()
    assert (again.status_code, again.json()["error"]) == (400, "invalid_dpop_proof")


async def test_an_introspection_without_a_verdict_is_never_inactive(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await wire.tokens((await wire.register())["client_id"]))["access_token"]
    secret = wire.runtime.client_secret or ""
    counted = 'authserver_introspection_total{result="error"}'

    async def introspect() -> Answer:
        return await wire.http.post("/oauth/introspect", data={"token": token}, auth=(wire.runtime.client.id, secret))

    def check(answer: Answer, error: Exception) -> None:
        # Only its audit row may fail without the answer failing.
        if answer.status_code == 200:
            assert answer.json()["active"] is True
        else:
            check_fault(answer, error)

    def errors() -> float:
        return next((float(line.split()[1]) for line in scrape().decode().splitlines() if line.startswith(counted)), 0)

    before = errors()
    assert await fail_each_statement(wire, monkeypatch, introspect, check) >= 1
    assert errors() >= before + 2


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_a_revocation_that_fails_anywhere_can_be_tried_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    client_id = (await wire.register())["client_id"]
    tokens = await wire.tokens(client_id)

    async def revoke() -> Answer:
        return await wire.http.post("/oauth/revoke", data={"client_id": client_id, "token": tokens[kind]})

    injected = inject(wire.core.db, monkeypatch)
    for error in faults():
        for number in range(1, MOST_STATEMENTS):
            injected.begin(number, error)
            answer = await revoke()
            if answer.status_code == 200:
                break
            check_fault(answer, error)
            injected.begin(0)
            assert (await wire.introspect(tokens["access_token"]))["active"] is True
        injected.begin(0)
        assert (await wire.introspect(tokens["access_token"])) == {"active": False}
        tokens = await wire.tokens(client_id)


async def test_a_registration_that_fails_anywhere_registers_nobody(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"client_name": "Once", "redirect_uris": [REDIRECT]}

    async def register() -> Answer:
        return await wire.http.post("/oauth/register", json=document)

    assert await fail_each_statement(wire, monkeypatch, register, check_fault) >= 2
    row = await wire.core.db.fetch_one("SELECT count(*) AS n FROM clients WHERE name = $1", "Once")
    assert row is not None
    # One for each run through all statements.
    assert row["n"] == 2


async def test_an_authorization_that_fails_tells_the_client_once_it_is_known(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.code(client_id)  # signed in, and remembered
    cookies = dict(wire.http.cookies)

    async def authorize() -> Answer:
        wire.http.cookies.clear()
        wire.http.cookies.update(cookies)
        return await wire.authorize(client_id)

    def check(answer: Answer, error: Exception) -> None:
        away = isinstance(error, StorageUnavailable)
        assert CANARY not in answer.text + answer.headers.get("location", "")
        if answer.status_code != 303:
            # Before the redirect URI was trusted: a page.
            assert answer.status_code == (503 if away else 500)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["x-request-id"] in answer.text
        elif answer.headers["location"].startswith(REDIRECT):
            told = query_of(answer)
            assert told["error"] == ("temporarily_unavailable" if away else "server_error")
            assert told["state"] == "a state"
            assert told["iss"] == wire.core.config.server.issuer
            assert "code" not in told
        else:
            # A session that cannot be looked up is none (``session.fail_closed``).
            assert answer.headers["location"].startswith("/login?redirect=")
            assert away

    # The client, who is signed in with what they allowed, the code.
    assert await fail_each_statement(wire, monkeypatch, authorize, check) >= 3


async def test_a_consent_that_fails_anywhere_leaves_the_question_open(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    asked = await wire.authorize(client_id)
    page = await wire.http.get(asked.headers["location"])
    form = {**hidden_fields(page), "scopes": "notes:read", "action": "allow"}
    injected = inject(wire.core.db, monkeypatch)

    for number in range(1, MOST_STATEMENTS):
        injected.begin(number, StorageUnavailable(CANARY))
        answer = await wire.http.post("/consent", data=form)
        if answer.status_code == 303:
            break
        assert answer.status_code in {401, 503}
        assert CANARY not in answer.text
    assert number > 5
    assert "code" in query_of(answer)


async def test_a_sign_in_that_fails_locks_nobody_out(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    injected = inject(wire.core.db, monkeypatch)
    for _ in range(15):
        injected.begin(1, StorageUnavailable(CANARY))
        answer = await wire.sign_in()
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
    injected.begin(0)
    assert (await wire.sign_in()).status_code == 303


@pytest.mark.parametrize("half", ["family", "jti"])
async def test_a_replay_is_answered_alike_whichever_half_of_the_revocation_fails(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    client_id = (await wire.register())["client_id"]

    async def replay(*, failing: bool) -> dict[str, object]:
        first = await wire.tokens(client_id)
        second = (await wire.refresh(client_id, first["refresh_token"])).json()
        await wire.refresh(client_id, second["refresh_token"])
        if failing:
            name = "revoke_family" if half == "family" else "revoke_issuances_of_family"

            async def fail(*_args: object, **_named: object) -> None:
                raise StorageUnavailable(CANARY)

            monkeypatch.setattr(f"authserver.tokens.families.{name}", fail)
        answer = await wire.refresh(client_id, first["refresh_token"])
        headers = {n: v for n, v in answer.headers.items() if n not in {"x-request-id", "date"}}
        body = answer.json()
        reference = body.pop("reference")
        text = {n: str(v).replace(reference, "REF") for n, v in body.items()}
        return {"status": answer.status_code, "headers": headers, "body": text}

    sound = await replay(failing=False)
    assert await replay(failing=True) == sound
    actions = [action for action, _ in await wire.audit()]
    assert ("family.revocation_failed" if half == "family" else "family.denylist_failed") in actions


async def test_a_device_that_is_answered_amid_faults_is_allowed_once_and_gets_its_tokens(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    registration = {"grant_types": [DEVICE_CODE, "refresh_token"], "redirect_uris": []}
    client_id = (await wire.register(**registration))["client_id"]
    device = (await wire.start_device(client_id)).json()
    question = await wire.enter_code(device["user_code"])
    form = {**hidden_fields(question), "scopes": "notes:read", "action": "allow"}
    injected = inject(wire.core.db, monkeypatch)
    for number in range(1, MOST_STATEMENTS):
        injected.begin(number, StorageUnavailable(CANARY))
        answer = await wire.http.post("/device", data=form)
        if answer.status_code == 200:
            break
        assert answer.status_code in {401, 503}
        assert CANARY not in answer.text
        injected.begin(0)
        wire.clock.seconds += 6
        assert (await wire.poll(client_id, device["device_code"])).json()["error"] == "authorization_pending"
    assert number > 5
    for number in range(1, MOST_STATEMENTS):
        injected.begin(number, StorageUnavailable(CANARY))
        answer = await wire.poll(client_id, device["device_code"])
        await wire.core.trail.flush()
        if answer.status_code == 200:
            break
        check_fault(answer, StorageUnavailable(CANARY))
    assert number > 5
    injected.begin(0)
    assert (await wire.introspect(answer.json()["access_token"]))["active"] is True
