"""What each reason of a refusal means, and what to do about it.

Braces name fields of the steps that were noted (``telemetry/decisions.StepFields``). Every reason that the source gives to
a refusal has its entry: a test walks the source.
"""

from collections.abc import Mapping
from types import MappingProxyType

from authserver.traces.assertion_reasons import ASSERTION_REASONS
from authserver.traces.client_reasons import CLIENT_REASONS
from authserver.traces.exchange_reasons import EXCHANGE_REASONS
from authserver.traces.proof_reasons import PROOF_REASONS
from authserver.traces.records import Entry

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {
        # What never became a request.
        "head_malformed": Entry(
            "What was sent is no HTTP/1.1 request, or one that does not have exactly one `Host` header.",
            "Speak HTTP/1.1 in clear; TLS ends in front of the server.",
        ),
        "target_too_long": Entry(
            "Path and query are longer than 32 KiB.", "Shorten the query: `state` is for the client to choose."
        ),
        "head_too_large": Entry(
            "The headers are more or larger than the server reads.",
            "Look for cookies of other applications on the same host, and for proxies that add headers.",
        ),
        "connections_full": Entry(
            "There are as many connections as `server.max_connections` allows, and all are being served.",
            "Try again; raise the key, with the limit of open files, when this is the usual load.",
        ),
        # The request as a whole.
        "method_not_allowed": Entry(
            "The path does not serve {method}; it serves: {expected}.",
            "Use {expected}. An application that sends a form by GET, or follows a redirect of a POST by POST, does this.",
        ),
        "body_too_large": Entry(
            "The body is longer than the endpoint reads (64 KiB of a form, 1 MiB of a registration).",
            "The client sends too much; nothing on the server makes room for more.",
        ),
        "form_unreadable": Entry(
            "The form or query is not application/x-www-form-urlencoded: a broken escape, or too many parameters.",
            "Encode each name and value with percent escapes of UTF-8, and send only the parameters that are needed.",
        ),
        "json_unreadable": Entry(
            "The body is not the JSON object that is wanted, or a member has the wrong type.",
            "The description names the member; its type is in RFC 7591, section 2.",
        ),
        "parameter_missing": Entry(
            "A parameter that this request needs was not sent; an empty one counts as not sent.",
            "Send the parameter that the description names, in the body as application/x-www-form-urlencoded.",
        ),
        "parameter_repeated": Entry(
            "A parameter was sent more than once (RFC 6749, section 3).",
            "Send each parameter once; look for a client or proxy that appends to a query that has it already.",
        ),
        "parameter_too_long": Entry(
            "A parameter is longer than anybody needs.", "The description names the parameter and its limit."
        ),
        "parameter_unreadable": Entry(
            "A parameter is not UTF-8 or holds a NUL.", "Encode the parameter that the description names as UTF-8."
        ),
        "request_too_long": Entry(
            "The authorization request is too long to be brought back after a sign-in.",
            "Shorten it: `state` is for the client to choose, and `scope` may be left out.",
        ),
        "rate_limited": Entry(
            "More requests came from one address than `rate_limit.requests_per_second` and `rate_limit.burst` let through.",
            "Wait as long as `Retry-After` says. When everybody comes from one address: set `server.trusted_proxies` to"
            " the proxy, or raise the two limits.",
        ),
        "document_fetches_busy": Entry(
            "So many client metadata documents are being fetched that this one would have had to wait too long.",
            "Try again. When it lasts: slow or hostile documents hold the places; `cimd.fetch_timeout` frees them sooner.",
        ),
        "sign_ins_busy": Entry(
            "So many passwords are being checked that this one would have had to wait too long.",
            "Try again. When it lasts somebody guesses passwords: limit sign-ins in front of the server.",
        ),
        "internal_error": Entry(
            "The server failed. Its log has the cause in a line with the same reference.",
            "Search the log for the reference, and report the line with its exception.",
        ),
        "database_unavailable": Entry(
            "The database did not answer, or its queue was full; nothing was spent or written.",
            "Look at the database and at the log lines `database does not answer`; the client may simply try again.",
        ),
        "signing_unavailable": Entry(
            "The vault that holds the signing keys did not sign; nothing was spent or written.",
            "Look at the vault and at the log lines `vault does not sign`; the client may simply try again.",
        ),
        **CLIENT_REASONS,
        **PROOF_REASONS,
        **ASSERTION_REASONS,
        **EXCHANGE_REASONS,
        # Where the answer goes.
        "redirect_uri_mismatch": Entry(
            "The requested redirect URI is not one of the client's: requested {redirect_uri}; registered: {registered}.",
            "Register the exact URI (`authserver admin client update --id {client_id} --redirect-uris …`, or register the"
            " client again). Only the port of a loopback host may differ; localhost and 127.0.0.1 are different hosts,"
            " and a trailing slash counts.",
        ),
        "redirect_uri_not_in_document": Entry(
            "The requested redirect URI is not one of the client's document: requested {redirect_uri}; there: {registered}.",
            "Add the exact URI to `redirect_uris` in the document at {client_id}: whatever is changed here, the next fetch"
            " overwrites. It is fetched again when what is kept of it expires, after `cimd.cache_ttl` at the latest.",
        ),
        "redirect_uri_changed": Entry(
            "The token request names another redirect URI than the authorization request: sent {redirect_uri},"
            " authorized {expected}.",
            "Send the same redirect_uri in both, or leave it out of the token request.",
        ),
        # The authorization request.
        "unsupported_response_type": Entry("Only `response_type=code` is served.", "Send `response_type=code`."),
        "request_not_supported": Entry("Request objects are not served.", "Send the parameters in the query."),
        "request_uri_not_supported": Entry("Request objects are not served.", "Send the parameters in the query."),
        "grant_not_registered": Entry(
            "The client {client_id} is not registered for the grant {grant_type}; it has: {grant_types}.",
            "`authserver admin client update --id {client_id} --grant-types …` with all of its grants, or register the"
            " client again with the grant in `grant_types`.",
        ),
        "pkce_missing": Entry("No code_challenge was sent; PKCE is required of every client.", "Send one, with S256."),
        "pkce_not_s256": Entry("code_challenge_method is {method}; only S256 is served.", "Send S256."),
        "pkce_malformed": Entry(
            "The code_challenge is not the 43 base64url characters that S256 makes.",
            "Send BASE64URL(SHA-256(code_verifier)) without padding.",
        ),
        "prompt_none_not_alone": Entry("`prompt=none` was sent with other values.", "Send `none` alone."),
        "max_age_malformed": Entry("`max_age` is no number of seconds.", "Send a whole number, or leave it out."),
        "dpop_jkt_malformed": Entry("dpop_jkt is no JWK thumbprint.", "Send the 43 characters of RFC 7638, SHA-256."),
        "login_required": Entry(
            "`prompt=none` was sent, and {found}.", "Ask again without `prompt=none`, so that the user can sign in."
        ),
        "consent_required": Entry(
            "The user must be asked first: {found}.",
            "Of a token exchange: the user opens the `consent_url` of the answer. At the authorization endpoint: ask again"
            " without `prompt=none`, so that the user can answer.",
        ),
        # Resources.
        "multiple_resources": Entry(
            "Different `resource` values were sent: {requested}.", "Send one; a token is for one resource."
        ),
        "resource_has_fragment": Entry(
            "The resource {requested} has a fragment (RFC 8707).", "Leave the fragment out."
        ),
        "unknown_resource": Entry(
            "No registered resource has {requested} as its slug or URI, or it is not there any more.",
            "`authserver admin resource list` shows them. Send the URI exactly, or register it: `authserver admin resource"
            " create --backend-kind mint --uri …`. Host case, a default port and a lone trailing slash may differ.",
        ),
        "resource_named_by_slug": Entry(
            "{requested} is the slug of a resource, and this grant takes URIs alone; its URI is {expected}.",
            "Send the URI {expected} as `resource`.",
        ),
        "ambiguous_resource": Entry(
            "Several resources have this URI: {requested}.", "Send the slug of the one that is meant."
        ),
        "broker_resource": Entry(
            "The resource {matched} is an upstream one, which cannot be authorized directly.",
            "Ask for the MCP server that fronts it.",
        ),
        "invalid_resource": Entry(
            "The resource became one of another kind while the user was asked.", "Start the authorization again."
        ),
        "invalid_target": Entry("The resource cannot be used.", "Send the exact URI of a registered resource."),
        "default_resource_missing": Entry(
            "The request names no resource, and the default names none of kind mint: {setting}.",
            "Set `oauth.default_resource` to the slug of one (`authserver admin resource list`), or empty it.",
        ),
        "resource_not_authorized": Entry(
            "The grant is for {expected}, and the token request asks for {requested}.",
            "Leave `resource` out, or repeat the one of the authorization request; another one needs a new authorization.",
        ),
        # Scopes.
        "scope_malformed": Entry("A scope holds a character outside RFC 6749, section 3.3.", "See the description."),
        "scope_required": Entry(
            "No scope was sent, and `oauth.require_scope` is true.",
            "Send `scope`, or set `oauth.require_scope: false`: the resource's scopes are asked for then.",
        ),
        "scope_outside_ceiling": Entry(
            "A scope lies outside what the client is registered for: asked for {requested}; registered: {ceiling}.",
            "Ask for less, or widen it: `authserver admin client update --id {client_id} --scope …`.",
        ),
        "client_without_scopes": Entry(
            "The client {client_id} is registered for no scope, and a token for itself has those that it is registered for.",
            "Give it some: `authserver admin client update --id {client_id} --scope …`.",
        ),
        "self_registered_machine": Entry(
            "The client {client_id} registered itself ({source}): such a client has no scopes to act by itself with.",
            "Create one for the machine: `authserver admin client create --grant-types client_credentials --auth-method"
            " client_secret_basic --scope …`.",
        ),
        "scope_not_in_catalog": Entry(
            "The resource declares no such scope: asked for {requested}; declared: {catalog}.",
            "Ask for scopes that it declares, or declare it: `authserver admin resource update --id … --scopes …`.",
        ),
        "resource_without_scopes": Entry(
            "The resource {matched} declares no scopes, so there is nothing to ask a user for.",
            "Declare some: `authserver admin resource update --id … --scopes …`.",
        ),
        "no_scopes_registered": Entry(
            "The request names no resource, and no resource declares a scope.",
            "Register a resource with scopes, and send `resource`.",
        ),
        "ceiling_excludes_all": Entry(
            "Nothing is left: the client is registered for {ceiling}; the resource or grant has {catalog} {expected}.",
            "Widen the client's scope: `authserver admin client update --id {client_id} --scope …`, or clear it.",
        ),
        "scope_not_granted": Entry(
            "A refresh asks for more than was granted: asked for {requested}; granted: {expected}.",
            "Ask for granted scopes only; more needs a new authorization, where the user agrees.",
        ),
        "scope_not_asked_for": Entry(
            "The consent form came back with a scope that the request did not ask for.",
            "The form was altered; start again from the application.",
        ),
        # Sign-in and consent.
        "credentials_rejected": Entry(
            "The address or the password is wrong, or the user may not sign in here: {cause}.",
            "`authserver admin user list` shows whether the user exists and is active; `authserver admin user set-password"
            " --id …` gives a new password.",
        ),
        "local_login_off": Entry(
            "A password was posted, and `oidc.show_local_login` is false.",
            "Sign in through the identity provider, or set the key to true.",
        ),
        "locked_out": Entry(
            "Too many passwords were rejected for this account from there; {seconds} more seconds none is looked at.",
            "Wait, or change `rate_limit.auth_fail_max`, `rate_limit.auth_fail_window` and `rate_limit.auth_lockout`.",
        ),
        "csrf": Entry(
            "The form was not shown in this browser session, is too old, or came from another site.",
            "Load the page again. When it keeps happening the cookie does not come back: compare `session.secure` with"
            " the scheme that browsers use, `session.same_site`, and whether a proxy rewrites cookies.",
        ),
        "cross_site": Entry(
            "Another site posted to this one.",
            "The form must be on a page of the issuer's own origin: `server.issuer`.",
        ),
        "missing_session": Entry(
            "The consent page was opened without the request it is for.", "Start again from the application."
        ),
        "invalid_session": Entry(
            "The request was answered already, is older than 10 minutes, or is another user's.",
            "Start again from the application, signed in as the account that shall answer.",
        ),
        "invalid_form": Entry("The consent form came back altered.", "Start again from the application."),
        "not_authenticated": Entry(
            "The user was signed out, disabled or timed out while the page was open.",
            "Sign in again; `session.max_age` is how long a sign-in lasts.",
        ),
        "no_permissions_selected": Entry(
            "The user allowed without leaving a permission ticked.",
            "Tick one or deny. If the page shows none, the resource declares no scopes.",
        ),
        "user_denied": Entry("The user said no on the consent page.", "Nothing: it is the user's answer."),
        "link_expired": Entry(
            "`/authorize` was opened without an authorization request, or by a link that is not valid any more.",
            "Start again from the application; its authorization endpoint is in the server metadata.",
        ),
        # Grants.
        "unsupported_grant_type": Entry(
            "The grant {grant_type} is not known here; served are: {grant_types}.", "Use one of these."
        ),
        "grant_switched_off": Entry(
            "The grant {grant_type} is known and switched off: {setting}.", "Set the key to true to switch it on."
        ),
        "client_mismatch": Entry(
            "The code or token was handed to the client {expected}, and {client_id} presents it.",
            "Redeem it as the client that it was given to.",
        ),
        "code_unknown": Entry(
            "No such code was issued here, or its record was purged.",
            "Start a new authorization; check that the client talks to the issuer that issued the code, and sends the code"
            " decoded once and whole.",
        ),
        "code_expired": Entry(
            "The code ran out (it lives 10 minutes; {seconds} seconds are left).", "Start a new authorization."
        ),
        "code_revoked": Entry("The authorization was revoked before it was used.", "Start a new authorization."),
        "code_reused": Entry(
            "The code was used before, {seconds} seconds ago ({found}).",
            "Redeem a code exactly once: look for a callback that is submitted twice, or a retry after a lost answer. What"
            " the first use bought is revoked when the same client repeats it.",
        ),
        "pkce_mismatch": Entry(
            "The code_verifier does not belong to the code_challenge of the authorization request.",
            "Send the verifier of the same attempt; two attempts at once must not share storage for it.",
        ),
        "dpop_key_mismatch": Entry(
            "The code, refresh token or assertion is bound to a key, and the request proves another or none.",
            "Send a DPoP proof made with the key of the first request.",
        ),
        "user_inactive": Entry(
            "The user {user_id} is disabled or gone.",
            "`authserver admin user enable --id {user_id}`, if it should not be.",
        ),
        "consent_revoked": Entry(
            "The user's consent was withdrawn after the code was issued.", "Start a new authorization."
        ),
        "refresh_token_unknown": Entry(
            "No such refresh token is in force: never issued here, expired ({found}), or purged.",
            "Start a new authorization; `dcr.default_refresh_expiry` is how long one lives.",
        ),
        "refresh_token_reused": Entry(
            "The refresh token was used before, {seconds} seconds ago, and this is no retry: {setting}."
            " Its family is revoked.",
            "Let one process of a client refresh, and store the new token before the old one is dropped. A repeat with the"
            " same parameters within `oauth.refresh_grace` gets the same answer.",
        ),
        "family_revoked": Entry(
            "The refresh token's family was revoked: by its client, by an operator, or after reuse.",
            "Start a new authorization; the audit trail has the row (`family.revoked` or `token.revoked`).",
        ),
        "family_lifetime_passed": Entry(
            "The user signed in longer ago than `oauth.refresh_max_lifetime`.",
            "Start a new authorization, or raise the key.",
        ),
        # Devices.
        "authorization_pending": Entry("The user has not answered yet.", "Nothing: the device asks again."),
        "device_starts_limited": Entry(
            "More devices were started from one address, or by all together, than may be: 1 a second and 100 at once, and"
            " ten times as many in all.",
            "Wait as long as `Retry-After` says. When everybody comes from one address: set `server.trusted_proxies`.",
        ),
        "devices_full": Entry(
            "As many devices wait for a user as there is room for.",
            "Try again later. When it lasts somebody starts devices from many addresses: limit"
            " `/oauth/device_authorization` in front of the server, or set `device.enabled: false`.",
        ),
        "user_code_guesses_limited": Entry(
            "The user {user_id}, or everybody at one address, has entered too many codes on the device page.",
            "Wait as long as `Retry-After` says: a user has ten at once and one a minute, so that codes cannot be guessed.",
        ),
        "user_code_malformed": Entry(
            "What was entered on the device page has not the form of a code: eight consonants.",
            "Enter the code as the device shows it; case, dashes and spaces do not count.",
        ),
        "user_code_unknown": Entry(
            "No device waits with the code that was entered: it never did, was answered, or `device.code_ttl` has passed.",
            "Compare the letters with the device; start again there when it shows a code that is too old.",
        ),
        "device_answered": Entry(
            "The device was answered by another page, or its code ran out while this one was open.",
            "Start again on the device; `device.code_ttl` is how long a code lives.",
        ),
        "device_code_unknown": Entry(
            "No such device code was issued here, or it expired long ago.",
            "Start again at the device authorization endpoint; send the device_code, not the user_code, and whole.",
        ),
        "device_code_expired": Entry(
            "The device code ran out before its user answered and the device came for its tokens ({seconds} seconds left).",
            "Start again; `device.code_ttl` is how long a code lives.",
        ),
        "polled_too_soon": Entry(
            "The device asked again before its interval had passed, which is five seconds longer now.",
            "Wait `interval` seconds between polls, and five more after each `slow_down` (RFC 8628, section 3.5).",
        ),
        # Introspection, which answers these with {"active": false}.
        "invalid_token": Entry(
            "The token is none of this server's, is altered or expired, or its signing key was withdrawn.",
            "Compare its `iss` with `server.issuer`, its `exp` with the time, its `kid` with `authserver admin key list`.",
        ),
        "caller_not_authorized_for_token": Entry(
            "The caller {client_id} is neither the client {expected} of the token nor a runtime client of the resource"
            " {resource}.",
            "`authserver admin resource runtime-client add` names the client that the resource introspects as.",
        ),
        "token_revoked": Entry("The token was revoked.", "Start a new authorization."),
        "machine_token_revoked": Entry("The machine token was revoked.", "Ask for a new one."),
        "issuance_revoked": Entry("The exchanged token was revoked.", "Exchange again."),
        "issuing_client_inactive": Entry(
            "The client {expected} of the token is suspended, revoked or gone.",
            "`authserver admin client reactivate --id {expected}`, if it should act.",
        ),
        "subject_inactive": Entry("The token's user is disabled or gone.", "Enable the user, if it should be."),
    }
)
