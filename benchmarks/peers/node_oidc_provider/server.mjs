// The peer: node-oidc-provider doing our whole flow. Public client, authorization code with PKCE, refresh with rotation, introspection,
// opaque tokens, everything it stores on SQLite as durable as ours. Usage: node server.mjs PORT DATABASE REDIRECT_URI
import { generateKeyPairSync } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import Provider from 'oidc-provider';

const [port, file, redirectUri] = process.argv.slice(2);

const db = new DatabaseSync(file);
db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
  CREATE TABLE payloads (id TEXT PRIMARY KEY, payload TEXT, grant_id TEXT, uid TEXT, consumed_at INTEGER, expires_at INTEGER) WITHOUT ROWID;
  CREATE INDEX by_grant ON payloads (grant_id) WHERE grant_id IS NOT NULL;
  CREATE INDEX by_uid ON payloads (uid) WHERE uid IS NOT NULL;
  CREATE INDEX by_expiry ON payloads (expires_at) WHERE expires_at IS NOT NULL`);
const upsert = db.prepare('INSERT OR REPLACE INTO payloads VALUES (?, ?, ?, ?, NULL, ?)');
const find = db.prepare('SELECT payload, consumed_at FROM payloads WHERE id = ?');
const findUid = db.prepare('SELECT payload, consumed_at FROM payloads WHERE uid = ?');
const consume = db.prepare('UPDATE payloads SET consumed_at = ? WHERE id = ?');
const destroy = db.prepare('DELETE FROM payloads WHERE id = ?');
const revoke = db.prepare('DELETE FROM payloads WHERE grant_id = ?');

const seconds = () => Math.floor(Date.now() / 1000);
const read = (row) => row && { ...JSON.parse(row.payload), ...(row.consumed_at ? { consumed: row.consumed_at } : {}) };

class SqliteAdapter {
  constructor(model) { this.model = model; }

  async upsert(id, payload, lifetime) {
    const expiresAt = lifetime ? seconds() + lifetime : null;
    upsert.run(`${this.model}:${id}`, JSON.stringify(payload), payload.grantId ?? null, payload.uid ?? null, expiresAt);
  }

  async find(id) { return read(find.get(`${this.model}:${id}`)); }

  async findByUid(uid) { return read(findUid.get(uid)); }

  async consume(id) { consume.run(seconds(), `${this.model}:${id}`); }

  async destroy(id) { destroy.run(`${this.model}:${id}`); }

  async revokeByGrantId(grantId) { revoke.run(grantId); }
}

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const provider = new Provider(`http://localhost:${port}`, {
  adapter: SqliteAdapter,
  clients: [{
    client_id: 'bench',
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token'],
    id_token_signed_response_alg: 'ES256',
    redirect_uris: [redirectUri],
  }, {
    client_id: 'inspector',
    id_token_signed_response_alg: 'ES256',
    client_secret: 'inspector-secret',
    token_endpoint_auth_method: 'client_secret_basic',
    grant_types: [],
    response_types: [],
    redirect_uris: [],
  }, {
    client_id: 'machine',
    id_token_signed_response_alg: 'ES256',
    client_secret: 'machine-secret',
    token_endpoint_auth_method: 'client_secret_basic',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    scope: 'notes:read',
  }],
  features: { introspection: { enabled: true }, clientCredentials: { enabled: true } },
  cookies: { keys: ['benchmark'] },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
  scopes: ['notes:read'],
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
});

provider.listen(Number(port), '127.0.0.1');
