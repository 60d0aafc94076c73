/** Against the server that this repository builds. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { AuthClient, RequestRefused, SignedOut, Unavailable, WrongCredentials } from '../src/client.js';
import { KeySetCache, type KeySetOptions } from '../src/keys.js';
import { BrowserStorage, MemoryStorage, type Tokens, type TokenStorage } from '../src/storage.js';
import { TokenVerifier } from '../src/verifier.js';
import { AuthServer, CLIENT, ISSUER, PASSWORD } from './server.js';

const server = new AuthServer();
before(() => server.start());
after(() => server.remove());

function verifier(of: AuthServer, options: KeySetOptions = {}): TokenVerifier {
  return new TokenVerifier(new KeySetCache(of.keys, options), { issuer: ISSUER });
}

function client(storage: TokenStorage = new MemoryStorage(), fetching: typeof fetch = fetch): AuthClient {
  return new AuthClient(server.url, { clientId: CLIENT, storage, fetch: fetching });
}

/** What is stored of tokens whose access token has expired. */
function expired({ access_token, refresh_token, scope }: Awaited<ReturnType<AuthServer['tokens']>>): Tokens {
  return { accessToken: access_token, refreshToken: refresh_token, expiresAt: 0, lifetime: 900, scope };
}

/** Validates the newest token without end, and keeps what was refused. */
class Load {
  count = 0;
  readonly failures: unknown[] = [];
  #isOver = false;
  readonly #running: Promise<void>;

  constructor(
    readonly judge: TokenVerifier,
    public token: string,
  ) {
    this.#running = this.#run();
  }

  async goOn(count: number): Promise<void> {
    for (const until = this.count + count; this.count < until; ) await new Promise(setImmediate);
  }

  async end(): Promise<unknown[]> {
    this.#isOver = true;
    await this.#running;
    return this.failures;
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      await this.judge.verify(this.token).catch((refused: unknown) => this.failures.push(refused));
      this.count += 1;
      await new Promise(setImmediate);
    }
  }
}

function kid(token: string): string | undefined {
  return token.split('.')[0];
}

test('no validation fails while keys are rotated, nor while the server is away', async () => {
  const own = await new AuthServer().start();
  try {
    const seen = [(await own.tokens()).access_token];
    const load = new Load(verifier(own, { lifetime: 0, refetchInterval: 0 }), seen[0]!);
    await load.goOn(20);
    for (let turn = 0; turn < 3; turn += 1) {
      await own.run('keys', 'rotate', '--immediately', '--yes');
      const before = kid(load.token);
      while (kid(load.token) === before) load.token = (await own.tokens()).access_token;
      seen.push(load.token);
      await load.goOn(20);
    }
    await own.stop();
    await load.goOn(100);
    await own.start();
    load.token = (await own.tokens()).access_token;
    await load.goOn(20);
    assert.deepEqual(await load.end(), []);
    assert.equal(new Set(seen.map(kid)).size, 4);
  } finally {
    await own.remove();
  }
});

test('one immediate rotation is followed within the usual limits', async () => {
  const own = await new AuthServer().start();
  try {
    const judge = verifier(own);
    const first = (await own.tokens()).access_token;
    await judge.verify(first);
    await own.run('keys', 'rotate', '--immediately', '--yes');
    let second = first;
    while (kid(second) === kid(first)) second = (await own.tokens()).access_token;
    await judge.verify(second);
    await judge.verify(first);
  } finally {
    await own.remove();
  }
});

test('fifty callers with an expired token cause one refresh', async () => {
  let asked = 0;
  const counting: typeof fetch = (...request) => {
    asked += 1;
    return fetch(...request);
  };
  const subject = client(new MemoryStorage(expired(await server.tokens())), counting);
  const got = await Promise.all(Array.from({ length: 50 }, () => subject.accessToken()));
  assert.equal(asked, 1);
  assert.equal(new Set(got).size, 1);
  await verifier(server).verify(got[0]!);
});

test('windows that share a session refresh once', async () => {
  const shared = new Map<string, string>();
  const kept = {
    getItem: (name: string) => shared.get(name) ?? null,
    setItem: (name: string, value: string) => void shared.set(name, value),
    removeItem: (name: string) => void shared.delete(name),
  } as unknown as Storage;
  const held = new MemoryStorage();
  const locks = { request: (_name: string, work: () => Promise<unknown>) => held.exclusively(work) } as unknown as LockManager;
  const windows = [1, 2, 3].map(() => new BrowserStorage('session', kept, locks));
  await windows[0]!.save(expired(await server.tokens()));
  const got = await Promise.all(windows.map((storage) => client(storage).accessToken()));
  assert.equal(new Set(got).size, 1);
  await windows[1]!.save(undefined);
  await assert.rejects(client(windows[2]).accessToken(), SignedOut);
});

test('a service that refuses a token gets a new one', async () => {
  const seen: (string | null)[] = [];
  const fetching: typeof fetch = async (url, init) => {
    if (!String(url).startsWith('https://service/')) return fetch(url, init);
    seen.push(new Headers(init?.headers).get('authorization'));
    if (seen.length > 1) return new Response('done');
    return new Response('', { status: 401, headers: { 'www-authenticate': 'Bearer error="invalid_token"' } });
  };
  const subject = client(new MemoryStorage(), fetching);
  await subject.signIn('admin', PASSWORD);
  const first = await subject.accessToken();
  const answer = await subject.fetch('https://service/things', { method: 'POST', body: '{}' });
  assert.equal(await answer.text(), 'done');
  assert.deepEqual(seen, [`Bearer ${first}`, `Bearer ${await subject.accessToken()}`]);
  assert.notEqual(seen[0], seen[1]);
});

test('who signs out can not go on', async () => {
  const storage = new MemoryStorage();
  const subject = client(storage);
  await subject.signIn('admin', PASSWORD, 'api:read');
  const kept = await storage.load();
  assert.equal(kept?.scope, 'api:read');
  await subject.signOut();
  await assert.rejects(subject.accessToken(), SignedOut);
  await storage.save({ ...kept, expiresAt: 0 });
  await assert.rejects(subject.accessToken(), SignedOut);
  assert.equal(await storage.load(), undefined);
});

test('what the server refuses is told apart', async () => {
  await assert.rejects(client().signIn('admin', 'wrong'), WrongCredentials);
  const unknown = new AuthClient(server.url, { clientId: 'nobody-knows-me' });
  await assert.rejects(unknown.signIn('admin', PASSWORD), (fault) => fault instanceof RequestRefused && fault.code === 'invalid_client');
  await assert.rejects(client().signIn('admin', PASSWORD, 'api:everything'), RequestRefused);
  const away = new AuthClient('http://127.0.0.1:1', { clientId: CLIENT });
  await assert.rejects(away.signIn('admin', PASSWORD), Unavailable);
});

test('a confidential client signs in', async () => {
  const made = JSON.parse(
    await server.run(
      ...['client', 'create', 'my backend+1', '--name', 'Backend', '--confidential', '--json'],
      ...['--grant', 'password', '--grant', 'refresh_token', '--scope', 'api:read'],
    ),
  ) as { client_secret: string };
  const subject = new AuthClient(server.url, { clientId: 'my backend+1', clientSecret: made.client_secret });
  await subject.signIn('admin', PASSWORD);
  const identity = await verifier(server).verify(await subject.accessToken());
  assert.equal(identity.clientId, 'my backend+1');
});
