/** The key set is asked for rarely, once at a time, and kept while nobody answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeySetCache, KeysUnavailable, parse } from '../src/keys.js';
import { validation } from './contracts.js';

const [first, second] = validation.key_set.keys as [Record<string, unknown>, Record<string, unknown>];
const URL_OF_KEYS = 'https://auth.example.org/.well-known/jwks.json';

/** A server that answers as told, a cache over it, and the time. */
function world() {
  const it = {
    now: 1_000,
    asked: 0,
    keys: [first],
    answer: undefined as (() => Promise<Response>) | undefined,
    cache: undefined as unknown as KeySetCache,
  };
  it.cache = new KeySetCache(URL_OF_KEYS, {
    clock: () => it.now,
    fetch: async () => {
      it.asked += 1;
      return it.answer === undefined ? Response.json({ keys: it.keys }) : it.answer();
    },
  });
  return it;
}

/** A gate for answers: closed until it is opened. */
function gate(answer: () => Response) {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open: () => open(), answer: () => opened.then(answer) };
}

test('for an hour one request is enough', async () => {
  const it = world();
  for (let turn = 0; turn < 3; turn += 1) {
    assert.ok(await it.cache.find('first'));
    it.now += 1_199;
  }
  assert.equal(it.asked, 1);
});

test('after an hour the old keys serve while new ones are fetched', async () => {
  const it = world();
  await it.cache.find('first');
  it.now += 3_600;
  const closed = gate(() => Response.json({ keys: [second] }));
  it.answer = closed.answer;
  assert.ok(await it.cache.find('first'));
  closed.open();
  assert.equal(await it.cache.prefetch(), true);
  assert.ok(await it.cache.find('second'));
  assert.equal(it.asked, 2);
});

test('an unknown key is asked for once in thirty seconds', async () => {
  const it = world();
  await it.cache.find('first');
  for (let name = 0; name < 100; name += 1) assert.equal(await it.cache.find(`invented-${name}`), undefined);
  assert.equal(it.asked, 2);
  it.keys.push(second);
  it.now += 29.9;
  assert.equal(await it.cache.find('second'), undefined);
  it.now += 0.1;
  assert.ok(await it.cache.find('second'));
  assert.equal(it.asked, 3);
});

test('of fifty who wait one asks', async () => {
  const it = world();
  const closed = gate(() => Response.json({ keys: [first] }));
  it.answer = closed.answer;
  const waiting = Array.from({ length: 50 }, () => it.cache.find('first'));
  closed.open();
  assert.ok((await Promise.all(waiting)).every((key) => key !== undefined));
  assert.equal(it.asked, 1);
});

const noKeySets: Record<string, () => Promise<Response>> = {
  'no connection': () => Promise.reject(new TypeError('fetch failed')),
  'status 503': async () => Response.json({ error: 'temporarily_unavailable' }, { status: 503 }),
  'no JSON': async () => new Response('<html>'),
  'a list': async () => Response.json([]),
  'no keys': async () => Response.json({ keys: [] }),
  'no RSA key': async () => Response.json({ keys: [{ kty: 'oct', kid: 'first', k: 'c2VjcmV0' }] }),
  'too long': async () => Response.json({ keys: [first], padding: 'x'.repeat(300_000) }),
};
for (const [name, answer] of Object.entries(noKeySets)) {
  test(`known keys serve on while no key set can be had: ${name}`, async () => {
    const it = world();
    await it.cache.find('first');
    it.answer = answer;
    it.now += 3_600;
    for (let turn = 0; turn < 3; turn += 1) {
      assert.ok(await it.cache.find('first'));
      assert.equal(await it.cache.prefetch(), false);
      it.now += 1_000;
    }
    assert.equal(await it.cache.find('second'), undefined);
  });
}

test('keys that are a day old serve no longer', async () => {
  const it = world();
  await it.cache.find('first');
  it.answer = () => Promise.reject(new TypeError('fetch failed'));
  it.now += 86_400;
  await assert.rejects(it.cache.find('first'), KeysUnavailable);
  it.answer = undefined;
  it.now += 1;
  assert.ok(await it.cache.find('first'));
});

test('without any key a second passes between two requests', async () => {
  const it = world();
  it.answer = () => Promise.reject(new TypeError('fetch failed'));
  for (let turn = 0; turn < 10; turn += 1) await assert.rejects(it.cache.find('first'), KeysUnavailable);
  assert.equal(it.asked, 1);
  it.answer = undefined;
  it.now += 1;
  assert.ok(await it.cache.find('first'));
});

test('keys for other uses are passed over', async () => {
  const others = [
    { ...first, kid: 'encryption', use: 'enc' },
    { ...first, kid: 'other-algorithm', alg: 'RS512' },
    { ...first, kid: 7 },
    { ...first, kid: 'private', d: 'AQAB' },
    null,
  ];
  assert.deepEqual([...(await parse({ keys: [...others, first] })).keys()], ['first']);
});
