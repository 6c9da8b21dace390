import pytest

from authserver.audit.catalogue import CATALOGUE, RESERVED, Severity, severity
from authserver.audit.events import Action


def test_every_action_has_its_entry() -> None:
    assert set(CATALOGUE) == set(Action)
    assert set(Action) >= RESERVED


@pytest.mark.parametrize(
    ("action", "detail", "expected"),
    [
        (Action.TOKEN_ISSUED, "", Severity.INFO),
        (Action.USER_LOGIN_FAILED, "reason=user_not_found", Severity.NOTICE),
        (Action.CLIENT_DELETED, "", Severity.WARNING),
        (Action.FAMILY_REVOKED, "", Severity.ALERT),
        (Action.CONSENT_GRANT_REVOKED_ADMIN, "id=x", Severity.WARNING),
        (Action.CONSENT_GRANT_REVOKED_ADMIN, "id=x cascade=failed", Severity.ALERT),
        (Action.DCR_MODE_UPDATED, "dcr mode changed from open to admin_only", Severity.WARNING),
        (Action.DCR_MODE_UPDATED, "dcr mode changed from admin_only to open", Severity.ALERT),
    ],
)
def test_severity_follows_from_the_action_and_how_it_went(action: Action, detail: str, expected: Severity) -> None:
    assert severity(action, detail) is expected
