// The broker's answers, read strictly: what is handed on to files and environment has the form that they need.

import { isCertificate } from './inputs.js';
import type { PolicyPlace } from './problem.js';

export interface Grant {
  readonly id: string;
  readonly scope: string;
  readonly database: string;
  readonly expiresAt: string;
  readonly endsAt: string;
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
  readonly tls: boolean;
  readonly ca?: string;
  readonly url: string;
}

export interface Granted {
  readonly grant: Grant;
  readonly endpoint: Endpoint;
  readonly revokeToken: string;
  readonly policy: PolicyPlace & { readonly sha: string };
}

export interface Denial extends Partial<PolicyPlace> {
  readonly code: string;
  readonly message: string;
  readonly detail: string;
  readonly hint: string;
}

export interface Totals {
  readonly sessions: number;
  readonly statements: Readonly<Record<string, number>>;
  readonly rows: number;
  /** Masked values by column. */
  readonly masked: Readonly<Record<string, number>>;
  /** What was found in texts and replaced, by kind. */
  readonly detected: Readonly<Record<string, number>>;
  readonly denied: number;
  readonly denials: readonly Denial[];
}

export interface Issuer {
  readonly kind: string;
  readonly audience: string;
}

/** An answer that is not of the agreed form; names the place, never the value. */
export class Malformed extends Error {}

type Fields = Readonly<Record<string, unknown>>;

const NO_CONTROL = /^[^\p{Cc}]+$/u;
const WORD = /^[\w.:/+@-]{1,256}$/;

export function fields(value: unknown, place: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Malformed(`${place} is not an object`);
  return value as Fields;
}

function text(from: Fields, name: string, form: RegExp = NO_CONTROL): string {
  const value = from[name];
  if (typeof value !== 'string' || !form.test(value))
    throw new Malformed(`\`${name}\` is missing or not of the agreed form`);
  return value;
}

function amount(from: Fields, name: string): number {
  const value = from[name];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw new Malformed(`\`${name}\` is not a count`);
  return value;
}

/** The answer to `POST /v1/grants`. */
export function readGranted(body: unknown): Granted {
  const all = fields(body, 'the answer');
  const grant = fields(all['grant'], '`grant`');
  const endpoint = fields(all['endpoint'], '`endpoint`');
  const policy = fields(all['policy'], '`policy`');
  const port = amount(endpoint, 'port');
  if (port < 1 || port > 65535) throw new Malformed('`port` is not a port');
  const ca = endpoint['ca'] ?? undefined;
  if (ca !== undefined && (typeof ca !== 'string' || !isCertificate(ca)))
    throw new Malformed('`ca` is not a certificate');
  return {
    grant: {
      id: text(grant, 'id', WORD),
      scope: text(grant, 'scope'),
      database: text(grant, 'database'),
      expiresAt: text(grant, 'expires_at', WORD),
      endsAt: text(grant, 'ends_at', WORD),
    },
    endpoint: {
      host: text(endpoint, 'host', /^([A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?)$/).replace(/^\[|\]$/g, ''),
      port,
      database: text(endpoint, 'database'),
      username: text(endpoint, 'username', WORD),
      password: text(endpoint, 'password', /^[\x21-\x7e]{8,}$/),
      tls: text(endpoint, 'sslmode', /^(verify-full|disable)$/) === 'verify-full',
      ...(ca !== undefined && { ca }),
      url: text(endpoint, 'url'),
    },
    revokeToken: text(all, 'revoke_token', /^[\x21-\x7e]{8,}$/),
    policy: { ...readPlace(policy), path: text(policy, 'path'), sha: text(policy, 'sha', WORD) },
  };
}

/** The totals in the answer to `DELETE /v1/grants/…`. */
export function readTotals(body: unknown): Totals {
  const totals = fields(fields(body, 'the answer')['totals'], '`totals`');
  const statements = fields(totals['statements'], '`statements`');
  const masked = fields(totals['masked'] ?? {}, '`masked`');
  const detected = fields(totals['detected'] ?? {}, '`detected`');
  const denials = totals['denials'];
  if (!Array.isArray(denials)) throw new Malformed('`denials` is not a list');
  return {
    sessions: amount(totals, 'sessions'),
    statements: amounts(statements),
    rows: amount(totals, 'rows'),
    masked: amounts(masked),
    detected: amounts(detected),
    denied: amount(totals, 'denied'),
    denials: denials.map((one) => readDenial(fields(one, 'a denial'))),
  };
}

function amounts(from: Fields): Record<string, number> {
  return Object.fromEntries(Object.keys(from).map((name) => [name, amount(from, name)]));
}

function readDenial(from: Fields): Denial {
  const maybe = (name: string): string => (typeof from[name] === 'string' ? from[name] : '');
  return {
    code: maybe('code') || 'denied',
    message: maybe('message'),
    detail: maybe('detail'),
    hint: maybe('hint'),
    ...readPlace(from),
  };
}

/** A place in a policy, as far as it is told. */
export function readPlace(from: Fields): Partial<PolicyPlace> {
  const number = (name: string): number | undefined => {
    const value = from[name];
    return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;
  };
  const path = from['path'];
  const line = number('line');
  const column = number('column');
  return {
    ...(typeof path === 'string' && path && { path }),
    ...(line !== undefined && { line }),
    ...(column !== undefined && { column }),
  };
}

/** The issuers in `GET /.well-known/hoop-db-access`. */
export function readIssuers(body: unknown): Issuer[] {
  const all = fields(body, 'the answer');
  if (all['api_version'] !== 1) throw new Malformed('`api_version` is not 1');
  const issuers = all['issuers'];
  if (!Array.isArray(issuers)) throw new Malformed('`issuers` is not a list');
  return issuers.map((one) => {
    const issuer = fields(one, 'an issuer');
    return { kind: text(issuer, 'kind'), audience: text(issuer, 'audience', /^[^\s\p{C}]{1,512}$/u) };
  });
}
