"""Makes the destinations that the configuration names."""

from collections.abc import Mapping

from authserver.audit.delivery.receivers import OtlpLogs, Receiver, Webhook
from authserver.audit.delivery.records import Destination
from authserver.config.references import read_reference
from authserver.config.secret import NO_SECRET
from authserver.config.sections.audit import AuditConfig
from authserver.outbound.client import OutboundClient


def open_destinations(
    config: AuditConfig, http: OutboundClient, environ: Mapping[str, str], *, issuer: str
) -> list[Destination]:
    """Return where the audit trail is delivered to.

    Args:
        config: The section ``audit``.
        http: What connects.
        environ: The environment, which holds the secrets.
        issuer: Tells receivers whose events they are.

    Raises:
        ConfigError: A secret that is named is not there.
    """
    webhook, otlp = config.webhook, config.otlp
    found: list[Destination] = []
    if webhook.url:
        receiver = Receiver(http=http, url=webhook.url, allow_private=webhook.allow_private_addresses)
        found.append(Webhook(receiver=receiver, secrets=read_reference(webhook.secret_ref, environ), issuer=issuer))
    if otlp.url:
        receiver = Receiver(http=http, url=otlp.url, allow_private=otlp.allow_private_addresses)
        authorization = read_reference(otlp.authorization_ref, environ) if otlp.authorization_ref else NO_SECRET
        found.append(OtlpLogs(receiver=receiver, authorization=authorization, issuer=issuer))
    return found
