/** The vectors of integrations/contracts. */
import { readFileSync } from 'node:fs';
import type { CryptoKey } from 'jose';
import { parse, type PublicKeys } from '../src/keys.js';
import { TokenVerifier } from '../src/verifier.js';

type Told = { sub: string; scope: string; client_id: string };
export type Case = { name: string; token: string; accepted?: Told; refused?: string };
export type StoredTokens = {
  access_token: string;
  refresh_token: string;
  expires_at: number;
  lifetime: number;
  scope: string;
};
export type Exchange = {
  request: { method: string; path: string; headers: Record<string, string>; form: Record<string, string> };
  answer: { fault?: string; status: number; headers: Record<string, string>; body: unknown };
};
export type Step = {
  at: number;
  do: 'sign_in' | 'access_token' | 'sign_out';
  username: string;
  password: string;
  scope?: string;
  exchanges: Exchange[];
  outcome: unknown;
  stored: StoredTokens | null;
};
export type Scenario = {
  name: string;
  client: { client_id: string; client_secret?: string; refresh_before: number; retry_window: number };
  stored: StoredTokens | null;
  steps: Step[];
};

function read<T>(name: string): T {
  // The tests run from build/test.
  return JSON.parse(readFileSync(new URL(`../../../contracts/${name}`, import.meta.url), 'utf8')) as T;
}

export const validation = read<{
  now: number;
  policy: { issuer: string; audience: string; leeway: number };
  key_set: { keys: Record<string, unknown>[] };
  cases: Case[];
}>('validation.json');
export const { scenarios } = read<{ scenarios: Scenario[] }>('client.json');

export function named(name: string): Case {
  const found = validation.cases.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no case is named ${name}`);
  return found;
}

/** A verifier by the contract's keys, policy and time. */
export async function verifier(clock = () => validation.now): Promise<TokenVerifier> {
  const known = await parse(validation.key_set);
  const keys: PublicKeys = { find: async (kid): Promise<CryptoKey | undefined> => known.get(kid) };
  return new TokenVerifier(keys, { ...validation.policy, clock });
}
