-- When the user signed in whose browser session answered an authorization: its tokens say so (auth_time, RFC 9068 §2.2.1).
-- NULL is what an earlier version wrote, which did not know.

ALTER TABLE authorizations ADD COLUMN authenticated_at BIGINT;
