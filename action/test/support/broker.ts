// A broker and a token service that answer as a test scripts them, and remember what they were asked.

import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Certificate } from './certificates.js';

export interface Asked {
  method: string;
  path: string;
  headers: http.IncomingHttpHeaders;
  body: string;
}

/** An answer; `hang` never answers, `cut` closes the connection, `half` closes it inside the body. */
export type Reply = { status: number; body?: unknown; headers?: Record<string, string> } | 'hang' | 'cut' | 'half';

export const PASSWORD = 'hdbp_0123456789abcdefghijABCDEFGHIJ0123456789abc+/x';
export const REVOKE_TOKEN = 'hdbr_zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQ98765432';
export const GRANT_ID = 'grant_0198f0aa7c7a7d0e8a1b2c3d4e5f6071';
export const REQUEST_TOKEN = 'request-token-of-this-job';

export class FakeBroker {
  readonly asked: Asked[] = [];
  /** Called with each request before it is answered. */
  before: (asked: Asked) => void = () => undefined;
  readonly #routes = new Map<string, Reply[]>();
  readonly #server: http.Server;
  readonly #secure: boolean;
  #tokens = 0;

  constructor(certificate?: Certificate) {
    this.#secure = certificate !== undefined;
    const serve: http.RequestListener = (request, response) => this.#serve(request, response);
    this.#server = certificate ? https.createServer(certificate, serve) : http.createServer(serve);
    this.on('GET /.well-known/hoop-db-access', {
      status: 200,
      body: { api_version: 1, issuers: [{ name: 'github', kind: 'github-actions', audience: 'https://broker.test' }] },
    });
  }

  /** Scripts a route: the replies in order, the last one for ever. */
  on(route: string, ...replies: Reply[]): this {
    this.#routes.set(route, replies);
    return this;
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.#secure ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  /** The environment of a job that may ask for ID tokens. */
  get tokenEnv(): Record<string, string> {
    return {
      ACTIONS_ID_TOKEN_REQUEST_URL: `${this.url}/token?api-version=2.0`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: REQUEST_TOKEN,
    };
  }

  requests(route: string): Asked[] {
    return this.asked.filter(({ method, path }) => `${method} ${path.replace(/\?.*/, '')}` === route);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request;
      const asked = { method, path, headers, body };
      this.asked.push(asked);
      this.before(asked);
      const route = `${method} ${path.replace(/\?.*/, '')}`;
      const script = this.#routes.get(route);
      const reply = (script && script.length > 1 ? script.shift() : script?.[0]) ?? this.#unscripted(route);
      if (reply === 'hang') return;
      if (reply === 'cut') return void request.socket.destroy();
      if (reply === 'half') {
        response.writeHead(201, { 'content-length': '1000' });
        response.write('{', () => request.socket.destroy());
        return;
      }
      const text = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body ?? {});
      response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers }).end(text);
    });
  }

  #unscripted(route: string): Reply {
    if (route !== 'GET /token') return { status: 404, body: {} };
    this.#tokens += 1;
    return { status: 200, body: { count: 1, value: idToken(this.#tokens) } };
  }
}

/** The n-th token that a fake token service hands out. */
export function idToken(number: number): string {
  return `eyJoZWFkZXIi.eyJudW1iZXIi${number}.c2lnbmF0dXJl`;
}

export interface EndpointFields {
  host: string;
  port: number;
  database: string;
  username: string;
  password: string;
  sslmode: string;
  ca: string | null;
  url: string;
}

export function endpoint(change: Partial<EndpointFields> = {}): EndpointFields {
  const host = change.host ?? '127.0.0.1';
  const port = change.port ?? 6432;
  return {
    host,
    port,
    database: 'orders',
    username: GRANT_ID,
    password: PASSWORD,
    sslmode: 'disable',
    ca: null,
    url: `postgresql://${GRANT_ID}:${encodeURIComponent(PASSWORD)}@${host}:${port}/orders?sslmode=disable`,
    ...change,
  };
}

/** The answer to a POST that opens a grant. */
export function granted(change: Partial<EndpointFields> = {}): Reply {
  return {
    status: 201,
    body: {
      grant: {
        id: GRANT_ID,
        scope: 'migrate',
        database: 'orders-prod',
        repository: 'acme/orders',
        issuer: 'github',
        state: 'active',
        created_at: '2026-11-22T10:00:00Z',
        expires_at: '2026-11-22T10:15:00Z',
        ends_at: '2026-11-22T10:45:00Z',
      },
      endpoint: endpoint(change),
      revoke_token: REVOKE_TOKEN,
      policy: { path: '.hoop/db-access.yaml', line: 5, sha: 'b5bb9d8014a0f9b1' },
    },
  };
}

export interface TotalsFields {
  sessions: number;
  statements: Record<string, number>;
  rows: number;
  masked: Record<string, number>;
  detected: Record<string, number>;
  denied: number;
  denials: unknown[];
}

/** The answer to a DELETE that revokes a grant. */
export function revoked(totals: Partial<TotalsFields> = {}): Reply {
  return {
    status: 200,
    body: {
      grant: { id: GRANT_ID, state: 'revoked' },
      totals: {
        sessions: 2,
        statements: { select: 3, insert: 1, drop: 0 },
        rows: 40,
        masked: {},
        detected: {},
        denied: 0,
        denials: [],
        ...totals,
      },
    },
  };
}

/** A problem document. */
export function problem(status: number, code: string, more: Record<string, unknown> = {}): Reply {
  return {
    status,
    headers: { 'content-type': 'application/problem+json' },
    body: { type: `about:blank#${code}`, title: code, status, code, detail: `the detail of ${code}`, ...more },
  };
}
