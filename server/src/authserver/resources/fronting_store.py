"""SQL of ``fronting_links``."""

from collections.abc import Mapping

import orjson

from authserver.resources.records import FrontingLink
from authserver.storage.database import Reader, Row, Writer

_SELECT = (
    "SELECT l.source_id, s.slug AS source, l.target_id, t.slug AS target, l.scope_map, l.created_at, l.created_by"
    " FROM fronting_links l JOIN resources s ON s.id = l.source_id JOIN resources t ON t.id = l.target_id"
)


def _link(row: Row) -> FrontingLink:
    return FrontingLink(
        source_id=row["source_id"],
        source=row["source"],
        target_id=row["target_id"],
        target=row["target"],
        scope_map={source: tuple(targets) for source, targets in orjson.loads(row["scope_map"]).items()},
        created_at=row["created_at"],
        created_by=row["created_by"],
    )


def _json(scope_map: Mapping[str, tuple[str, ...]]) -> str:
    return orjson.dumps(scope_map).decode()


async def list_links(db: Reader) -> list[FrontingLink]:
    """Read all links, by their slugs. Operators write them one by one: there are as many as they wrote."""
    return [_link(row) for row in await db.fetch_all(f"{_SELECT} ORDER BY s.slug, t.slug")]


async def list_links_of(db: Reader, resource_id: str) -> list[FrontingLink]:
    """Read the links that begin or end at a resource."""
    rows = await db.fetch_all(
        f"{_SELECT} WHERE l.source_id = $1 OR l.target_id = $1 ORDER BY s.slug, t.slug", resource_id
    )
    return [_link(row) for row in rows]


async def find_link(db: Reader, source: str, target: str) -> FrontingLink | None:
    """Look a link up by the slugs of its ends."""
    row = await db.fetch_one(f"{_SELECT} WHERE s.slug = $1 AND t.slug = $2", source, target)
    return _link(row) if row else None


async def insert_link(tx: Writer, link: FrontingLink) -> None:
    """Store a new link.

    Raises:
        UniqueViolation: There is one between these two.
        ReferenceViolation: One of them is gone.
    """
    await tx.execute(
        "INSERT INTO fronting_links (source_id, target_id, scope_map, created_at, created_by)"
        " VALUES ($1, $2, $3, $4, $5)",
        link.source_id,
        link.target_id,
        _json(link.scope_map),
        link.created_at,
        link.created_by,
    )


async def update_link(tx: Writer, link: FrontingLink) -> bool:
    """Store another scope map; False when the link is gone."""
    touched = await tx.execute(
        "UPDATE fronting_links SET scope_map = $3 WHERE source_id = $1 AND target_id = $2",
        link.source_id,
        link.target_id,
        _json(link.scope_map),
    )
    return touched == 1


async def delete_link(tx: Writer, link: FrontingLink) -> bool:
    """Delete a link; False when it is gone."""
    touched = await tx.execute(
        "DELETE FROM fronting_links WHERE source_id = $1 AND target_id = $2", link.source_id, link.target_id
    )
    return touched == 1
