"""What the reasons mean that tell a client what is wrong with it: who it is, how it proved it, how it registered."""

from collections.abc import Mapping
from types import MappingProxyType

from authserver.traces.records import Entry

CLIENT_REASONS: Mapping[str, Entry] = MappingProxyType(
    {
        "client_unknown": Entry(
            "No client is registered as {client_id}.",
            "`authserver admin client list` shows all. The client registers again, or is created with `authserver admin"
            " client create`; a client that is known by a document sends the document's URL.",
        ),
        "client_document_unusable": Entry(
            "The document at {client_id} could not be used: {cause}.",
            "It must answer 200 with a JSON content type, without redirect, from a public address, with `client_id` equal"
            " to its own URL; `cimd.enabled` and `dcr.mode` must allow it. A failure is remembered for 30 seconds.",
        ),
        "client_not_active": Entry(
            "The client {client_id} is {status}.",
            "`authserver admin client reactivate --id {client_id}` lets a suspended client act again.",
        ),
        "client_not_found": Entry(
            "No client {client_id} is registered here, or the request names none.",
            "Send the client_id of the registration, or register again; `authserver admin client list` shows all.",
        ),
        "credentials_disagree": Entry(
            "The Authorization header and the body name different clients or secrets: {client_id} and {expected}.",
            "Send the credentials in one place only.",
        ),
        "malformed_credentials": Entry(
            "The Basic header decodes, but client_id or secret in it are not form-encoded (RFC 6749, section 2.3.1).",
            "Form-encode both before joining them with a colon, then encode with base64. A client_id that is a URL begins"
            " with `https%3A%2F%2F` then.",
        ),
        "missing_client_secret": Entry(
            "The client {client_id} must prove itself by {expected}, and sent no secret.",
            "Send the secret by the registered method, or register the client with the method `none`.",
        ),
        "invalid_client_secret": Entry(
            "The secret is not that of {client_id}.",
            "Use the secret of the last `authserver admin client rotate-secret --id {client_id}`. In a Basic header it"
            " must be form-encoded. A changed `client_secret_pepper` invalidates secrets made with the old one.",
        ),
        "public_client": Entry(
            "The client {client_id} is public (registered method: {expected}): it may not send a secret, and may not use"
            " this endpoint or grant at all where a confidential client is needed.",
            "Leave the secret out, or register a confidential client (`authserver admin client create --auth-method"
            " client_secret_basic`).",
        ),
        "invalid_client": Entry("The client did not prove who it is.", "See the step that looked the client up."),
        # Registration.
        "registration_closed": Entry(
            "Only operators register clients here: {setting}.",
            "`authserver admin dcr set --mode open` (or approved_redirects) opens registration;"
            " `authserver admin client create` registers one client.",
        ),
        "client_rate_limited": Entry(
            "Client {client_id} sent more requests than `rate_limit.client_requests_per_second` and"
            " `rate_limit.client_burst` let through.",
            "Wait as long as `Retry-After` says, or raise the two keys.",
        ),
        "registration_rate_limited": Entry(
            "More clients registered than `dcr.rate_limit` and `dcr.rate_limit_burst` let through.",
            "Wait as long as `Retry-After` says, or raise the two keys.",
        ),
        "redirect_uri_not_approved": Entry(
            "Registration is restricted ({setting}), and {redirect_uri} is not on the list: {registered}.",
            "Add the URI to `dcr.approved_redirects`, byte for byte.",
        ),
        "invalid_redirect_uri": Entry(
            "A redirect URI may not be registered; the description names it and the rule.",
            "Use https, or http on localhost, 127.0.0.1 or [::1], or a private-use scheme of a public client; no fragment,"
            " no user information, no wildcard.",
        ),
        "invalid_client_metadata": Entry(
            "A member of the client's metadata is not supported here; the description lists every problem.",
            "Change the members that it names. A grant that it calls disabled has its key in the description.",
        ),
        # Assertions (private_key_jwt).
        "assertion_beside_secret": Entry(
            "A client assertion was sent together with a secret.", "Send the one that the client is registered for."
        ),
        "assertion_unsupported": Entry(
            "The client_assertion_type is not the one of RFC 7523, or there is no assertion with it.",
            "Send `urn:ietf:params:oauth:client-assertion-type:jwt-bearer` and the assertion.",
        ),
        "missing_client_assertion": Entry(
            "The client {client_id} must prove itself by an assertion ({expected}), and sent {authentication}.",
            "Send client_assertion and client_assertion_type.",
        ),
        "assertion_malformed": Entry(
            "The assertion is no JWS of compact form with one JSON object each as header and claims.",
            "Make it with a JWT library; it must not be encrypted, and no member may come twice.",
        ),
        "assertion_subject": Entry(
            "`sub` and `iss` of the assertion are not both the client's id, or the request names another client.",
            "Set `iss` and `sub` to the client_id, byte for byte; client_id in the body may be left out.",
        ),
        "assertion_audience": Entry(
            "`aud` of the assertion is not one value out of: {registered}.",
            "Set `aud` to the issuer as the server metadata spells it.",
        ),
        "assertion_id": Entry(
            "`jti` of the assertion is missing or too long.", "Give each assertion a fresh random `jti`."
        ),
        "assertion_algorithm": Entry("The assertion's `alg` is not served.", "Sign with ES256, RS256, PS256 or EdDSA."),
        "assertion_critical": Entry("The assertion has a `crit` header.", "Leave `crit` out."),
        "assertion_type": Entry(
            "The assertion's `typ` is not that of a client assertion.", "Use `JWT`, or leave it out."
        ),
        "assertion_times": Entry(
            "`exp` of the assertion is missing, or a time in it is no number.", "Give times in seconds since 1970."
        ),
        "assertion_expired": Entry(
            "The assertion has expired.", "Make a new one for each request; compare the clocks of both sides."
        ),
        "assertion_lifetime": Entry(
            "The assertion expires too far in the future.", "Let it live for a minute; there is no use for more."
        ),
        "assertion_not_yet_valid": Entry(
            "`iat` or `nbf` of the assertion lies in the future.", "Compare the clocks of both sides (NTP)."
        ),
        "assertion_unexpected": Entry(
            "The client {client_id} has no keys to check an assertion with; its method is {expected}.",
            "Use that method, or register keys: `authserver admin client create --auth-method private_key_jwt"
            " --jwks-uri …`.",
        ),
        "assertion_keys_unavailable": Entry(
            "The key set of {client_id} cannot be read or fetched; the log has the cause.",
            "Its `jwks_uri` must answer 200 with a JSON key set, without redirect, from a public address. A failure is"
            " remembered for 30 seconds.",
        ),
        "assertion_key_unknown": Entry(
            "No key of {client_id} fits the assertion's `kid` and `alg`.",
            "Publish the key in the client's `jwks` or `jwks_uri` before signing with it.",
        ),
        "assertion_signature": Entry(
            "No key of {client_id} made the assertion's signature.",
            "Sign with the private half of a published key; compare `kid` with the key set.",
        ),
        "assertion_replayed": Entry(
            "The assertion was used before.", "Make a new one, with a new `jti`, for each request and each retry."
        ),
    }
)
