/** The published key set (RFC 7517): fetched rarely, by one request at a time, and kept while the server is away. */
import { importJWK, type CryptoKey, type JWK } from 'jose';

/** No key set could be had so far, or the one there is has become too old: nobody can be judged. */
export class KeysUnavailable extends Error {
  override readonly name = 'KeysUnavailable';
}

/** Where a verifier finds the key that a token names. */
export interface PublicKeys {
  /**
   * The public key of this id; `undefined` where there is none.
   * @throws {KeysUnavailable} where that can't be known.
   */
  find(kid: string): Promise<CryptoKey | undefined>;
}

/** How a key set is kept. Times are seconds. */
export interface KeySetOptions {
  /** How long it is taken without asking again: the `max-age` that the server gives it. */
  lifetime?: number;
  /** The least time between two requests that unknown keys may cause, however many tokens name such. */
  refetchInterval?: number;
  /** How long keys are used at most while the server can't be asked. */
  maxStaleness?: number;
  /** How long a request may take. */
  timeout?: number;
  fetch?: typeof fetch;
  /** The time in seconds; need not be that of any clock on a wall. */
  clock?: () => number;
}

/** The least time between two attempts while there is no key at all. */
const RETRY_INTERVAL = 1;
/** A longer answer is no key set. */
const MAX_BYTES = 256 * 1024;

type Keys = Map<string, CryptoKey>;

/** The keys of a key set that may check RS256 signatures, by id; others are passed over (RFC 7517 section 5). */
export async function parse(document: unknown): Promise<Keys> {
  const listed = (document as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(listed)) throw new TypeError('this is not a key set');
  const keys: Keys = new Map();
  for (const jwk of listed as JWK[]) {
    if (!mayVerify(jwk)) continue;
    try {
      keys.set(jwk.kid, (await importJWK(jwk, 'RS256')) as CryptoKey);
    } catch {
      continue;
    }
  }
  if (keys.size === 0) throw new TypeError('the key set has no RSA key for signatures');
  return keys;
}

function mayVerify(jwk: JWK | null): jwk is JWK & { kid: string } {
  return (
    jwk !== null &&
    jwk.kty === 'RSA' &&
    (jwk.use ?? 'sig') === 'sig' &&
    (jwk.alg ?? 'RS256') === 'RS256' &&
    typeof jwk.kid === 'string' &&
    // A private key in a key set would be a grave mistake of somebody's; it is nothing to rely on.
    jwk.d === undefined
  );
}

/**
 * The key set at a URL, such as `https://auth.example.org/.well-known/jwks.json`.
 *
 * - For an hour no request is made. After it the next token causes one in the background, and goes by the old keys.
 * - A token that names an unknown key waits for one request, of which there is at most one in `refetchInterval`.
 * - Of any number of waiting tokens one makes the request.
 * - While the server can't be asked, the keys that are known serve on, up to `maxStaleness`.
 */
export class KeySetCache implements PublicKeys {
  readonly #url: string;
  readonly #options: Required<KeySetOptions>;
  #keys: Keys = new Map();
  #fetchedAt: number | undefined;
  #attemptedAt: number | undefined;
  /** When an unknown key last caused a request: those that age causes don't count. */
  #askedForUnknownAt: number | undefined;
  #fetching: Promise<boolean> | undefined;

  constructor(url: string | URL, options: KeySetOptions = {}) {
    this.#url = String(url);
    this.#options = {
      lifetime: 3_600,
      refetchInterval: 30,
      maxStaleness: 86_400,
      timeout: 5,
      fetch: (...request) => fetch(...request),
      clock: () => performance.now() / 1_000,
      ...options,
    };
  }

  async find(kid: string): Promise<CryptoKey | undefined> {
    const { lifetime, refetchInterval } = this.#options;
    if (!this.#isUsable()) {
      if (this.#fetching !== undefined || this.#isPast(this.#attemptedAt, RETRY_INTERVAL)) await this.#begin();
      if (!this.#isUsable()) throw new KeysUnavailable(`no key set could be had from ${this.#url}`);
      return this.#keys.get(kid);
    }
    const key = this.#keys.get(kid);
    if (key !== undefined) {
      if (this.#age() >= lifetime && this.#isPast(this.#attemptedAt, refetchInterval)) void this.#begin();
      return key;
    }
    if (this.#fetching === undefined && this.#isPast(this.#askedForUnknownAt, refetchInterval)) {
      this.#askedForUnknownAt = this.#options.clock();
      void this.#begin();
    }
    await this.#fetching;
    return this.#keys.get(kid);
  }

  /** Fetches the key set now, as an application may at its start; tells whether that went well. */
  prefetch(): Promise<boolean> {
    return this.#begin();
  }

  #age(): number {
    return this.#fetchedAt === undefined ? Infinity : this.#options.clock() - this.#fetchedAt;
  }

  #isUsable(): boolean {
    return this.#age() < Math.max(this.#options.maxStaleness, this.#options.lifetime);
  }

  #isPast(when: number | undefined, interval: number): boolean {
    return when === undefined || this.#options.clock() - when >= interval;
  }

  #begin(): Promise<boolean> {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetch(): Promise<boolean> {
    this.#attemptedAt = this.#options.clock();
    try {
      this.#keys = await parse(JSON.parse(await this.#download()));
      this.#fetchedAt = this.#options.clock();
      return true;
    } catch {
      return false;
    }
  }

  async #download(): Promise<string> {
    // A redirect is not followed: who may name our keys is a matter of configuration.
    const signal = AbortSignal.timeout(this.#options.timeout * 1_000);
    const answer = await this.#options.fetch(this.#url, { redirect: 'error', signal });
    if (answer.status !== 200 || answer.body === null) throw new TypeError(`status ${answer.status}`);
    const decoder = new TextDecoder();
    const reader = answer.body.getReader();
    let text = '';
    for (let read = 0; ; ) {
      const { done, value } = await reader.read();
      if (done) return text + decoder.decode();
      read += value.byteLength;
      if (read > MAX_BYTES) throw new TypeError('too long');
      text += decoder.decode(value, { stream: true });
    }
  }
}
