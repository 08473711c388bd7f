// The environment that later steps see, and what takes it away again.

import type { Endpoint } from './answer.js';
import type { Files } from './files.js';
import type { Export } from './inputs.js';

/** Variable names and values, without the prefix. */
export function variables(wish: Export, endpoint: Endpoint, files: Files, url: string): Record<string, string> {
  const libpq: Record<string, string> = {
    PGHOST: endpoint.host,
    PGPORT: String(endpoint.port),
    PGUSER: endpoint.username,
    PGPASSWORD: endpoint.password,
    PGDATABASE: endpoint.database,
    PGSSLMODE: endpoint.tls ? 'verify-full' : 'disable',
    ...(files.caFile !== undefined && { PGSSLROOTCERT: files.caFile }),
    PGPASSFILE: files.passfile,
    PGSERVICEFILE: files.serviceFile,
  };
  return {
    ...((wish === 'all' || wish === 'libpq') && libpq),
    ...((wish === 'all' || wish === 'url') && { DATABASE_URL: url }),
  };
}

/** The same with the prefix in front of each name. */
export function prefixed(prefix: string, values: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix}${name}`, value]));
}

/** Whether another grant's credential stands where this one's will go. */
export function overwritesGrant(names: readonly string[], env: NodeJS.ProcessEnv): boolean {
  return names.some((name) => /(^|:)hdbp_/.test(env[name] ?? ''));
}
