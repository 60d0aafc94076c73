/** For servers on Node: `node:http`, Express and whatever takes such handlers, and the upgrade to a WebSocket. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { authenticate, requireScopes, SUBPROTOCOL, type Denial, type Outcome } from './requests.js';
import type { Identity, TokenVerifier } from './verifier.js';

/** A request of which it is known who makes it. */
export type Authenticated<R extends IncomingMessage = IncomingMessage> = R & { identity: Identity };

/** What a WebSocket is closed by when its token expires: a violation of policy (RFC 6455 section 7.4.1). */
export const CLOSE_CODE = 1008;

/** A timer holds no more: not quite 25 days, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** A handler that lets nobody on without a good access token, and puts `identity` on the request of who has one. */
export function bearer(verifier: TokenVerifier) {
  return async (request: IncomingMessage, response: ServerResponse, next: (fault?: unknown) => void): Promise<void> => {
    let outcome: Outcome;
    try {
      outcome = await judge(verifier, request);
      if ('denial' in outcome) {
        deny(response, outcome.denial);
        return;
      }
    } catch (fault) {
      next(fault);
      return;
    }
    // Somebody else may have answered meanwhile, for want of time, say.
    if (response.headersSent || response.destroyed) return;
    (request as Authenticated).identity = outcome.identity;
    next();
  };
}

/** A handler behind {@link bearer} that lets only those on whose token has all of these scopes. */
export function scopes(...needed: string[]) {
  return (request: IncomingMessage, response: ServerResponse, next: () => void): void => {
    const denial = requireScopes((request as Authenticated).identity, ...needed);
    if (denial === undefined) next();
    else deny(response, denial);
  };
}

/**
 * Judges a request for a WebSocket. Who is not let in has been answered when this comes back with `undefined`. Of the
 * subprotocols offered then choose `bearer`, and never name the other, which is the token.
 */
export async function upgrade(
  verifier: TokenVerifier,
  request: IncomingMessage,
  socket: Duplex,
): Promise<Identity | undefined> {
  // Node leaves a socket without a listener at an upgrade, and what nobody listens to ends the process.
  const hangUp = (): void => void socket.destroy();
  socket.on('error', hangUp);
  const outcome = await judge(verifier, request);
  if (socket.destroyed) return undefined;
  if ('identity' in outcome) {
    socket.off('error', hangUp);
    return outcome.identity;
  }
  const { status, headers, body } = outcome.denial;
  const head = Object.entries({ ...headers, connection: 'close' }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} Refused\r\n${head.join('')}\r\n${JSON.stringify(body)}`, hangUp);
  return undefined;
}

/** Closes a WebSocket when its token expires; the function that comes back forgets about it. */
export function closeAtExpiry(
  verifier: TokenVerifier,
  identity: Identity,
  socket: { close(code: number, reason: string): void },
): () => void {
  let left = (identity.expiresAt + verifier.leeway - verifier.now()) * 1_000;
  let timer: NodeJS.Timeout;
  const wait = (): void => {
    if (left <= 0) {
      socket.close(CLOSE_CODE, 'token expired');
      return;
    }
    const part = Math.min(left, LONGEST_TIMER);
    left -= part;
    timer = setTimeout(wait, part).unref();
  };
  timer = setTimeout(wait, 0);
  return () => clearTimeout(timer);
}

function judge(verifier: TokenVerifier, request: IncomingMessage): Promise<Outcome> {
  // `headers` keeps the first of several values; `headersDistinct` has all.
  const { authorization = [], 'sec-websocket-protocol': offered = [] } = request.headersDistinct;
  const isWebSocket = request.headers.upgrade?.toLowerCase() === 'websocket';
  const subprotocols = isWebSocket ? offered.join(',').split(',').map((name) => name.trim()) : [];
  return authenticate(verifier, authorization, subprotocols);
}

function deny(response: ServerResponse, { status, headers, body }: Denial): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, headers).end(JSON.stringify(body));
}

export { SUBPROTOCOL };
