-- A number that the database gives a row of clients and users whenever it is inserted or changed, whoever does it, and that
-- does not come back: whoever holds what a row of this number said need not read the row again (decision 0035). It is random,
-- so that neither a rollback nor a backup that is restored lets it stand for something else. In SQLite, a trigger changes the
-- row once more, which touches no index and counts as no change of the statement.

ALTER TABLE clients ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;

/*sqlite
UPDATE clients SET revision = random();
UPDATE users SET revision = random();
CREATE TRIGGER clients_inserted AFTER INSERT ON clients BEGIN
    UPDATE clients SET revision = random() WHERE id = NEW.id;
END;
CREATE TRIGGER clients_updated AFTER UPDATE ON clients WHEN NEW.revision = OLD.revision BEGIN
    UPDATE clients SET revision = random() WHERE id = NEW.id;
END;
CREATE TRIGGER users_inserted AFTER INSERT ON users BEGIN
    UPDATE users SET revision = random() WHERE id = NEW.id;
END;
CREATE TRIGGER users_updated AFTER UPDATE ON users WHEN NEW.revision = OLD.revision BEGIN
    UPDATE users SET revision = random() WHERE id = NEW.id;
END;
*/

/*postgres
CREATE FUNCTION new_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::text, 0);
    RETURN NEW;
END
$$;
CREATE TRIGGER clients_revision BEFORE INSERT OR UPDATE ON clients FOR EACH ROW EXECUTE FUNCTION new_revision();
CREATE TRIGGER users_revision BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION new_revision();
-- The trigger sets another.
UPDATE clients SET revision = 0;
UPDATE users SET revision = 0;
*/
