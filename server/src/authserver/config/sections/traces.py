"""How refusals are explained afterwards: ``traces``."""

from dataclasses import dataclass
from typing import Annotated

from authserver.config.declaring import Key, Seconds

_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class TracesConfig:
    """Traces of refused requests, which `authserver admin trace` prints."""

    enabled: Annotated[
        bool, Key("AUTHPLANE_TRACES_ENABLED", "Keeps the steps of every refused request under its reference id.")
    ] = True
    max: Annotated[
        int,
        Key(
            "AUTHPLANE_TRACES_MAX",
            "How many refusals are kept, the newest. A quarter is for users and clients that proved who they are.",
            least=100,
            most=1_000_000,
        ),
    ] = 10_000
    max_age: Annotated[
        Seconds,
        Key("AUTHPLANE_TRACES_MAX_AGE", "How long a refusal is kept.", least=60, most=30 * 24 * _HOUR),
    ] = 24 * _HOUR
