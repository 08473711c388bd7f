// One HTTP exchange: a deadline over all of it, no redirects, a bounded body, the certificates to trust. Proxies are
// the official client's business (HTTPS_PROXY, NO_PROXY).

import type { IncomingHttpHeaders, RequestOptions } from 'node:http';
import type { Agent } from 'node:https';
import { HttpClient, type HttpClientResponse } from '@actions/http-client';

export interface Request {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly timeoutMs: number;
  /** When given, only these certificates are trusted (PEM). */
  readonly ca?: string | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export type Send = (request: Request) => Promise<Answer>;

/** No complete answer within the time allowed. */
export class TimedOut extends Error {
  readonly code = 'ETIMEDOUT';

  constructor(ms: number) {
    super(`no answer within ${Math.ceil(ms / 1000)} s`);
    this.name = 'TimedOut';
  }
}

/** An answer that is too long to be one of ours. */
export class TooLong extends Error {
  readonly code = 'ANSWER_TOO_LONG';
}

export const USER_AGENT = 'hoop-db-access-action';
const MAX_BODY = 1024 * 1024;

export const send: Send = async (request) => {
  const signal = AbortSignal.timeout(Math.ceil(request.timeoutMs));
  const client = new HttpClient(USER_AGENT, [handler(signal, request.ca)], { allowRedirects: false });
  try {
    const response = await client.request(request.method, request.url, request.body ?? null, { ...request.headers });
    const body = await readBody(response);
    return { status: response.message.statusCode ?? 0, headers: response.message.headers, body };
  } catch (thrown) {
    throw signal.aborted ? new TimedOut(request.timeoutMs) : thrown;
  } finally {
    client.dispose();
  }
};

/** The client's own read never ends when the connection breaks in the middle of a body, hence this one. */
async function readBody(response: HttpClientResponse): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response.message) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > MAX_BODY) throw new TooLong(`the answer is longer than ${MAX_BODY} bytes`);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function handler(signal: AbortSignal, ca: string | undefined) {
  return {
    prepareRequest(options: RequestOptions & { ca?: string }): void {
      options.signal = signal;
      if (ca === undefined) return;
      // The tunnel through a proxy reads its TLS options from the agent, not from the request.
      const agent = options.agent as Agent;
      agent.options = { ...agent.options, ca };
    },
    canHandleAuthentication: () => false,
    handleAuthentication: () => Promise.reject(new Error('not used')),
  };
}
