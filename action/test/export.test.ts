// What later steps see, by `export`, `env-prefix`, `url-style` and `url-scheme`.

import { expect, test } from 'vitest';
import { databaseUrl, jdbcUrl } from '../src/lib/urls.js';
import { world } from './support/world.js';

const LIBPQ = ['PGDATABASE', 'PGHOST', 'PGPASSFILE', 'PGPASSWORD', 'PGPORT', 'PGSERVICEFILE', 'PGSSLMODE', 'PGUSER'];

test.each([
  [{}, ['DATABASE_URL', ...LIBPQ]],
  [{ export: 'libpq' }, LIBPQ],
  [{ export: 'url', 'env-prefix': 'APP_' }, ['APP_DATABASE_URL']],
  [{ export: 'none' }, []],
])('%j exports %j', async (inputs: Record<string, string>, names) => {
  const { step } = await world();
  const main = await step(inputs).main();
  expect(main.status).toBe(0);
  expect(Object.keys(main.env).sort()).toEqual(names);
  expect(main.outputs['database-url']).toContain('postgresql://'); // outputs are there in any case
});

const endpoint = {
  host: 'db.example.com',
  port: 5432,
  database: 'orders/eu',
  username: 'grant_1',
  password: 'hdbp_a+b/c',
  tls: true,
  url: '',
};
const base = 'postgresql://grant_1:hdbp_a%2Bb%2Fc@db.example.com:5432/orders%2Feu';

test.each([
  ['libpq', `${base}?sslmode=verify-full&sslrootcert=/tmp/a%20b/ca.pem`],
  ['verify-full', `${base}?sslmode=verify-full`],
  ['require', `${base}?sslmode=require`],
  ['none', base],
] as const)('url-style %s', (style, url) => {
  expect(databaseUrl(endpoint, 'postgresql', style, '/tmp/a b/ca.pem')).toBe(url);
});

test('schemes, IPv6 and JDBC', () => {
  expect(databaseUrl({ ...endpoint, host: '::1' }, 'postgresql+psycopg', 'none', undefined)).toBe(
    'postgresql+psycopg://grant_1:hdbp_a%2Bb%2Fc@[::1]:5432/orders%2Feu',
  );
  expect(jdbcUrl(endpoint, '/tmp/ca.pem')).toBe(
    'jdbc:postgresql://db.example.com:5432/orders%2Feu?user=grant_1&password=hdbp_a%2Bb/c&sslmode=verify-full&sslrootcert=/tmp/ca.pem',
  );
});
