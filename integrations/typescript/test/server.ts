/** The real server, built from this repository: AUTH_E2E_BINARY names the program. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const BINARY =
  process.env.AUTH_E2E_BINARY ?? fileURLToPath(new URL('../../../../target/debug/auth-service', import.meta.url));
export const PASSWORD = 'Pencil-and-Paper-9';
export const ISSUER = 'https://auth.example.org';
export const CLIENT = 'codelab-flutter-app';

/** An installation in a folder of its own; may be stopped and started again on the same port. */
export class AuthServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'auth-'));
  #port = 0;
  #process: ChildProcess | undefined;

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get keys(): string {
    return `${this.url}/.well-known/jwks.json`;
  }

  async start(): Promise<this> {
    const env = { ...this.#environment(), AUTH_SERVICE__PORT: String(this.#port) };
    this.#process = spawn(BINARY, ['serve'], { cwd: this.#folder, env, stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface(this.#process.stdout!)) {
      const port = /listens on http:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
      if (port === undefined) continue;
      this.#port = Number(port);
      break;
    }
    this.#process.stdout!.resume();
    for (const until = Date.now() + 30_000; Date.now() < until; ) {
      const answer = await fetch(`${this.url}/ready`).catch(() => undefined);
      await answer?.text();
      if (answer?.status === 200) return this;
    }
    throw new Error('the server does not become ready');
  }

  async stop(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (running === undefined) return;
    const ended = once(running, 'exit');
    running.kill('SIGTERM');
    await ended;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true });
  }

  /** A command of the program, over the same settings. */
  async run(...command: string[]): Promise<string> {
    const ran = await promisify(execFile)(BINARY, command, { cwd: this.#folder, env: this.#environment() });
    return ran.stdout;
  }

  async tokens(): Promise<{ access_token: string; refresh_token: string; expires_in: number; scope: string }> {
    const body = new URLSearchParams({
      grant_type: 'password',
      client_id: CLIENT,
      username: 'admin',
      password: PASSWORD,
    });
    const answer = await fetch(`${this.url}/oauth/token`, { method: 'POST', body });
    if (answer.status !== 200) throw new Error(await answer.text());
    return (await answer.json()) as Awaited<ReturnType<AuthServer['tokens']>>;
  }

  #environment(): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      AUTH_SERVICE__DB_URL: `sqlite:///${this.#folder}/auth.db`,
      AUTH_SERVICE__KEYS_DIR: `${this.#folder}/keys`,
      AUTH_SERVICE__MASTER_KEY: PASSWORD,
      AUTH_SERVICE__JWT_ISSUER: ISSUER,
      AUTH_SERVICE__ENABLE_RATE_LIMITING: 'false',
      AUTH_SERVICE__LOG_LEVEL: 'error',
    };
  }
}
