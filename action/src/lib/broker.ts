// The broker's HTTP API as this action uses it: discover, open, revoke.

import { fields, type Granted, type Issuer, Malformed, readGranted, readIssuers, readPlace } from './answer.js';
import { httpFailure } from './diagnose.js';
import { type Answer, type Request, type Send, TooLong } from './http.js';
import { isLoopback } from './inputs.js';
import { Problem } from './problem.js';
import { retryAfter } from './retry.js';
import { count, plain } from './text.js';
import { MAY_PASS } from './token.js';

const GITHUB = 'github-actions';

export interface Broker {
  /** The audience that the broker expects in this job's token. */
  audience(timeoutMs: number): Promise<string>;
  open(ask: Ask, timeoutMs: number): Promise<Granted>;
  /** Revokes a grant by its revoke token. */
  revoke(id: string, revokeToken: string, timeoutMs: number): Promise<Answer>;
  /** Revokes whatever the request with this key opened. */
  revokeByKey(key: string, timeoutMs: number): Promise<Answer>;
}

export interface Ask {
  readonly token: string;
  readonly key: string;
  readonly scope: string;
  readonly ttl?: string | undefined;
  readonly reason?: string | undefined;
}

export function broker(base: string, ca: string | undefined, send: Send): Broker {
  const exchange = (request: Omit<Request, 'url' | 'ca'>, path: string): Promise<Answer> =>
    send({ ...request, url: `${base}${path}`, ca, headers: { accept: 'application/json', ...request.headers } }).catch(
      (thrown: unknown) => {
        if (thrown instanceof TooLong) throw malformed(base, thrown.message);
        throw httpFailure('broker-unreachable', 'the broker', base, thrown);
      },
    );
  return {
    async audience(timeoutMs) {
      const answer = await exchange({ method: 'GET', timeoutMs }, '/.well-known/hoop-db-access');
      if (answer.status !== 200) throw refusal(answer, base);
      return choose(read(answer, base, readIssuers), base);
    },
    async open({ token, key, ...body }, timeoutMs) {
      const headers = { authorization: `Bearer ${token}`, 'idempotency-key': key, 'content-type': 'application/json' };
      const answer = await exchange({ method: 'POST', headers, body: JSON.stringify(body), timeoutMs }, '/v1/grants');
      if (answer.status !== 201) throw refusal(answer, base);
      return read(answer, base, readGranted);
    },
    revoke: (id, revokeToken, timeoutMs) =>
      exchange(
        { method: 'DELETE', headers: { authorization: `Bearer ${revokeToken}` }, timeoutMs },
        `/v1/grants/${encodeURIComponent(id)}`,
      ),
    revokeByKey: (key, timeoutMs) =>
      exchange({ method: 'DELETE', headers: { 'idempotency-key': key }, timeoutMs }, '/v1/grants'),
  };
}

/** Any answer that is not the expected success, as a problem. */
export function refusal(answer: Answer, base: string): Problem {
  const document = problemDocument(answer);
  const told = (name: string): string | undefined => {
    const value = document[name];
    return typeof value === 'string' && value ? plain(value) : undefined;
  };
  const place =
    typeof document['policy'] === 'object' && document['policy'] ? readPlace(fields(document['policy'], '')) : {};
  const code = told('code');
  return new Problem({
    code: code ?? 'broker-error',
    detail:
      told('detail') ?? told('title') ?? `the broker at ${base} answered with HTTP ${answer.status} and no explanation`,
    fix: told('fix') ?? (code ? undefined : fixFor(answer.status)),
    ...(place.path !== undefined && { policy: { ...place, path: place.path } }),
    expected: document['expected'],
    actual: document['actual'],
    requestId: told('request_id'),
    ...(MAY_PASS.has(answer.status) && { transient: { retryAfterMs: retryAfter(answer.headers['retry-after']) } }),
    // A proxy's own page says nothing about whether a grant exists; the broker's problem document does.
    refused: code !== undefined && answer.status >= 400 && answer.status < 500 && answer.status !== 429,
  });
}

function problemDocument(answer: Answer): Readonly<Record<string, unknown>> {
  try {
    return fields(JSON.parse(answer.body), 'the answer');
  } catch {
    return {};
  }
}

function fixFor(status: number): string {
  if (status >= 300 && status < 400)
    return 'Redirects are not followed: give the broker’s own address in `broker-url`.';
  if (status === 404) return 'Check `broker-url`: the broker’s API is not there.';
  return 'Look at the broker’s log, and at what stands between (load balancer, proxy).';
}

function read<T>(answer: Answer, base: string, reader: (body: unknown) => T): T {
  try {
    return reader(JSON.parse(answer.body));
  } catch (thrown) {
    throw malformed(base, thrown instanceof Malformed ? thrown.message : 'it is not JSON');
  }
}

function malformed(base: string, why: string): Problem {
  return new Problem({
    code: 'malformed-answer',
    detail: `the broker at ${base} answered with something unexpected: ${why}`,
    fix: 'Check `broker-url`, and that this version of the action fits the broker’s version.',
  });
}

/**
 * The one audience for GitHub jobs. A token for somebody else's audience would let the broker act as this job there,
 * so a remote broker may name only itself; anything else needs the word of the workflow's author.
 */
function choose(issuers: Issuer[], base: string): string {
  const audiences = [...new Set(issuers.filter(({ kind }) => kind === GITHUB).map(({ audience }) => audience))];
  const [only] = audiences;
  if (only === undefined || audiences.length > 1) {
    throw new Problem({
      code: 'wrong-audience',
      detail: `the broker at ${base} names ${count(audiences.length, 'audience')} for GitHub Actions`,
      fix: 'Set the `audience` input to the audience in the broker’s configuration.',
      refused: true,
    });
  }
  const { hostname } = new URL(base);
  if (!isLoopback(hostname) && !(URL.canParse(only) && new URL(only).hostname === hostname)) {
    throw new Problem({
      code: 'wrong-audience',
      detail: `the broker at ${base} asks for a token for \`${plain(only, 200)}\`, which is not its own address`,
      fix: `If that is right, say so: set the \`audience\` input to \`${plain(only, 200)}\`.`,
      refused: true,
    });
  }
  return only;
}
