/** What becomes of many callers, and of those who come after a refresh that failed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AuthClient, Unavailable } from '../src/client.js';
import { MemoryStorage, type Tokens } from '../src/storage.js';

test('fifty callers share one failure, and nobody asks again before the time that was named', async () => {
  let asked = 0;
  let now = 1_000;
  const storage = new MemoryStorage({
    accessToken: 'access-0',
    refreshToken: 'refresh-0',
    expiresAt: 0,
    lifetime: 900,
    scope: '',
  });
  const client = new AuthClient('https://auth.example.org', {
    clientId: 'a',
    storage,
    clock: () => now,
    fetch: async () => {
      asked += 1;
      return Response.json({ error: 'temporarily_unavailable' }, { status: 503, headers: { 'retry-after': '9' } });
    },
  });
  const got = await Promise.allSettled(Array.from({ length: 50 }, () => client.accessToken()));
  for (const each of got) {
    assert.equal(each.status, 'rejected');
    assert.ok(each.reason instanceof Unavailable && each.reason.retryAfter === 9);
  }
  await assert.rejects(client.accessToken(), Unavailable);
  assert.equal(asked, 1);
  now += 9;
  await assert.rejects(client.accessToken(), Unavailable);
  assert.equal(asked, 2);
});

test('tokens that the storage does not take are used, and stored when it does', async () => {
  let presented: string[] = [];
  let isFull = true;
  class Full extends MemoryStorage {
    override async save(tokens: Tokens | undefined): Promise<void> {
      if (isFull) throw new Error('full');
      await super.save(tokens);
    }
  }
  const storage = new Full({ accessToken: 'access-0', refreshToken: 'refresh-0', expiresAt: 0, lifetime: 900, scope: '' });
  const client = new AuthClient('https://auth.example.org', {
    clientId: 'a',
    storage,
    clock: () => 1_000,
    fetch: async (_url, init) => {
      presented.push(new URLSearchParams(String(init?.body)).get('refresh_token') ?? '');
      return Response.json({ access_token: 'access-1', refresh_token: 'refresh-1', expires_in: 900 });
    },
  });
  for (let turn = 0; turn < 3; turn += 1) assert.equal(await client.accessToken(), 'access-1');
  assert.deepEqual(presented, ['refresh-0']);
  isFull = false;
  assert.equal(await client.accessToken(), 'access-1');
  assert.equal((await storage.load())?.refreshToken, 'refresh-1');
});
