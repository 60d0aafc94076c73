/** Who gets through, and what the others are told, over HTTP and WebSockets on Node. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request, type IncomingHttpHeaders, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { bearer, closeAtExpiry, scopes, SUBPROTOCOL, upgrade, type Authenticated } from '../src/node.js';
import { named, validation, verifier } from './contracts.js';

const GOOD = named('an access token is accepted');
const EXPIRED = named('expired long ago');
const BARE = 'Bearer realm="codelab"';

let now = validation.now;
let server: Server;
let port: number;

before(async () => {
  const judge = await verifier(() => now);
  const guard = bearer(judge);
  const admins = scopes('api:admin');
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => offered.has(SUBPROTOCOL) && SUBPROTOCOL });
  server = createServer((incoming, response) => {
    void guard(incoming, response, () => {
      const me = (): void => void response.end(JSON.stringify((incoming as Authenticated).identity));
      if (incoming.url === '/admin') admins(incoming, response, me);
      else me();
    });
  });
  server.on('upgrade', async (incoming, socket, head) => {
    const identity = await upgrade(judge, incoming, socket);
    if (identity === undefined) return;
    sockets.handleUpgrade(incoming, socket, head, (accepted) => {
      accepted.on('close', closeAtExpiry(judge, identity, accepted));
      accepted.on('message', (message) => accepted.send(String(message)));
      accepted.send(identity.userId);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});

after(() => {
  server.close();
  server.closeAllConnections();
});

type Answer = { status: number; headers: IncomingHttpHeaders; body: Record<string, unknown> };

async function get(authorization: string | string[] = [], path = '/me'): Promise<Answer> {
  const asked = request({ port, host: '127.0.0.1', path, headers: { authorization } as never });
  asked.end();
  const [answer] = await once(asked, 'response');
  let text = '';
  for await (const chunk of answer) text += chunk;
  return { status: answer.statusCode, headers: answer.headers, body: JSON.parse(text) };
}

test('a good token says who is asking', async () => {
  for (const scheme of ['Bearer', 'bEARER']) {
    const { status, body } = await get(`${scheme} ${GOOD.token}`);
    assert.equal(status, 200);
    assert.equal(body.userId, GOOD.accepted?.sub);
  }
});

test('without a token the challenge names no error', async () => {
  for (const authorization of [[], 'Basic bWF5YTpzZWNyZXQ=', 'Bearers x']) {
    const { status, headers } = await get(authorization);
    assert.deepEqual([status, headers['www-authenticate'], headers['cache-control']], [401, BARE, 'no-store']);
  }
  assert.equal((await get([], `/me?access_token=${GOOD.token}`)).status, 401);
});

// What a header can't hold an HTTP library doesn't send.
for (const { name, token } of validation.cases.filter((each) => each.refused && each.token.trim() === each.token)) {
  test(`every bad token gets the same answer: ${name}`, async () => {
    const { status, headers, body } = await get(`Bearer ${token}`);
    assert.deepEqual([status, body.error], [401, 'invalid_token']);
    assert.match(headers['www-authenticate'] ?? '', /error="invalid_token"/);
  });
}

test('two tokens are a bad request', async () => {
  const { status, headers } = await get([`Bearer ${GOOD.token}`, `Bearer ${GOOD.token}`]);
  assert.equal(status, 400);
  assert.match(headers['www-authenticate'] ?? '', /error="invalid_request"/);
});

test('a missing scope is named', async () => {
  const { status, headers } = await get(`Bearer ${GOOD.token}`, '/admin');
  assert.equal(status, 403);
  assert.equal(headers['www-authenticate'], `${BARE}, error="insufficient_scope", scope="api:admin"`);
});

async function refusal(offered: string[], authorization?: string): Promise<number> {
  const headers = authorization === undefined ? {} : { authorization };
  const socket = new WebSocket(`ws://127.0.0.1:${port}/talk`, offered, { headers });
  const [, answer] = await once(socket, 'unexpected-response');
  answer.resume();
  socket.on('error', () => undefined);
  socket.terminate();
  return answer.statusCode;
}

test('a WebSocket with no or a bad or an expired token is refused', async () => {
  assert.equal(await refusal([]), 401);
  assert.equal(await refusal([SUBPROTOCOL, EXPIRED.token]), 401);
  assert.equal(await refusal([], `Bearer ${EXPIRED.token}`), 401);
  assert.equal(await refusal([], `Bearer ${named('signed by a stranger').token}`), 401);
  assert.equal(await refusal([SUBPROTOCOL, GOOD.token], `Bearer ${GOOD.token}`), 400);
});

test('a WebSocket with a good token talks', async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/talk`, [SUBPROTOCOL, GOOD.token]);
  const [user] = await once(socket, 'message');
  assert.equal(String(user), GOOD.accepted?.sub);
  assert.equal(socket.protocol, SUBPROTOCOL);
  socket.send('hello');
  const [echo] = await once(socket, 'message');
  assert.equal(String(echo), 'hello');
  socket.close();
  await once(socket, 'close');
});

test('a WebSocket is closed when its token expires', async () => {
  now = validation.now + 900 + validation.policy.leeway - 0.1;
  try {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/talk`, [], { headers: { authorization: `Bearer ${GOOD.token}` } });
    const [code, reason] = await once(socket, 'close');
    assert.deepEqual([code, String(reason)], [1008, 'token expired']);
  } finally {
    now = validation.now;
  }
});

test('strangers that hang up while they are judged end nobody else', async () => {
  for (let turn = 0; turn < 50; turn += 1) {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('GET /talk HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
    socket.resetAndDestroy();
  }
  assert.equal((await get(`Bearer ${GOOD.token}`)).status, 200);
});

test('an answer that came first is left alone', async () => {
  const guard = bearer(await verifier());
  const slow = createServer((incoming, response) => {
    response.writeHead(503).end('{}');
    void guard(incoming, response, () => assert.fail('it has been answered'));
  });
  slow.listen(0, '127.0.0.1');
  await once(slow, 'listening');
  try {
    for (const authorization of [`Bearer ${GOOD.token}`, 'Bearer x']) {
      const asked = request({ port: (slow.address() as AddressInfo).port, headers: { authorization } });
      asked.end();
      const [answer] = await once(asked, 'response');
      answer.resume();
      assert.equal(answer.statusCode, 503);
    }
  } finally {
    slow.close();
    slow.closeAllConnections();
  }
});
