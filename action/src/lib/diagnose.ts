// From a low-level failure to what is wrong with the network and what to do about it.

import { ServerRefused, Unexpected } from './pg.js';
import { Problem } from './problem.js';
import { plain } from './text.js';

export type Failure =
  | 'dns'
  | 'refused'
  | 'timeout'
  | 'unreachable'
  | 'reset'
  | 'proxy'
  | 'tls-name'
  | 'tls-trust'
  | 'tls';

const BY_CODE: Readonly<Record<string, Failure>> = {
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  EAI_FAIL: 'dns',
  ECONNREFUSED: 'refused',
  ETIMEDOUT: 'timeout',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  UND_ERR_SOCKET: 'reset',
  ERR_STREAM_PREMATURE_CLOSE: 'reset',
  ERR_TLS_CERT_ALTNAME_INVALID: 'tls-name',
};

/** Which of the known ways the connection failed; undefined when it is none of them. */
export function classify(thrown: unknown): Failure | undefined {
  if (!(thrown instanceof Error)) return undefined;
  if (/tunneling socket/.test(thrown.message)) return 'proxy';
  const code = (thrown as NodeJS.ErrnoException).code ?? '';
  const known = BY_CODE[code];
  if (known) return known;
  if (/CERT|ISSUER|SELF_SIGNED|UNABLE_TO_VERIFY|CRL_/.test(code)) return 'tls-trust';
  if (/^(ERR_SSL|ERR_TLS|EPROTO)/.test(code)) return 'tls';
  if (/^HPE_/.test(code) || /socket hang up/.test(thrown.message)) return 'reset';
  return undefined;
}

/** A certificate does not heal while a job waits; the other failures may. */
function mayPass(failure: Failure): boolean {
  return !failure.startsWith('tls');
}

/** Why an HTTP request to `what` (at `url`) got no answer. */
export function httpFailure(code: string, what: string, url: string, thrown: unknown): Problem {
  const failure = classify(thrown);
  const { host, hostname } = new URL(url);
  return new Problem({
    code,
    detail: `${what} at ${host} cannot be reached: ${cause(failure, hostname, thrown)}`,
    fix: HTTP_FIX[failure ?? 'reset'],
    ...(failure && mayPass(failure) && { transient: {} }),
  });
}

/** Why the endpoint that was just handed out does not work from here. */
export function endpointFailure(host: string, port: number, thrown: unknown): Problem {
  const where = `the endpoint ${host}:${port}`;
  if (thrown instanceof ServerRefused) {
    const login = thrown.sqlstate.startsWith('28');
    return new Problem({
      code: login ? 'endpoint-login-refused' : 'endpoint-refused',
      detail: `${where} answered with ${thrown.sqlstate}: ${plain(thrown.message, 500)}`,
      fix: login
        ? 'The broker does not know this grant at that address: check that the endpoint address belongs to this broker and no pooler stands between.'
        : 'The endpoint was reached; the message is the server’s own. Look at the broker’s log for this grant.',
    });
  }
  if (thrown instanceof Unexpected) {
    return new Problem({
      code: 'endpoint-not-postgresql',
      detail: `${where} does not behave like the broker: ${plain(thrown.message, 500)}`,
      fix: 'Check the endpoint address in the broker’s configuration, and what stands between: a load balancer must pass TCP through.',
    });
  }
  const failure = classify(thrown);
  return new Problem({
    code: failure?.startsWith('tls') ? 'endpoint-not-trusted' : 'endpoint-unreachable',
    detail: `${where} cannot be used from this runner: ${cause(failure, host, thrown)}`,
    fix: ENDPOINT_FIX[failure ?? 'reset'],
  });
}

function cause(failure: Failure | undefined, hostname: string, thrown: unknown): string {
  const message = plain(thrown instanceof Error ? thrown.message : String(thrown), 300);
  switch (failure) {
    case 'dns':
      return `the name ${hostname} cannot be resolved`;
    case 'refused':
      return 'the connection was refused, nothing listens there';
    case 'timeout':
      return 'no answer in time';
    case 'unreachable':
      return 'there is no route to it';
    case 'reset':
      return 'the connection was cut';
    case 'proxy':
      return `the proxy did not let the connection through (${message})`;
    case 'tls-name':
      return `its certificate is for another name than ${hostname}`;
    case 'tls-trust':
      return `its certificate is not trusted (${message})`;
    case 'tls':
      return `TLS failed (${message})`;
    case undefined:
      return message;
  }
}

const HTTP_FIX: Readonly<Record<Failure, string>> = {
  dns: 'Check the name. A broker inside a private network needs a runner that uses its DNS.',
  refused: 'Check host and port, and that the service runs.',
  timeout: 'Check firewalls and security groups between this runner and it; behind a proxy set HTTPS_PROXY.',
  unreachable: 'Run the job on a runner inside the network, or open a route to it.',
  reset: 'Check what stands between (load balancer, proxy, firewall), and that this is an HTTP service.',
  proxy: 'Allow the host in the proxy, or name it in NO_PROXY.',
  'tls-name': 'Use the name that the certificate was issued for.',
  'tls-trust': 'Give the CA that issued it in the `ca-certificate` input.',
  tls: 'Check that https is spoken at this port.',
};

const ENDPOINT_FIX: Readonly<Record<Failure, string>> = {
  dns: 'The runner must resolve the endpoint’s name: use a runner inside that network, or have the broker publish a name that resolves here.',
  refused: 'Check the broker’s endpoint address and port as seen from this runner.',
  timeout:
    'Open the port from this runner to the endpoint (firewall, security group). HTTPS_PROXY does not carry database connections.',
  unreachable: 'Open a route from this runner to the endpoint. HTTPS_PROXY does not carry database connections.',
  reset: 'Something between this runner and the endpoint cuts the connection: look at firewalls and load balancers.',
  proxy: 'Database connections do not go through a proxy.',
  'tls-name': 'The broker must publish its endpoint under a name that its certificate carries.',
  'tls-trust': 'Have the broker publish the CA of its endpoint, or give it in the `ca-certificate` input.',
  tls: 'Check that nothing between this runner and the endpoint ends or inspects TLS.',
};
