// The official TypeScript MCP SDK with its cross-app-access provider: one command, {"do": "list"}, one answer.

import { createInterface } from 'node:readline';
import { Client, CrossAppAccessProvider, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const { mcpUrl, issuer, clientId, clientSecret, assertion } = JSON.parse(process.argv[2]);
const asked = [];
const authProvider = new CrossAppAccessProvider({
  assertion: async (context) => {
    asked.push([context.authorizationServerUrl, context.resourceUrl]);
    return assertion;
  },
  clientId,
  clientSecret,
  expectedIssuer: issuer,
});

for await (const _line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const client = new Client({ name: 'e2e', version: '1' });
    await client.connect(new StreamableHTTPClientTransport(new URL(mcpUrl), { authProvider }));
    const { tools } = await client.listTools();
    answer = { tools: tools.map((tool) => tool.name), asked, tokens: authProvider.tokens() };
  } catch (error) {
    answer = { error: error.name, message: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
