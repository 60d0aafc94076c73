/** Where a client keeps its tokens between two starts. */

/** A session: what is presented to services, and what it is renewed by. */
export interface Tokens {
  readonly accessToken: string;
  readonly refreshToken: string;
  /** When the access token expires, in seconds since 1970, by the clock of this machine. */
  readonly expiresAt: number;
  /** How many seconds the access token lives in all. */
  readonly lifetime: number;
  /** What may be done: names with spaces between them. */
  readonly scope: string;
}

/** Keeps the tokens of one session. Whoever shares it, other windows as well, goes through {@link exclusively}. */
export interface TokenStorage {
  /** The tokens, or `undefined` where nobody is signed in. */
  load(): Promise<Tokens | undefined>;
  /** Puts others in their place, for good when it comes back; `undefined` forgets them. */
  save(tokens: Tokens | undefined): Promise<void>;
  /** Does something while everybody else who shares the storage waits. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
}

/** Keeps tokens until the process or page ends. */
export class MemoryStorage implements TokenStorage {
  #tokens: Tokens | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(tokens?: Tokens) {
    this.#tokens = tokens;
  }

  async load(): Promise<Tokens | undefined> {
    return this.#tokens;
  }

  async save(tokens: Tokens | undefined): Promise<void> {
    this.#tokens = tokens;
  }

  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work, work);
    this.#last = done.catch(() => undefined);
    return done;
  }
}

/**
 * Keeps tokens in a browser's storage, shared by all its windows of this origin; a Web Lock lets one at a time refresh.
 * Any script of the page can read them: where that is too much, keep them in a server of your own.
 */
export class BrowserStorage implements TokenStorage {
  readonly #name: string;
  readonly #storage: Storage;
  readonly #locks: LockManager;

  constructor(name = 'codelab-auth', storage: Storage = localStorage, locks: LockManager = navigator.locks) {
    this.#name = name;
    this.#storage = storage;
    this.#locks = locks;
  }

  async load(): Promise<Tokens | undefined> {
    try {
      const text = this.#storage.getItem(this.#name);
      return text === null ? undefined : (JSON.parse(text) as Tokens);
    } catch {
      return undefined;
    }
  }

  async save(tokens: Tokens | undefined): Promise<void> {
    if (tokens === undefined) this.#storage.removeItem(this.#name);
    else this.#storage.setItem(this.#name, JSON.stringify(tokens));
  }

  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    return (await this.#locks.request(this.#name, work)) as T;
  }
}
