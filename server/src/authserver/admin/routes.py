"""Mounts the admin API, and loads what it needs when it is first asked."""

import asyncio
import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from authserver.admin.access import Access
from authserver.admin.parts import AdminParts
from authserver.web.http import ErrorShape, HttpRequest, HttpResponse, Route

if TYPE_CHECKING:
    from authserver.admin.dispatching import Dispatcher

PREFIX = "/admin/"
# Also those that no endpoint has: which ones a path has instead is for the table to say.
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@dataclass(slots=True, kw_only=True)
class AdminRoutes:
    """Everything below ``/admin/`` that is no page.

    Attributes:
        base_path: The issuer's own, which may stand in front.
    """

    parts: AdminParts
    access: Access
    base_path: str
    _dispatcher: "Dispatcher | None" = field(default=None, init=False)
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def routes(self) -> list[Route]:
        """Mount it: one route, since the table behind it is not loaded yet."""
        return [
            Route(
                path=PREFIX,
                endpoints=dict.fromkeys(_METHODS, self.serve),
                template=f"{PREFIX}…",
                is_prefix=True,
                errors=ErrorShape.PROBLEM,
            )
        ]

    async def serve(self, request: HttpRequest) -> HttpResponse:
        """Answer a request."""
        dispatcher = self._dispatcher or await self._load()
        raw = request.raw_path
        if self.base_path and raw.startswith(self.base_path.encode() + b"/"):
            raw = raw[len(self.base_path) :]
        return await dispatcher.serve(request, raw)

    async def _load(self) -> "Dispatcher":
        """Import the endpoints beside the loop: models take a fifth of a second, which no start and no token waits for."""
        async with self._loading:
            if self._dispatcher is None:
                serving = await asyncio.to_thread(importlib.import_module, "authserver.admin.api.table")
                self._dispatcher = serving.build_dispatcher(self.parts, self.access)
            return self._dispatcher
