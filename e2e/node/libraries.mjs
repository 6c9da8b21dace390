// Strict OAuth client libraries, driven by lines of JSON as client.mjs is: "openid-client" or "oauth4webapi".
//
// {"do": "start"}                 {"authorize": URL}: discovers the server, registers unless it has a client_id
// {"do": "callback", "url": URL}  {"tokens": {…}}: checks state and iss, redeems the code
// {"do": "device"}                {"device": {…}}: as start, for a client without a browser
// {"do": "collect"}               {"tokens": {…}}: polls until the user has answered; oauth4webapi asks once
// {"do": "refresh"}               {"tokens": {…}}
// {"do": "introspect"}            {"introspection": {…}} of the access token
// {"do": "revoke"}                {"revoked": true}: the refresh token, or what "what" names
// {"do": "machine"}               {"tokens": {…}}: client credentials, with the scope of the options or another "scope"
//
// Any failure is {"error": the library's code or class, "oauth": the server's error code, "status": …}.

import { createInterface } from 'node:readline';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';

const { library, issuer, resource, redirectUri, clientId, clientSecret, authMethod = 'none', scope, key, jwks, grantTypes, dpop } = JSON.parse(process.argv[2]);
const server = new URL(issuer);
const registration = {
  client_name: library,
  redirect_uris: redirectUri && [redirectUri],
  grant_types: grantTypes ?? ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: authMethod,
  jwks,
};
const algorithms = {
  ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
  Ed25519: { name: 'Ed25519' },
};
const signing = key && {
  key: await crypto.subtle.importKey('jwk', key, algorithms[key.alg], false, ['sign']),
  kid: key.kid,
};
const state = oauth.generateRandomState();
const verifier = oauth.generateRandomCodeVerifier();
const request = {
  redirect_uri: redirectUri,
  scope,
  resource,
  state,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
};
let tokens;

// How a client of either library proves itself; both name the methods alike.
function proofOf({ None, ClientSecretBasic, ClientSecretPost, PrivateKeyJwt }, secret) {
  return {
    none: () => None(),
    client_secret_basic: () => ClientSecretBasic(secret),
    client_secret_post: () => ClientSecretPost(secret),
    private_key_jwt: () => PrivateKeyJwt(signing),
  }[authMethod]();
}

function keep(answer) {
  tokens = { ...tokens, ...answer };
  return { tokens };
}

function withOpenidClient() {
  const options = { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] };
  let config, device;
  const binding = {};
  async function meet() {
    const known = clientId
      ? { client_id: clientId, client_secret: clientSecret }
      : (await openid.dynamicClientRegistration(server, registration, undefined, options)).clientMetadata();
    const proof = proofOf(openid, known.client_secret);
    config = await openid.discovery(server, known.client_id, undefined, proof, options);
    if (dpop) binding.DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair(dpop));
  }
  return {
    start: async () => {
      await meet();
      return { authorize: openid.buildAuthorizationUrl(config, request).href };
    },
    callback: async ({ url }) =>
      keep(
        await openid.authorizationCodeGrant(
          config,
          new URL(url),
          { pkceCodeVerifier: verifier, expectedState: state },
          { resource },
          binding,
        ),
      ),
    device: async () => {
      await meet();
      device = await openid.initiateDeviceAuthorization(config, { scope, resource });
      return { device };
    },
    collect: async () => keep(await openid.pollDeviceAuthorizationGrant(config, device, { resource })),
    refresh: async () => keep(await openid.refreshTokenGrant(config, tokens.refresh_token, { resource }, binding)),
    introspect: async () => ({ introspection: await openid.tokenIntrospection(config, tokens.access_token) }),
    revoke: async ({ what = 'refresh_token' }) => {
      await openid.tokenRevocation(config, tokens[what]);
      return { revoked: true };
    },
    machine: async (asked) => keep(await openid.clientCredentialsGrant(config, { resource, scope: asked.scope ?? scope }, binding)),
  };
}

function withOauth4webapi() {
  const insecure = { [oauth.allowInsecureRequests]: true };
  const asking = { ...insecure, additionalParameters: { resource } };
  let as, client, proof, device;
  async function meet() {
    const found = await oauth.discoveryRequest(server, { ...insecure, algorithm: 'oauth2' });
    as = await oauth.processDiscoveryResponse(server, found);
    client = clientId
      ? { client_id: clientId, client_secret: clientSecret }
      : await oauth.processDynamicClientRegistrationResponse(
          await oauth.dynamicClientRegistrationRequest(as, registration, insecure),
        );
    proof = proofOf(oauth, client.client_secret);
    if (dpop) asking.DPoP = oauth.DPoP(client, await oauth.generateKeyPair(dpop));
  }
  // The library tells that a nonce is wanted, and has remembered it: the request is made once more.
  async function insisting(ask) {
    try {
      return await ask();
    } catch (error) {
      if (!oauth.isDPoPNonceError(error)) throw error;
      return ask();
    }
  }
  return {
    start: async () => {
      await meet();
      const query = new URLSearchParams({ ...request, client_id: client.client_id, response_type: 'code' });
      return { authorize: `${as.authorization_endpoint}?${query}` };
    },
    callback: async ({ url }) => {
      const parameters = oauth.validateAuthResponse(as, client, new URL(url), state);
      return insisting(async () => {
        const answer = await oauth.authorizationCodeGrantRequest(as, client, proof, parameters, redirectUri, verifier, asking);
        return keep(await oauth.processAuthorizationCodeResponse(as, client, answer));
      });
    },
    device: async () => {
      await meet();
      const answer = await oauth.deviceAuthorizationRequest(as, client, proof, { scope, resource }, insecure);
      device = await oauth.processDeviceAuthorizationResponse(as, client, answer);
      return { device };
    },
    collect: async () => {
      const answer = await oauth.deviceCodeGrantRequest(as, client, proof, device.device_code, asking);
      return keep(await oauth.processDeviceCodeResponse(as, client, answer));
    },
    refresh: () =>
      insisting(async () => {
        const answer = await oauth.refreshTokenGrantRequest(as, client, proof, tokens.refresh_token, asking);
        return keep(await oauth.processRefreshTokenResponse(as, client, answer));
      }),
    introspect: async () => {
      const answer = await oauth.introspectionRequest(as, client, proof, tokens.access_token, insecure);
      return { introspection: await oauth.processIntrospectionResponse(as, client, answer) };
    },
    revoke: async ({ what = 'refresh_token' }) => {
      await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, proof, tokens[what], insecure));
      return { revoked: true };
    },
    machine: (asked) =>
      insisting(async () => {
        const parameters = new URLSearchParams({ resource, scope: asked.scope ?? scope });
        const answer = await oauth.clientCredentialsGrantRequest(as, client, proof, parameters, {
          ...insecure,
          DPoP: asking.DPoP,
        });
        return keep(await oauth.processClientCredentialsResponse(as, client, answer));
      }),
  };
}

const commands = library === 'openid-client' ? withOpenidClient() : withOauth4webapi();

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer;
  try {
    answer = await commands[command.do](command);
  } catch (error) {
    answer = { error: error.code ?? error.constructor.name, message: error.message, oauth: error.error, status: error.status };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
