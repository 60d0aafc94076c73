/** integrations/contracts, case by case and scenario by scenario. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AuthClient, RequestRefused, TooManyAttempts, Unavailable } from '../src/client.js';
import { MemoryStorage, type Tokens } from '../src/storage.js';
import { TokenRefused } from '../src/verifier.js';
import { scenarios, validation, verifier, type Exchange, type Scenario, type Step, type StoredTokens } from './contracts.js';

for (const { name, token, accepted, refused } of validation.cases) {
  test(`a token gets the verdict of the contract: ${name}`, async () => {
    const judge = await verifier();
    if (accepted === undefined) {
      await assert.rejects(judge.verify(token), (fault) => fault instanceof TokenRefused && fault.refusal === refused);
    } else {
      const identity = await judge.verify(token);
      assert.deepEqual({ sub: identity.userId, scope: identity.scope, client_id: identity.clientId }, accepted);
    }
  });
}

for (const scenario of scenarios) {
  test(`a client does what the contract says: ${scenario.name}`, () => play(scenario));
}

async function play({ client, stored, steps }: Scenario): Promise<void> {
  let now = 0;
  let exchanges: Exchange[] = [];
  const storage = new MemoryStorage(stored === null ? undefined : tokens(stored));
  const subject = new AuthClient('https://auth.example.org', {
    clientId: client.client_id,
    ...(client.client_secret === undefined ? {} : { clientSecret: client.client_secret }),
    refreshBefore: client.refresh_before,
    retryWindow: client.retry_window,
    storage,
    clock: () => now,
    fetch: (url, init) => answer(exchanges.shift(), url, init),
  });
  for (const step of steps) {
    now = step.at;
    exchanges = [...step.exchanges];
    assert.deepEqual(await outcome(subject, step), step.outcome);
    assert.deepEqual(exchanges, [], 'a request was not made');
    assert.deepEqual(await storage.load(), step.stored === null ? undefined : tokens(step.stored));
  }
}

async function answer(exchange: Exchange | undefined, url: unknown, init: RequestInit = {}): Promise<Response> {
  assert.ok(exchange, `a request too many: ${String(url)}`);
  const { request, answer } = exchange;
  assert.equal(init.method, request.method);
  assert.equal(new URL(String(url)).pathname, request.path);
  const headers = new Headers(init.headers);
  for (const [name, value] of Object.entries(request.headers)) assert.equal(headers.get(name), value);
  assert.deepEqual(Object.fromEntries(new URLSearchParams(String(init.body))), request.form);
  if (answer.fault === 'refused') throw new TypeError('fetch failed', { cause: { code: 'ECONNREFUSED' } });
  if (answer.fault === 'lost') throw new TypeError('fetch failed', { cause: { code: 'ECONNRESET' } });
  const body = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body);
  return new Response(body, { status: answer.status, headers: answer.headers });
}

async function outcome(client: AuthClient, step: Step): Promise<unknown> {
  try {
    if (step.do === 'sign_in') await client.signIn(step.username, step.password, step.scope);
    else if (step.do === 'sign_out') await client.signOut();
    else return { access_token: await client.accessToken() };
    return { ok: true };
  } catch (fault) {
    assert.ok(fault instanceof Error);
    const error = fault.name.replace(/(?!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
    if (fault instanceof RequestRefused) return { error: 'refused', code: fault.code };
    const isTimed = fault instanceof TooManyAttempts || fault instanceof Unavailable;
    return isTimed && fault.retryAfter !== undefined ? { error, retry_after: fault.retryAfter } : { error };
  }
}

function tokens(stored: StoredTokens): Tokens {
  return {
    accessToken: stored.access_token,
    refreshToken: stored.refresh_token,
    expiresAt: stored.expires_at,
    lifetime: stored.lifetime,
    scope: stored.scope,
  };
}
