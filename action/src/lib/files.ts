// The grant's private folder under RUNNER_TEMP: what libpq reads, for this user only.

import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import * as tls from 'node:tls';
import type { Endpoint } from './answer.js';

const PREFIX = 'hoop-db-access-';
const BROKER_CA = 'broker-ca.pem';

export interface Files {
  readonly passfile: string;
  readonly serviceFile: string;
  /** Absent when the endpoint has no TLS. */
  readonly caFile?: string;
}

/** A folder name that no other step uses; nothing is made yet. */
export function plannedDirectory(runnerTemp: string): string {
  return join(runnerTemp, `${PREFIX}${randomBytes(8).toString('hex')}`);
}

/** Makes the folder, and keeps in it the certificates that post needs to reach the broker. */
export function makeDirectory(directory: string, brokerCa: string | undefined): void {
  mkdirSync(directory, { mode: 0o700 });
  if (brokerCa !== undefined) writePrivate(join(directory, BROKER_CA), brokerCa);
}

/** The certificates kept by `makeDirectory`. */
export function keptBrokerCa(directory: string): string | undefined {
  try {
    return readFileSync(join(directory, BROKER_CA), 'utf8');
  } catch {
    return undefined; // none was given, or main died before it was written
  }
}

/** Which certificates vouch for the endpoint: the broker's word, the operator's, else what Node trusts by itself. */
export function endpointCa(endpoint: Endpoint, given: string | undefined): string | undefined {
  if (!endpoint.tls) return undefined;
  const told = [endpoint.ca, given].filter((pem) => pem !== undefined);
  return `${(told.length > 0 ? told : systemCertificates()).map((pem) => pem.trim()).join('\n')}\n`;
}

function systemCertificates(): readonly string[] {
  // Since Node 22.15; it includes NODE_EXTRA_CA_CERTS.
  return tls.getCACertificates?.('default') ?? tls.rootCertificates;
}

export function writeFiles(directory: string, endpoint: Endpoint, service: string, ca: string | undefined): Files {
  const caFile = ca === undefined ? undefined : join(directory, 'ca.pem');
  const passfile = join(directory, 'pgpass');
  const serviceFile = join(directory, 'pg_service.conf');
  if (caFile !== undefined && ca !== undefined) writePrivate(caFile, ca);
  writePrivate(passfile, passLine(endpoint));
  writePrivate(serviceFile, serviceSection(endpoint, service, passfile, caFile));
  return { passfile, serviceFile, ...(caFile !== undefined && { caFile }) };
}

export function removeDirectory(directory: string): void {
  // The name comes from the runner's state: remove nothing but a folder of ours.
  if (basename(directory).startsWith(PREFIX)) rmSync(directory, { recursive: true, force: true });
}

function passLine({ host, port, database, username, password }: Endpoint): string {
  const escaped = [host, String(port), database, username, password].map((part) => part.replace(/[\\:]/g, '\\$&'));
  return `${escaped.join(':')}\n`;
}

function serviceSection(endpoint: Endpoint, service: string, passfile: string, caFile: string | undefined): string {
  const lines = [
    `[${service.replace(/[^\w.-]/g, '-')}]`,
    `host=${endpoint.host}`,
    `port=${endpoint.port}`,
    `dbname=${endpoint.database}`,
    `user=${endpoint.username}`,
    `passfile=${passfile}`,
    `sslmode=${endpoint.tls ? 'verify-full' : 'disable'}`,
    ...(caFile === undefined ? [] : [`sslrootcert=${caFile}`]),
  ];
  return `${lines.join('\n')}\n`;
}

function writePrivate(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o600, flag: 'wx' });
}
