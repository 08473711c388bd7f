// The step's inputs: read once, checked together, so that one run lists everything that is wrong.

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { plain } from './text.js';

export const EXPORTS = ['all', 'libpq', 'url', 'none'] as const;
export const URL_STYLES = ['libpq', 'verify-full', 'require', 'none'] as const;
export const SUMMARIES = ['full', 'on-denial', 'none'] as const;

export type Export = (typeof EXPORTS)[number];
export type UrlStyle = (typeof URL_STYLES)[number];
export type SummaryWish = (typeof SUMMARIES)[number];

export interface Inputs {
  readonly scope: string;
  /** Without a slash at the end. */
  readonly brokerUrl: string;
  readonly audience?: string;
  readonly ttl?: string;
  readonly reason?: string;
  readonly export: Export;
  readonly envPrefix: string;
  readonly urlStyle: UrlStyle;
  readonly urlScheme: string;
  readonly waitMs: number;
  readonly verifyConnection: boolean;
  readonly revoke: boolean;
  readonly summary: SummaryWish;
  readonly failOnDeniedStatement: boolean;
  /** PEM text. */
  readonly caCertificate?: string;
}

/** The values an empty input stands for; action.yml declares the same ones and a test compares them. */
export const DEFAULTS: Readonly<Record<string, string>> = {
  export: 'all',
  'url-style': 'libpq',
  'url-scheme': 'postgresql',
  wait: '60',
  'verify-connection': 'true',
  revoke: 'true',
  summary: 'full',
  'fail-on-denied-statement': 'false',
};

const MAX_WAIT_SECONDS = 3600;
const PEM_BLOCK = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** Either the inputs, or one sentence for each wrong one. */
export function readInputs(get: (name: string) => string): { inputs: Inputs } | { wrong: string[] } {
  const wrong: string[] = [];
  const value = (name: string): string => get(name).trim() || (DEFAULTS[name] ?? '');
  const complain = (name: string, must: string): void => {
    const given = value(name);
    wrong.push(given ? `\`${name}\` is \`${plain(given, 80)}\`, but ${must}` : `\`${name}\` is missing: ${must}`);
  };
  const matching = (name: string, form: RegExp, must: string): string => {
    if (!form.test(value(name))) complain(name, must);
    return value(name);
  };
  const optional = (name: string, form: RegExp, must: string): string | undefined =>
    value(name) ? matching(name, form, must) : undefined;
  const oneOf = <T extends string>(name: string, allowed: readonly T[]): T => {
    const found = allowed.find((one) => one === value(name));
    if (found === undefined) complain(name, `it must be one of ${allowed.join(', ')}`);
    return found ?? (allowed[0] as T);
  };
  const flag = (name: string): boolean => {
    if (!/^(true|false)$/i.test(value(name))) complain(name, 'it must be true or false');
    return /^true$/i.test(value(name));
  };

  const scope = matching('scope', /^[^\s\p{C}]{1,128}$/u, 'it must be the name of a scope in .hoop/db-access.yaml');
  const brokerUrl = readBrokerUrl(value('broker-url'), wrong);
  const audience = optional('audience', /^[^\s\p{C}]{1,512}$/u, 'it must be one word, as the broker expects it');
  const ttl = readTtl(value('ttl'), wrong);
  const reason = optional('reason', /^[^\p{Cc}]{1,500}$/u, 'it must be one line of at most 500 characters');
  const wishedExport = oneOf('export', EXPORTS);
  const envPrefix = optional(
    'env-prefix',
    /^(?!(GITHUB|RUNNER|ACTIONS|INPUT|STATE)_)[A-Za-z_][A-Za-z0-9_]*$/i,
    'it must be letters, digits and _ and not start with a prefix that the runner reserves, for example `APP_`',
  );
  const urlStyle = oneOf('url-style', URL_STYLES);
  const urlScheme = matching('url-scheme', /^[a-z][a-z0-9+.-]*$/, 'it must be a URL scheme such as postgresql+psycopg');
  const wait = Number(matching('wait', /^\d{1,4}$/, `it must be whole seconds from 0 to ${MAX_WAIT_SECONDS}`));
  if (wait > MAX_WAIT_SECONDS) complain('wait', `it must be at most ${MAX_WAIT_SECONDS} seconds`);
  const verifyConnection = flag('verify-connection');
  const revoke = flag('revoke');
  const summary = oneOf('summary', SUMMARIES);
  const failOnDeniedStatement = flag('fail-on-denied-statement');
  if (failOnDeniedStatement && !revoke) {
    wrong.push(
      '`fail-on-denied-statement` needs `revoke: true`: the broker tells the denials when the grant is revoked',
    );
  }
  const caCertificate = readCertificate(value('ca-certificate'), wrong);

  if (wrong.length > 0) return { wrong };
  return {
    inputs: {
      scope,
      brokerUrl,
      ...(audience !== undefined && { audience }),
      ...(ttl !== undefined && { ttl }),
      ...(reason !== undefined && { reason }),
      export: wishedExport,
      envPrefix: envPrefix ?? '',
      urlStyle,
      urlScheme,
      waitMs: wait * 1000,
      verifyConnection,
      revoke,
      summary,
      failOnDeniedStatement,
      ...(caCertificate !== undefined && { caCertificate }),
    },
  };
}

/** Whether only this machine can answer at `hostname` (as `URL` spells it). */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || hostname === '::1' || /^127(\.\d{1,3}){3}$/.test(hostname);
}

function readBrokerUrl(text: string, wrong: string[]): string {
  if (!text) {
    wrong.push(
      '`broker-url` is missing: it must be the address of the broker, for example https://db-broker.example.com',
    );
    return '';
  }
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol)) {
    wrong.push('`broker-url` is not a URL: it must look like https://db-broker.example.com');
    return '';
  }
  if (url.username || url.password || url.search || url.hash) {
    wrong.push('`broker-url` must not carry a user, a password, a query or a fragment');
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    wrong.push('`broker-url` must be https: plain http is accepted only for a broker on this machine');
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

function readTtl(text: string, wrong: string[]): string | undefined {
  if (!text) return undefined;
  const parts = /^(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?$/.exec(text);
  if (!parts?.slice(1).some((part) => Number(part) > 0)) {
    wrong.push(`\`ttl\` is \`${plain(text, 80)}\`, but it must be a length of time such as 90s, 15m or 1h30m`);
  }
  return text;
}

function readCertificate(text: string, wrong: string[]): string | undefined {
  if (!text) return undefined;
  let pem = text;
  if (!text.includes('-----BEGIN')) {
    try {
      pem = readFileSync(text, 'utf8');
    } catch (thrown) {
      const why = (thrown as NodeJS.ErrnoException).code ?? 'unreadable';
      wrong.push(`\`ca-certificate\` is neither PEM text nor a readable file (${why})`);
      return undefined;
    }
  }
  const blocks = pem.match(PEM_BLOCK) ?? [];
  if (blocks.length === 0 || !blocks.every(isCertificate)) {
    wrong.push('`ca-certificate` holds no readable certificate: it must be PEM, -----BEGIN CERTIFICATE----- and so on');
    return undefined;
  }
  // Only the certificates travel on: a key that sits in the same file does not.
  return `${blocks.join('\n')}\n`;
}

/** Whether `pem` is one certificate that can be read. */
export function isCertificate(pem: string): boolean {
  try {
    new X509Certificate(pem);
    return true;
  } catch {
    return false;
  }
}
