/**
 * Signs in, and keeps an access token that can be used. integrations/contracts has what it says and does.
 *
 * A refresh token is good for one use; presented a second time it ends the whole session, since somebody may have a copy.
 * So it is never sent again unless it is sure that the server has not taken it, or that the server allows it.
 */
import { MemoryStorage, type Tokens, type TokenStorage } from './storage.js';

/** Something about signing in or staying so went wrong. The message holds no secret. */
export class AuthError extends Error {
  override readonly name: string = 'AuthError';
}
/** The user name or the password is wrong. */
export class WrongCredentials extends AuthError {
  override readonly name = 'WrongCredentials';
}
/** There is no session, or it has ended: the user has to sign in. */
export class SignedOut extends AuthError {
  override readonly name = 'SignedOut';
}
/** The account or the address is locked or limited for a while. */
export class TooManyAttempts extends AuthError {
  override readonly name = 'TooManyAttempts';
  /** @param retryAfter after how many seconds it makes sense to try again, where the server says so */
  constructor(message: string, readonly retryAfter?: number) {
    super(message);
  }
}
/** It may work later. Nobody has been signed out. */
export class Unavailable extends AuthError {
  override readonly name = 'Unavailable';
  /** @param retryAfter after how many seconds it makes sense to try again, where the server says so */
  constructor(message: string, readonly retryAfter?: number) {
    super(message);
  }
}
/** The server does not take this client or request. */
export class RequestRefused extends AuthError {
  override readonly name = 'RequestRefused';
  /** @param code the `error` of the server's answer (RFC 6749 section 5.2) */
  constructor(readonly code: string) {
    super(`the server refused the request: ${code}`);
  }
}

/** How a client is set up. Times are seconds. */
export interface ClientOptions {
  clientId: string;
  /** Of a confidential client; never in a browser. */
  clientSecret?: string;
  storage?: TokenStorage;
  /** How long before its end an access token is replaced; at half of its lifetime where that comes later. */
  refreshBefore?: number;
  /** The `refresh_retry_window` that the server has for this client. */
  retryWindow?: number;
  timeout?: number;
  /**
   * Tells whether nothing has been sent when `fetch` fails with this fault. A browser doesn't say; on Node a connection
   * that was refused does.
   */
  wasNothingSent?: (fault: unknown) => boolean;
  fetch?: typeof fetch;
  /** The time in seconds since 1970. */
  clock?: () => number;
}

/** What came back, as far as it is this server's; an empty body where it is somebody else's. */
interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly error: string;
  readonly retryAfter: number | undefined;
}

/** There was no connection, or there was one and no answer came. */
class NoAnswer extends Error {
  constructor(readonly wasSent: boolean) {
    super('no answer');
  }
}

/** How often a refresh is repeated within the client's retry window. */
const RETRIES = 2;
/**
 * Seconds after a refresh that failed in which none is tried, where the server names no time: while the access token is
 * still good, and when it is not.
 */
const PAUSE_WHILE_GOOD = 30;
const PAUSE = 1;
/** No token lives for longer, in seconds: a hundred years. */
const LONGEST_LIFETIME = 3_155_760_000;
const UNREACHABLE = 'the server can not be reached';

/** One session at one server. */
export class AuthClient {
  readonly #base: string;
  readonly #clientId: string;
  readonly #clientSecret: string | undefined;
  readonly #storage: TokenStorage;
  readonly #refreshBefore: number;
  readonly #retryWindow: number;
  readonly #timeout: number;
  readonly #wasNothingSent: (fault: unknown) => boolean;
  readonly #fetch: typeof fetch;
  readonly #clock: () => number;
  /** A refresh token of which it is not known whether the server has taken it. */
  #doubtful: string | undefined;
  /** The refresh that is under way: whoever needs one waits for it, and shares what comes of it. */
  #refreshing: Promise<string> | undefined;
  /** No refresh is tried before, since the last one failed. */
  #notBefore = -Infinity;
  /** Tokens that the storage would not take, and the refresh token that they replace: it is consumed all the same. */
  #unsaved: { readonly tokens: Tokens; readonly replaced: string } | undefined;

