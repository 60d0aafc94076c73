/** Who makes a request, and what the others are told (RFC 6750). It knows no framework: headers in, outcome out. */
import { KeysUnavailable } from './keys.js';
import { TokenRefused, type Identity, type TokenVerifier } from './verifier.js';

/** An answer to somebody who is not let in. */
export interface Denial {
  readonly status: 400 | 401 | 403 | 503;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: { readonly error: string; readonly error_description: string };
}

/** Somebody, or an answer. */
export type Outcome = { readonly identity: Identity } | { readonly denial: Denial };

const REALM = 'codelab';
/** Seconds after which somebody may come again who could not be judged. */
const RETRY_AFTER = 5;
/** The subprotocol under which a browser, which can set no header of a WebSocket, brings its token. */
export const SUBPROTOCOL = 'bearer';

/** A `WWW-Authenticate` of the scheme Bearer (RFC 6750 section 3). */
export function challenge(parameters: Readonly<Record<string, string>> = {}): string {
  const given = Object.entries({ realm: REALM, ...parameters });
  return `Bearer ${given.map(([name, value]) => `${name}="${value}"`).join(', ')}`;
}

/**
 * Judges what a request brings: every value of its `Authorization`, and for a WebSocket the subprotocols that it offers,
 * `["bearer", token]`.
 */
export async function authenticate(
  verifier: TokenVerifier,
  authorization: readonly string[],
  subprotocols: readonly string[] = [],
): Promise<Outcome> {
  const tokens = [...bearerTokens(authorization), ...offeredTokens(subprotocols)];
  const [token, ...others] = tokens;
  if (token === undefined) return { denial: denial(401, 'unauthorized', 'A bearer token is needed.', challenge()) };
  if (others.length > 0) return { denial: named(400, 'invalid_request', 'The request brings more than one token.') };
  try {
    return { identity: await verifier.verify(token) };
  } catch (fault) {
    if (fault instanceof TokenRefused) {
      return { denial: named(401, 'invalid_token', 'The access token is invalid or has expired.') };
    }
    if (fault instanceof KeysUnavailable) {
      return { denial: denial(503, 'temporarily_unavailable', 'Tokens can not be checked at the moment.') };
    }
    throw fault;
  }
}

/** The answer to somebody whose token does not allow what is asked for; `undefined` where it does. */
export function requireScopes(identity: Identity, ...scopes: string[]): Denial | undefined {
  const has = new Set(identity.scope.split(' '));
  if (scopes.every((scope) => has.has(scope))) return undefined;
  const said = 'The access token does not allow this.';
  return denial(403, 'insufficient_scope', said, challenge({ error: 'insufficient_scope', scope: scopes.join(' ') }));
}

function bearerTokens(authorization: readonly string[]): string[] {
  return authorization.flatMap((value) => {
    const [, token] = /^bearer(?: +(.*))?$/i.exec(value) ?? [];
    return /^bearer( |$)/i.test(value) ? [(token ?? '').trim()] : [];
  });
}

function offeredTokens(subprotocols: readonly string[]): string[] {
  const [scheme, token] = subprotocols;
  return scheme?.toLowerCase() === SUBPROTOCOL ? [token ?? ''] : [];
}

function named(status: 400 | 401, error: string, said: string): Denial {
  return denial(status, error, said, challenge({ error, error_description: said }));
}

function denial(status: Denial['status'], error: string, said: string, asked?: string): Denial {
  const headers = {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    ...(asked === undefined ? {} : { 'www-authenticate': asked }),
    ...(status === 503 ? { 'retry-after': String(RETRY_AFTER) } : {}),
  };
  return { status, headers, body: { error, error_description: said } };
}
