"""What the reasons of refused token exchanges mean (token exchange, section 14)."""

from collections.abc import Mapping
from types import MappingProxyType

from authserver.traces.records import Entry

_FAULT = "Search the log for the reference: the line `request failed` has the cause."

EXCHANGE_REASONS: Mapping[str, Entry] = MappingProxyType(
    {
        # The tokens.
        "subject_token_missing": Entry(
            "There is nothing to exchange: `subject_token` was not sent.",
            "Send the access token that the caller was presented with as `subject_token`.",
        ),
        "invalid_request": Entry(
            "`{parameter}` is {requested}; only access tokens of this server are exchanged.",
            "Send `urn:ietf:params:oauth:token-type:access_token`, or `…:jwt`; refresh and ID tokens are not exchanged.",
        ),
        "invalid_subject_token": Entry(
            "The subject token counts for nothing here: {found}.",
            "Send an access token of this server that has not expired; compare its `iss` with `server.issuer`, its `exp`"
            " with the time, its `kid` with `authserver admin key list`.",
        ),
        "invalid_issuer": Entry(
            "The subject token names another issuer: {found}.",
            "Get a new one: tokens from before `server.issuer` was changed are no longer exchanged.",
        ),
        "subject_token_revoked": Entry(
            "The subject token was revoked, by its client, with its family, or with the consent that it rests on.",
            "Start a new authorization, or exchange again from the token before it.",
        ),
        "invalid_actor_token": Entry(
            "The actor token counts for nothing here: {found}.",
            "Send an access token of this server that has not expired, or leave `actor_token` out.",
        ),
        "actor_issuing_client_inactive": Entry(
            "The client {expected} of the actor token is suspended or revoked.",
            "`authserver admin client reactivate --id {expected}`, if it should act.",
        ),
        "actor_subject_inactive": Entry(
            "The actor token's user is disabled, or it is about a client that may not act.",
            "Enable the user, or reactivate the client, if it should be.",
        ),
        # The target and who may exchange for it.
        "resource_not_found": Entry(
            "No registered resource has {requested} as its slug or URI.",
            "`authserver admin resource list` shows them. Send the slug or the URI exactly, or register it: `authserver"
            " admin resource create --backend-kind mint --uri …`.",
        ),
        "operator_gate_denied": Entry(
            "The resource {resource} names who may exchange for it, and {client_id} is not among them: {registered}.",
            "Add client {client_id} to `policy.exchange.allowed_client_ids`: `authserver admin resource update --id …"
            " --policy-allowed-clients …` with the whole list. The flag replaces the whole policy, so give the other two"
            " lists again.",
        ),
        "cross_client_not_authorized": Entry(
            "The subject token was issued to {expected}, and {client_id} may not exchange it for {resource}.",
            "Add client {client_id} to `policy.exchange.allowed_client_ids` of {resource}: `authserver admin resource"
            " update --id … --policy-allowed-clients …`; or, when it is the resource itself, `authserver admin resource"
            " runtime-client add --slug {resource} --client-id {client_id}`. The user's consent is still asked for.",
        ),
        "policy_denied": Entry(
            "Without `resource` a client exchanges only its own token, and only when the operator lets it: the token is"
            " of {expected}, the caller {client_id}, {setting}.",
            "Name the target in `resource`; or set `token_exchange.allow_self_exchange: true` when clients may narrow"
            " their own tokens.",
        ),
        "fronting_caller_not_authorized": Entry(
            "A fronting link leads from {source} to {resource}, and {client_id} is not the gateway: it neither runs the"
            " source nor is on the target's list.",
            "`authserver admin resource runtime-client add --slug {source} --client-id {client_id}`, when it is the"
            " gateway; or add it to `policy.exchange.allowed_client_ids` of {resource}: `authserver admin resource update"
            " --id … --policy-allowed-clients …`.",
        ),
        # Scopes.
        "subject_scope_ceiling": Entry(
            "An exchange only narrows: asked for {requested}; the subject token has {ceiling}.",
            "Ask for scopes of the subject token, or have the user allow more first.",
        ),
        "invalid_scope": Entry(
            "Without `resource` an exchange keeps or narrows the scope of the subject token: asked for {requested}.",
            "Ask for scopes of the subject token.",
        ),
        "default_scope_empty": Entry(
            "No scope was asked for, and nothing follows from the subject token and what the user allowed: declared"
            " {catalog}; allowed {result}.",
            "Name the scopes in `scope`.",
        ),
        "fronting_scope_unmapped": Entry(
            "The fronting link from {source} to {resource} maps nothing to what was asked for: {requested}.",
            "Ask for less, or map it: `authserver admin fronting update --source {source} --target {resource} --scope-map"
            " …` with the whole map.",
        ),
        "fronting_subject_scope_insufficient": Entry(
            "The subject token has no scope that stands for {requested} on the link from {source} to {resource}. Of several"
            " scopes that stand for one, the first in the alphabet counts.",
            "Have the user allow the scope of the source, or change the map: `authserver admin fronting update --source"
            " {source} --target {resource} --scope-map …`.",
        ),
        # Consent.
        "scope_not_consented": Entry(
            "The user {user_id} allowed {expected} only {result} at {resource}; asked for {requested}.",
            "The user opens the `consent_url` of the answer, signed in as that account, and allows more.",
        ),
        "consent_revoked_during_mint": Entry(
            "The consent at {resource} was revoked while the token was made; none was issued.",
            "The user opens the `consent_url` of the answer, if it shall go on.",
        ),
        "subject_token_revoked_during_mint": Entry(
            "The subject token was revoked while the new one was made; none was issued.",
            "Start a new authorization.",
        ),
        "different_account": Entry(
            "The link is for the account {expected}, and {user_id} opened it.",
            "Sign out on that page and sign in as the account that the link is for.",
        ),
        # Chains and brokers.
        "chain_too_deep": Entry(
            "The new token would name more actors than {setting}.",
            "Shorten the chain, or raise `token_exchange.max_chain_depth` (at most 10).",
        ),
        "broker_actor_not_allowed": Entry(
            "`actor_token` was sent for a broker resource: upstream credentials name no actor.",
            "Leave `actor_token` out.",
        ),
        "fronting_link_missing": Entry(
            "The subject token is for {source}, and no fronting link leads from there to {resource}.",
            "Declare it: `authserver admin fronting create --source {source} --target {resource} --scope-map …`; or exchange"
            " a token that was obtained without `resource`.",
        ),
        "agent_attestation_unknown_actor": Entry(
            "{client_id} runs no resource, so nobody could have allowed it anything at one.",
            "`authserver admin resource runtime-client add --slug … --client-id {client_id}`.",
        ),
        "agent_attestation_ambiguous_actor": Entry(
            "{client_id} runs several resources, and it must be one: {result}.",
            "`authserver admin resource runtime-client remove --slug … --client-id {client_id}`, until one is left.",
        ),
        "agent_attestation_actor_not_mint": Entry(
            "{client_id} runs {result}, which is not of kind mint.",
            "Register the MCP server that the client is, of kind mint, and name the client there: `authserver admin"
            " resource runtime-client add --slug … --client-id {client_id}`.",
        ),
        "agent_attestation_required": Entry(
            "The user {user_id} never allowed the client {expected} at {resource}.",
            "The user opens the `consent_url` of the answer, signed in as that account.",
        ),
        "broker_scope_not_consented": Entry(
            "The user {user_id} allowed {expected} at {resource} only {result}; asked for {requested}.",
            "The user opens the `consent_url` of the answer, signed in as that account, and allows more.",
        ),
        "vending_not_served": Entry(
            "Every gate let the exchange pass, but this version vends no tokens for broker resources such as {resource}.",
            "Nothing, until a version that vends. Providers, broker resources and credentials can be set up already.",
        ),
        # Faults of ours.
        "resource_resolve_failed": Entry("The resource could not be looked up.", _FAULT),
        "fronting_lookup_failed": Entry("The fronting link could not be looked up.", _FAULT),
        "consent_lookup_failed": Entry("The user's consent could not be looked up.", _FAULT),
        "client_lookup_failed": Entry("A client of the presented tokens could not be looked up.", _FAULT),
        "actor_resolve_failed": Entry("The resource that the caller runs could not be looked up.", _FAULT),
        "agent_attestation_lookup_failed": Entry("The user's consent could not be looked up.", _FAULT),
        "mint_issue_failed": Entry("The token could not be signed or recorded; none was issued.", _FAULT),
    }
)