  /** @param baseUrl the server's, such as `https://auth.example.org`; a prefix such as `/auth` is kept */
  constructor(baseUrl: string | URL, options: ClientOptions) {
    this.#base = String(baseUrl).replace(/\/+$/, '');
    this.#clientId = options.clientId;
    this.#clientSecret = options.clientSecret;
    this.#storage = options.storage ?? new MemoryStorage();
    this.#refreshBefore = options.refreshBefore ?? 300;
    this.#retryWindow = options.retryWindow ?? 0;
    this.#timeout = options.timeout ?? 10;
    this.#wasNothingSent = options.wasNothingSent ?? wasConnectionRefused;
    this.#fetch = options.fetch ?? ((...request) => fetch(...request));
    this.#clock = options.clock ?? (() => Date.now() / 1_000);
  }

  /**
   * Signs a user in by the password grant (RFC 6749 section 4.3). It is never repeated by itself.
   * @throws {WrongCredentials | TooManyAttempts | Unavailable | RequestRefused}
   */
  signIn(username: string, password: string, scope?: string): Promise<void> {
    return this.#storage.exclusively(async () => {
      const form = { grant_type: 'password', username, password, ...(scope === undefined ? {} : { scope }) };
      const answer = await this.#post('/oauth/token', form).catch(() => {
        throw new Unavailable(UNREACHABLE);
      });
      const tokens = this.#tokens(answer);
      if (tokens === undefined) throw failedSignIn(answer);
      this.#unsaved = undefined;
      this.#notBefore = -Infinity;
      await this.#storage.save(tokens);
    });
  }

  /**
   * An access token that can be used now; of any number of callers one refreshes, if that is due.
   * @param refused one that a service has just refused: it is replaced although it has not expired
   * @throws {SignedOut | Unavailable | RequestRefused}
   */
  async accessToken(refused?: string): Promise<string> {
    const tokens = await this.#load();
    const isAllSaved = this.#unsaved === undefined;
    if (tokens !== undefined && isAllSaved && !this.#isDue(tokens, refused)) return tokens.accessToken;
    this.#refreshing ??= this.#refreshIfDue(refused).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /**
   * Ends the session: the refresh token is revoked (RFC 7009) and the tokens are forgotten, whatever happens.
   * @throws {Unavailable} where the server could not be told; the session lives on there until it expires
   */
  async signOut(): Promise<void> {
    const tokens = await this.#storage.exclusively(async () => {
      const current = await this.#load();
      this.#unsaved = undefined;
      await this.#storage.save(undefined);
      return current;
    });
    if (tokens === undefined) return;
    const form = { token: tokens.refreshToken, token_type_hint: 'refresh_token' };
    const answer = await this.#post('/oauth/revoke', form).catch(() => {
      throw new Unavailable(UNREACHABLE);
    });
    if (answer.status !== 200) throw new Unavailable('the server did not revoke the session', answer.retryAfter);
  }

  /**
   * `fetch` with an access token. A request that is answered by 401 `invalid_token` is sent once more with a new one:
   * nothing was done for it. Its body must be such that it can be sent twice (no stream).
   */
  async fetch(input: string | URL, init: RequestInit = {}): Promise<Response> {
    const send = (token: string): Promise<Response> => {
      const headers = new Headers(init.headers);
      headers.set('authorization', `Bearer ${token}`);
      return this.#fetch(input, { ...init, headers });
    };
    const token = await this.accessToken();
    const response = await send(token);
    const isRefused = response.status === 401 && response.headers.get('www-authenticate')?.includes('invalid_token');
    return isRefused ? send(await this.accessToken(token)) : response;
  }

  #refreshIfDue(refused: string | undefined): Promise<string> {
    return this.#storage.exclusively(async () => {
      // Another window may have refreshed meanwhile.
      const tokens = await this.#load();
      if (tokens === undefined) throw new SignedOut('nobody is signed in');
      if (this.#unsaved !== undefined) await this.#keep(this.#unsaved.tokens, this.#unsaved.replaced);
      if (!this.#isDue(tokens, refused)) return tokens.accessToken;
      const left = this.#notBefore - this.#clock();
      if (left > 0) throw new Unavailable('the last refresh has failed', Math.ceil(left));
      return this.#refresh(tokens, refused);
    });
  }

  async #load(): Promise<Tokens | undefined> {
    const stored = await this.#storage.load();
    if (this.#unsaved === undefined) return stored;
    if (stored?.refreshToken === this.#unsaved.replaced) return this.#unsaved.tokens;
    // Another window has signed in or out meanwhile, and is right.
    this.#unsaved = undefined;
    return stored;
  }

  /** Stores tokens; where the storage fails, they are kept here until it takes them. Under the lock only. */
  async #keep(tokens: Tokens, replaced: string): Promise<void> {
    this.#unsaved = { tokens, replaced };
    try {
      await this.#storage.save(tokens);
      this.#unsaved = undefined;
    } catch {
      // Asked again the next time.
    }
  }

  #isDue(tokens: Tokens, refused: string | undefined): boolean {
    if (refused !== undefined && tokens.accessToken === refused) return true;
    const now = this.#clock();
    const left = tokens.expiresAt - now;
    if (tokens.refreshToken === this.#doubtful || now < this.#notBefore) return left <= 0;
    return left <= Math.min(this.#refreshBefore, tokens.lifetime / 2);
  }

  async #refresh(tokens: Tokens, refused: string | undefined): Promise<string> {
    let answer: Answer;
    try {
      answer = await this.#present(tokens.refreshToken);
    } catch (fault) {
      if (!(fault instanceof NoAnswer)) throw fault;
      return this.#lastResort(tokens, refused, new Unavailable(UNREACHABLE));
    }
    const successor = this.#tokens(answer);
    if (successor !== undefined) {
      // What is stored is followed by several where the storage has failed before.
      await this.#keep(successor, this.#unsaved?.replaced ?? tokens.refreshToken);
      return successor.accessToken;
    }
    if (isInvalidGrant(answer)) {
      // Where they can't be forgotten, they are refused once more the next time.
      await this.#storage.save(undefined).catch(() => undefined);
      throw new SignedOut('the session has ended');
    }
    const isFinal = answer.status >= 400 && answer.status < 500 && answer.status !== 429 && answer.error !== '';
    const fault = isFinal
      ? new RequestRefused(answer.error)
      : new Unavailable('the server does not refresh now', answer.retryAfter);
    return this.#lastResort(tokens, refused, fault);
  }

  /** A refresh that fails fails nobody whose access token is still good, and is not tried again at once. */
  #lastResort(tokens: Tokens, refused: string | undefined, fault: AuthError): string {
    const now = this.#clock();
    const isGood = tokens.accessToken !== refused && tokens.expiresAt > now;
    const named = fault instanceof Unavailable ? (fault.retryAfter ?? 0) : 0;
    this.#notBefore = now + Math.max(named, isGood ? PAUSE_WHILE_GOOD : PAUSE);
    if (isGood) return tokens.accessToken;
    throw fault;
  }

  /** Presents a refresh token, a second time only where that is allowed. */
  async #present(refreshToken: string): Promise<Answer> {
    const begun = this.#clock();
    const form = { grant_type: 'refresh_token', refresh_token: refreshToken };
    for (let left = this.#retryWindow > 0 ? RETRIES : 0; ; left -= 1) {
      // Until something is known: a page that is closed in the middle knows nothing.
      this.#doubtful = refreshToken;
      const answer = await this.#post('/oauth/token', form).catch((fault: unknown) => {
        if (fault instanceof NoAnswer && fault.wasSent) return fault;
        this.#doubtful = undefined;
        throw fault;
      });
      // Of a 200 that holds no tokens it is not known whose it is, nor what became of ours.
      if (!(answer instanceof NoAnswer) && (this.#tokens(answer) !== undefined || isRefusal(answer))) {
        this.#doubtful = undefined;
        return answer;
      }
      if (left === 0 || this.#clock() - begun >= this.#retryWindow) {
        if (answer instanceof NoAnswer) throw answer;
        return answer;
      }
    }
  }

  #tokens({ status, body }: Answer): Tokens | undefined {
    const { access_token: accessToken, refresh_token: refreshToken, expires_in: lifetime, scope } = body;
    if (
      status !== 200 ||
      typeof accessToken !== 'string' ||
      typeof refreshToken !== 'string' ||
      typeof lifetime !== 'number' ||
      !(lifetime > 0 && lifetime < LONGEST_LIFETIME)
    ) {
      return undefined;
    }
    const expiresAt = this.#clock() + lifetime;
    return { accessToken, refreshToken, expiresAt, lifetime, scope: typeof scope === 'string' ? scope : '' };
  }

  async #post(path: string, form: Record<string, string>): Promise<Answer> {
    const isPublic = this.#clientSecret === undefined;
    const body = new URLSearchParams(isPublic ? { ...form, client_id: this.#clientId } : form);
    const headers: Record<string, string> = {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded',
    };
    if (this.#clientSecret !== undefined) headers.authorization = basic(this.#clientId, this.#clientSecret);
    const signal = AbortSignal.timeout(this.#timeout * 1_000);
    try {
      const request = { method: 'POST', headers, body: body.toString(), redirect: 'error', signal } as const;
      return await read(await this.#fetch(this.#base + path, request));
    } catch (fault) {
      throw new NoAnswer(!this.#wasNothingSent(fault));
    }
  }
}

/** HTTP Basic with both parts form-encoded first (RFC 6749 section 2.3.1). */
function basic(clientId: string, clientSecret: string): string {
  const encode = (text: string): string => new URLSearchParams([['', text]]).toString().slice(1);
  return `Basic ${btoa(`${encode(clientId)}:${encode(clientSecret)}`)}`;
}

async function read(answer: Response): Promise<Answer> {
  const text = await answer.text();
  let body: Record<string, unknown> = {};
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) body = value as Record<string, unknown>;
  } catch {
    // Somebody else's answer.
  }
  const waited = answer.headers.get('retry-after') ?? '';
  const retryAfter = /^[0-9]{1,9}$/.test(waited) ? Number(waited) : undefined;
  return { status: answer.status, body, error: typeof body.error === 'string' ? body.error : '', retryAfter };
}

/** Whether the server itself has refused: by an error of RFC 6749 section 5.2, or by saying that it did nothing. */
function isRefusal({ status, error }: Answer): boolean {
  if (status === 503) return error === 'temporarily_unavailable';
  return status === 429 || (status >= 400 && status < 500 && error !== '');
}

function isInvalidGrant({ status, error }: Answer): boolean {
  return (status === 400 || status === 401) && error === 'invalid_grant';
}

function failedSignIn(answer: Answer): AuthError {
  if (answer.status === 429) return new TooManyAttempts('too many attempts', answer.retryAfter);
  if (isInvalidGrant(answer)) return new WrongCredentials('the user name or the password is wrong');
  if (answer.status >= 400 && answer.status < 500 && answer.error !== '') return new RequestRefused(answer.error);
  return new Unavailable('the server does not serve now', answer.retryAfter);
}

/** Node names the fault of the system under `cause`. */
function wasConnectionRefused(fault: unknown): boolean {
  const { code } = ((fault as { cause?: unknown } | null)?.cause ?? {}) as { code?: unknown };
  return code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'EAI_AGAIN' || code === 'UND_ERR_CONNECT_TIMEOUT';
}
