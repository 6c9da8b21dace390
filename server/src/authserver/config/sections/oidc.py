"""Sign-in through one upstream OpenID provider: ``oidc``."""

from dataclasses import dataclass
from typing import Annotated

from authserver.config.declaring import Key
from authserver.config.secret import NO_SECRET, Secret

_ON = "oidc.enabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcConfig:
    """The upstream OpenID provider."""

    enabled: Annotated[
        bool, Key("AUTHPLANE_OIDC_ENABLED", "Offers sign-in through the upstream provider.", built=False)
    ] = False
    issuer: Annotated[
        str,
        Key(
            "AUTHPLANE_OIDC_ISSUER",
            "Issuer of the upstream provider.",
            rule="`https` unless it is on localhost",
            required=True,
            when=_ON,
        ),
    ] = ""
    client_id: Annotated[
        str, Key("AUTHPLANE_OIDC_CLIENT_ID", "Our client id at the provider.", required=True, when=_ON)
    ] = ""
    client_secret: Annotated[
        Secret,
        Key(
            "AUTHPLANE_OIDC_CLIENT_SECRET",
            "Our client secret at the provider.",
            rule="exactly one of it and `oidc.client_secret_ref`",
        ),
    ] = NO_SECRET
    client_secret_ref: Annotated[
        str,
        Key(
            None,
            "Name of the variable that holds the client secret, read when it is used.",
            rule="begins with `CONNECTOR_` or `AUTHPLANE_VAULT_`",
        ),
    ] = ""
    client_secret_env: Annotated[
        str, Key(None, "Deprecated name of `oidc.client_secret_ref`, without its rule about the beginning.")
    ] = ""
    redirect_uri: Annotated[
        str,
        Key(
            "AUTHPLANE_OIDC_REDIRECT_URI",
            "Where the provider sends the browser back to.",
            rule="`https` in production",
            required=True,
            when=_ON,
        ),
    ] = ""
    display_name: Annotated[
        str, Key("AUTHPLANE_OIDC_DISPLAY_NAME", "Text of the button on the login page; empty is no button.")
    ] = ""
    scopes: Annotated[
        tuple[str, ...],
        Key("AUTHPLANE_OIDC_SCOPES", "Scopes asked of the provider.", blank_is_default=True),
    ] = ("openid", "email", "profile")
    include_groups_scope: Annotated[
        bool, Key("AUTHPLANE_OIDC_INCLUDE_GROUPS_SCOPE", "Asks for `groups` too where the provider advertises it.")
    ] = True
    show_local_login: Annotated[
        bool,
        Key("AUTHPLANE_OIDC_SHOW_LOCAL_LOGIN", "Shows the password form; false also closes `POST /login`."),
    ] = True
    connector_id: Annotated[
        str,
        Key("AUTHPLANE_OIDC_CONNECTOR_ID", "Connector that Dex is asked for.", pattern="[a-zA-Z0-9-]+", when=_ON),
    ] = ""
