// The job's ID token: asked for anew for each try, because one token opens at most one grant.

import { httpFailure } from './diagnose.js';
import type { Send } from './http.js';
import { Problem } from './problem.js';
import { retryAfter } from './retry.js';

/** HTTP answers that may be different next time. */
export const MAY_PASS: ReadonlySet<number> = new Set([429, 502, 503, 504]);

const FORK_HINT = ' A pull request from a fork never gets one.';

/** Asks the runner's token service for a token for `audience`. */
export async function idToken(
  env: NodeJS.ProcessEnv,
  audience: string,
  timeoutMs: number,
  send: Send,
): Promise<string> {
  const service = env['ACTIONS_ID_TOKEN_REQUEST_URL'];
  const credential = env['ACTIONS_ID_TOKEN_REQUEST_TOKEN'];
  if (!service || !credential) {
    throw new Problem({
      code: 'no-id-token',
      detail: 'this job may not ask for an ID token',
      fix:
        'Add `permissions: { id-token: write, contents: read }` to the job, and to the caller of a reusable workflow.' +
        (env['GITHUB_EVENT_NAME'] === 'pull_request' ? FORK_HINT : ''),
    });
  }
  // The address carries a query of its own.
  const url = `${service}${service.includes('?') ? '&' : '?'}audience=${encodeURIComponent(audience)}`;
  const answer = await send({
    method: 'GET',
    url,
    headers: { authorization: `Bearer ${credential}`, accept: 'application/json' },
    timeoutMs,
  }).catch((thrown: unknown) => {
    throw httpFailure('no-id-token', 'the runner’s token service', service, thrown);
  });
  if (answer.status !== 200) {
    throw new Problem({
      code: 'no-id-token',
      detail: `the runner’s token service answered with HTTP ${answer.status}`,
      fix: 'Run the job again; if it stays, look at the status page of the CI service.',
      ...(MAY_PASS.has(answer.status) && { transient: { retryAfterMs: retryAfter(answer.headers['retry-after']) } }),
    });
  }
  return readToken(answer.body);
}

function readToken(body: string): string {
  try {
    const { value } = JSON.parse(body) as { value?: unknown };
    if (typeof value === 'string' && /^[\w-]+\.[\w-]+\.[\w-]+$/.test(value)) return value;
  } catch {
    // Not JSON: the same complaint as for JSON without a token. The body itself may be a secret and is not shown.
  }
  throw new Problem({
    code: 'no-id-token',
    detail: 'the runner’s token service answered without a token',
    fix: 'Run the job again; if it stays, look at the status page of the CI service.',
  });
}
