/** What makes an access token good. The rules and their order are those of integrations/contracts. */
import { base64url, compactVerify, errors, type CryptoKey } from 'jose';
import type { PublicKeys } from './keys.js';

/** The one algorithm that is accepted, whatever a header says (RFC 8725 section 3.1). */
const ALGORITHM = 'RS256';
/** Longer tokens are not looked at, in characters. */
const MAX_LENGTH = 8_192;
/** What `typ` may be (RFC 9068 section 2.1; `JWT` for clients that ask the server for it). */
const TYPES = new Set(['at+jwt', 'application/at+jwt', 'jwt']);
const COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** Why a token is not accepted: for logs and metrics, not for whoever sent it. */
export type Refusal =
  | 'malformed'
  | 'algorithm'
  | 'unknown_key'
  | 'signature'
  | 'type'
  | 'issuer'
  | 'audience'
  | 'claims'
  | 'expired'
  | 'not_yet_valid';

/** The token is not good. The message is the word of the refusal, and no part of the token. */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused';

  constructor(readonly refusal: Refusal) {
    super(refusal);
  }
}

/** Who is asking, and what for. */
export interface Identity {
  readonly userId: string;
  /** The client that the user signed in by. */
  readonly clientId: string;
  /** What may be done, as it stands in the token: names with spaces between them. */
  readonly scope: string;
  /** When this ends, in seconds since 1970. */
  readonly expiresAt: number;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Whose tokens are good, and for whom. */
export interface VerifierOptions {
  issuer: string;
  /** `codelab-api` where nothing is said. */
  audience?: string;
  /** How many seconds the clocks of the two machines may differ; 5 where nothing is said. */
  leeway?: number;
  /** The time in seconds since 1970. */
  clock?: () => number;
}

type Json = Record<string, unknown>;

/** Judges access tokens of one issuer for one audience. */
export class TokenVerifier {
  readonly leeway: number;
  readonly #keys: PublicKeys;
  readonly #issuer: string;
  readonly #audience: string;
  readonly #clock: () => number;

  constructor(keys: PublicKeys, options: VerifierOptions) {
    this.#keys = keys;
    this.#issuer = options.issuer;
    this.#audience = options.audience ?? 'codelab-api';
    this.leeway = options.leeway ?? 5;
    this.#clock = options.clock ?? (() => Date.now() / 1_000);
  }

  /** The time that tokens are judged by, in seconds since 1970. */
  now(): number {
    return this.#clock();
  }

  /**
   * Judges a token.
   * @throws {TokenRefused} where it is not good.
   * @throws {KeysUnavailable} where that can't be known for want of keys.
   */
  async verify(token: string): Promise<Identity> {
    const [header, claims] = parts(token);
    if (header.alg !== ALGORITHM) throw new TokenRefused('algorithm');
    const key = typeof header.kid === 'string' ? await this.#keys.find(header.kid) : undefined;
    if (key === undefined) throw new TokenRefused('unknown_key');
    await checkSignature(token, key);
    this.#checkPlace(header, claims);
    return this.#identity(claims);
  }

  /** Whether it is an access token, from our issuer, for us. */
  #checkPlace(header: Json, claims: Json): void {
    const isAccess =
      typeof header.typ === 'string' && TYPES.has(header.typ.toLowerCase()) && claims.type === 'access';
    if (!isAccess) throw new TokenRefused('type');
    if (claims.iss !== this.#issuer) throw new TokenRefused('issuer');
    const audiences: unknown[] = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
    if (!audiences.includes(this.#audience)) throw new TokenRefused('audience');
  }

  #identity(claims: Json): Identity {
    const expiresAt = time(claims.exp);
    const beginsAt = time(claims.nbf);
    const { sub, client_id: clientId, scope = '' } = claims;
    if (expiresAt === undefined || !isName(sub) || !isName(clientId) || typeof scope !== 'string') {
      throw new TokenRefused('claims');
    }
    const now = this.#clock();
    if (expiresAt + this.leeway <= now) throw new TokenRefused('expired');
    if (beginsAt !== undefined && beginsAt - this.leeway > now) throw new TokenRefused('not_yet_valid');
    return { userId: sub, clientId, scope, expiresAt, claims };
  }
}

/** Header and claims, not trusted yet. */
function parts(token: string): [Json, Json] {
  const found = token.length <= MAX_LENGTH && COMPACT.test(token) ? token.split('.') : [];
  const header = json(found[0]);
  const claims = json(found[1]);
  // `crit` names what must be understood (RFC 7515 section 4.1.11), and we understand none of it.
  const isSpelled = found[2] !== undefined && base64url.encode(base64url.decode(found[2])) === found[2];
  if (header === undefined || claims === undefined || !isSpelled || Object.hasOwn(header, 'crit')) {
    throw new TokenRefused('malformed');
  }
  return [header, claims];
}

function json(part: string | undefined): Json | undefined {
  if (part === undefined) return undefined;
  try {
    const bytes = base64url.decode(part);
    // One spelling alone (RFC 4648 section 3.5): a token must not be another one to whoever keeps a list of them.
    if (base64url.encode(bytes) !== part) return undefined;
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
  } catch {
    return undefined;
  }
}

async function checkSignature(token: string, key: CryptoKey): Promise<void> {
  try {
    await compactVerify(token, key, { algorithms: [ALGORITHM] });
  } catch (fault) {
    throw new TokenRefused(fault instanceof errors.JWSSignatureVerificationFailed ? 'signature' : 'malformed');
  }
}

/** A NumericDate (RFC 7519 section 2); `undefined` where there is none. */
function time(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !(Math.abs(value) < 1e15)) throw new TokenRefused('claims');
  return value;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && !value.includes('\0');
}
