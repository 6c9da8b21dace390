-- Which Resource stands in front of which, and what its scopes mean there. Operators write it; exchanges read it from
-- memory. A Resource that a link names cannot go without it.

CREATE TABLE fronting_links (
    source_id  TEXT   NOT NULL REFERENCES resources (id),
    target_id  TEXT   NOT NULL REFERENCES resources (id),
    scope_map  TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT   NOT NULL,
    PRIMARY KEY (source_id, target_id)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX fronting_links_by_target ON fronting_links (target_id);
