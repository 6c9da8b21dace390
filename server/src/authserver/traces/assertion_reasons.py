"""What the reasons mean for which an identity assertion buys nothing (XAA)."""

from collections.abc import Mapping
from types import MappingProxyType

from authserver.traces.records import Entry

ASSERTION_REASONS: Mapping[str, Entry] = MappingProxyType(
    {
        "missing_assertion": Entry(
            "The JWT bearer grant was asked for without an `assertion`.",
            "Send the identity assertion (ID-JAG) that the identity provider issued for this server.",
        ),
        "invalid_assertion": Entry(
            "The assertion is no signed JWT with an `iss`, or its algorithm is not one of the asymmetric ones of RFC 7518.",
            "Send the ID-JAG as the provider returned it, whole; the provider must sign with ES, RS, PS or EdDSA.",
        ),
        "untrusted_issuer": Entry(
            "No identity provider is registered under the issuer {requested}.",
            "`authserver admin idp list` shows those that are. Register it, spelled as in the assertion: `authserver admin"
            " idp create --name … --issuer …`; running servers know it within two seconds.",
        ),
        "idp_disabled": Entry(
            "The identity provider {requested} is registered and disabled.",
            "`authserver admin idp update --id … --enabled true`, if it should be trusted.",
        ),
        "jwks_fetch_failed": Entry(
            "The keys of the provider cannot be fetched from {requested}, and none are kept: {cause}.",
            "They must be served over https from a public address, without redirect, with status 200, in ten seconds, and"
            " be at most 512 KiB. `authserver admin idp refresh-keys --id …` tries again at once; a failure is remembered"
            " for 30 seconds.",
        ),
        "id_jag_type": Entry(
            "The assertion is a JWT of another type.",
            "The provider must issue an ID-JAG, whose header says `typ: oauth-id-jag+jwt`; an ID token or access token is"
            " none.",
        ),
        "id_jag_key_unknown": Entry(
            "The provider publishes no key that the assertion's `kid` and `alg` name.",
            "Compare the assertion's header with the provider's key set. After a rotation: `authserver admin idp"
            " refresh-keys --id …`; a name that is not known is looked up anew once a minute.",
        ),
        "id_jag_signature": Entry(
            "No key of the provider made the assertion's signature.",
            "Send the assertion unaltered; compare its header with the provider's key set.",
        ),
        "id_jag_claims": Entry(
            "A claim of the assertion is missing, empty, too long, of a wrong JSON type, or an array of several.",
            "It needs `iss`, `sub`, `aud`, `client_id`, `jti` as texts and `exp`, `iat` as whole numbers; `scope` and"
            " `resource` are texts, `cnf` an object.",
        ),
        "id_jag_expired": Entry(
            "The assertion's `exp` has passed.",
            "Get a new assertion from the provider, and use it at once; compare the clocks, which may differ by 30 s.",
        ),
        "id_jag_too_old": Entry(
            "The assertion was issued longer ago than `xaa.max_assertion_age`.",
            "Get a new assertion from the provider for each token, or raise the key.",
        ),
        "id_jag_not_yet_valid": Entry(
            "The assertion's `iat` or `nbf` lies in the future.",
            "Compare the provider's clock with this server's; they may differ by 30 s.",
        ),
        "id_jag_audience": Entry(
            "The assertion is addressed to another server, or to several.",
            "The client asks its provider for one with this server's issuer as `audience`, spelled as `server.issuer` is.",
        ),
        "id_jag_client": Entry(
            "The assertion is for the client {expected}, and {client_id} presents it.",
            "The provider must know the client by its identifier here, and put that into `client_id`.",
        ),
        "id_jag_resource": Entry(
            "The request asks for {requested}, and the assertion is for {expected}.",
            "Leave `resource` out or repeat the assertion's; for another resource get another assertion. This one is not"
            " spent.",
        ),
        "resource_required": Entry(
            "Neither the request nor the assertion names a resource, and `xaa.require_resource` is true.",
            "Send `resource`, the URI of the MCP server; the assertion is not spent.",
        ),
        "id_jag_replayed": Entry(
            "The assertion was used before, whether or not it bought a token.",
            "Get a new assertion for every token request, also after a refusal and after `use_dpop_nonce`.",
        ),
        "client_scope_empty": Entry(
            "The client has no registered scope, so nothing can be granted to it.",
            "`authserver admin client update --id {client_id} --scope …` registers some.",
        ),
        "assertion_excludes_all": Entry(
            "Nothing is left: the assertion allows {expected}; the client is registered for {ceiling}.",
            "Have the provider allow scopes of this server, or widen the client's: `authserver admin client update --id"
            " {client_id} --scope …`.",
        ),
        "scope_not_asserted": Entry(
            "The request asks for {requested}, and the assertion allows {expected}.",
            "Ask for less, or get an assertion for more from the provider.",
        ),
        "policy_denied": Entry(
            "No policy of the provider lets this through: scopes {requested}, resource {resource}, client {client_id};"
            " enabled policies: {registered}.",
            "`authserver admin xaa policy list` shows them; without any, everything is denied. One must hold all the"
            " scopes: `authserver admin xaa policy create --name … --idp-id …`.",
        ),
        "subject_mapping_failed": Entry(
            "Nobody said who this user of the provider is here, and `xaa.subject_mode` is strict.",
            "`authserver admin xaa mapping create --idp-id … --idp-subject …`, or set `xaa.subject_mode: auto_map`.",
        ),
    }
)
