"""``GET /metrics`` on the operators' listener: what all workers counted, and figures from the database (metrics.md §4)."""

from dataclasses import dataclass

from authserver.discovery.figures import Figures
from authserver.telemetry.metrics import CONTENT_TYPE, scrape
from authserver.web.http import NO_STORE, HttpRequest, HttpResponse, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeRoutes:
    """The page that Prometheus reads.

    Attributes:
        path: Where.
    """

    figures: Figures
    path: str

    def routes(self) -> list[Route]:
        """Mount it under the throughput limit: every scrape adds up what all processes counted."""
        return [Route(path=self.path, endpoints={"GET": self.metrics})]

    async def metrics(self, _request: HttpRequest) -> HttpResponse:
        """Serve all metrics as text. A database that is away leaves the figures from it as they were."""
        await self.figures.refresh()
        return HttpResponse(200, scrape(), ((b"content-type", CONTENT_TYPE.encode("ascii")), NO_STORE))
