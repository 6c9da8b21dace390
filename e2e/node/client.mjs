// The official TypeScript MCP SDK of either generation, driven by lines of JSON: a command in, an answer out.
//
// {"do": "connect"}                        {"authorize": URL} until the callback URL is given, then {"connected": true}
// {"do": "callback", "url": URL}           goes on with the connection
// {"do": "call", "tool": …, "with": {…}}   {"result": …}
// {"do": "list"}                           {"tools": […]}
// {"do": "refresh"}                        {"refreshed": true}
// {"do": "state"}                          {"tokens": {…}, "client": {…}, "jkt": thumbprint of its key}
//
// With "dpop", which the second generation has, it binds its tokens to a key.
//
// Any failure is {"error": its class, "message": …}; when the client would send its user to sign in, "authorize" as well.

import { createInterface } from 'node:readline';

const { package: sdk, mcpUrl, redirectUri, clientMetadataUrl, clientId, dpop } = JSON.parse(process.argv[2]);
const modules =
  sdk === '@modelcontextprotocol/sdk'
    ? ['client/index.js', 'client/streamableHttp.js', 'client/auth.js'].map((part) => `${sdk}/${part}`)
    : [sdk];
const { Client, DpopSession, StreamableHTTPClientTransport, UnauthorizedError, auth } = Object.assign(
  {},
  ...(await Promise.all(modules.map((name) => import(name)))),
);

class Provider {
  clientMetadataUrl = clientMetadataUrl;
  redirectUrl = redirectUri;
  clientMetadata = {
    client_name: 'TypeScript SDK',
    redirect_uris: [redirectUri],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
    application_type: 'native',
  };
  client = clientId && { client_id: clientId, token_endpoint_auth_method: 'none', redirect_uris: [redirectUri] };
  state = () => (this.lastState = crypto.randomUUID());
  clientInformation = () => this.client;
  saveClientInformation = (client) => void (this.client = client);
  tokens = () => this.kept;
  saveTokens = (tokens) => void (this.kept = tokens);
  redirectToAuthorization = (url) => void (this.authorizationUrl = url.href);
  saveCodeVerifier = (verifier) => void (this.verifier = verifier);
  codeVerifier = () => this.verifier;
  saveDiscoveryState = (found) => void (this.found = found);
  discoveryState = () => this.found;
  invalidateCredentials = (scope) => {
    if (scope === 'all' || scope === 'tokens') this.kept = undefined;
    if (scope === 'all' || scope === 'client') this.client = undefined;
  };
}

const provider = new Provider();
const session = dpop && (await DpopSession.create());
if (session) provider.dpop = () => session;
let client;
let transport;

async function connect() {
  client = new Client({ name: 'e2e', version: '1' });
  transport = new StreamableHTTPClientTransport(new URL(mcpUrl), { authProvider: provider });
  await client.connect(transport);
  return { connected: true };
}

const commands = {
  connect,
  callback: async ({ url }) => {
    const parameters = new URL(url).searchParams;
    if (parameters.get('state') !== provider.lastState) throw new Error('state differs');
    await (sdk === '@modelcontextprotocol/sdk'
      ? transport.finishAuth(parameters.get('code'))
      : transport.finishAuth(parameters));
    return connect();
  },
  list: async () => ({ tools: (await client.listTools()).tools.map((tool) => tool.name) }),
  call: async (command) => ({ result: await client.callTool({ name: command.tool, arguments: command.with }) }),
  refresh: async () => ({ refreshed: (await auth(provider, { serverUrl: mcpUrl })) === 'AUTHORIZED' }),
  state: async () => ({ tokens: provider.kept, client: provider.client, jkt: session?.thumbprint }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let answer;
  try {
    answer = await commands[command.do](command);
  } catch (error) {
    answer = { error: error.constructor.name, message: String(error.message) };
    if (error instanceof UnauthorizedError) answer.authorize = provider.authorizationUrl;
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
