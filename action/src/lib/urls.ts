// The connect strings.

import type { Endpoint } from './answer.js';
import type { UrlStyle } from './inputs.js';

/** `scheme://user:password@host:port/database`, with as much about TLS as the style says. */
export function databaseUrl(endpoint: Endpoint, scheme: string, style: UrlStyle, caFile: string | undefined): string {
  const { username, password, port, database } = endpoint;
  const authority = `${encodeURIComponent(username)}:${encodeURIComponent(password)}@${bracketed(endpoint.host)}:${port}`;
  return `${scheme}://${authority}/${encodeURIComponent(database)}${query(tlsWords(endpoint.tls, style, caFile))}`;
}

/** For pgjdbc. */
export function jdbcUrl(endpoint: Endpoint, caFile: string | undefined): string {
  const { username, password, port, database } = endpoint;
  const words: [string, string][] = [
    ['user', username],
    ['password', password],
    ...tlsWords(endpoint.tls, 'libpq', caFile),
  ];
  return `jdbc:postgresql://${bracketed(endpoint.host)}:${port}/${encodeURIComponent(database)}${query(words)}`;
}

function tlsWords(tls: boolean, style: UrlStyle, caFile: string | undefined): [string, string][] {
  if (style === 'none') return [];
  if (!tls) return [['sslmode', 'disable']];
  if (style === 'require') return [['sslmode', 'require']];
  const mode: [string, string] = ['sslmode', 'verify-full'];
  return style === 'libpq' && caFile !== undefined ? [mode, ['sslrootcert', caFile]] : [mode];
}

function query(words: readonly [string, string][]): string {
  if (words.length === 0) return '';
  // A slash is harmless in a query, and some clients do not decode paths.
  const encode = (value: string): string => encodeURIComponent(value).replace(/%2F/g, '/');
  return `?${words.map(([name, value]) => `${name}=${encode(value)}`).join('&')}`;
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
