/**
 * Access tokens of the CodeLab Auth Service: for services that receive them ({@link TokenVerifier}), and for tools and
 * pages that need them ({@link AuthClient}). What Node alone can do is in `@codelab/auth/node`.
 *
 * No token and no key is ever part of an error's message.
 */
export {
  AuthClient,
  AuthError,
  RequestRefused,
  SignedOut,
  TooManyAttempts,
  Unavailable,
  WrongCredentials,
  type ClientOptions,
} from './client.js';
export { KeySetCache, KeysUnavailable, type KeySetOptions, type PublicKeys } from './keys.js';
export { authenticate, challenge, requireScopes, type Denial, type Outcome } from './requests.js';
export { BrowserStorage, MemoryStorage, type Tokens, type TokenStorage } from './storage.js';
export { TokenRefused, TokenVerifier, type Identity, type Refusal, type VerifierOptions } from './verifier.js';
