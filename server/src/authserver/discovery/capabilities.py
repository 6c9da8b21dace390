"""What the server does at the moment, as its metadata tells it."""

from collections.abc import Awaitable, Sequence

from authserver.clients.mode import DcrMode, RegistrationMode
from authserver.config.model import Config
from authserver.discovery.metadata import Capabilities
from authserver.resources.catalog import ResourceCatalog
from authserver.storage.database import StorageUnavailable


class CurrentCapabilities:
    """Tells what the server does, with the settings and Resources of this moment."""

    def __init__(
        self, config: Config, catalog: ResourceCatalog, mode: RegistrationMode, *, grant_types: Sequence[str]
    ) -> None:
        self._config = config
        self._catalog = catalog
        self._mode = mode
        self._grant_types = grant_types

    def __call__(self) -> Capabilities | Awaitable[Capabilities]:
        """Return it at once while the Resources are remembered; otherwise they are read."""
        scopes = self._catalog.known_scope_names
        return self._with(scopes) if scopes is not None else self._read()

    async def _read(self) -> Capabilities:
        # Degrade rather than fail: a document without scopes still leads a client through (public API §16).
        try:
            return self._with(await self._catalog.scope_names())
        except StorageUnavailable:
            return self._with(())

    def _with(self, scopes: Sequence[str]) -> Capabilities:
        is_open = self._mode.current is not DcrMode.ADMIN_ONLY
        return Capabilities(
            grant_types=self._grant_types,
            scopes=scopes,
            registration_is_open=is_open,
            metadata_documents=self._config.cimd.enabled and is_open,
            binds_tokens=self._config.dpop.enabled,
            device_authorization=self._config.device.enabled,
        )
