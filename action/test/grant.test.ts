// The straight line: a grant, its files, environment and outputs; then its end.

import { readFileSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { GRANT_ID, idToken, PASSWORD, REQUEST_TOKEN, REVOKE_TOKEN } from './support/broker.js';
import { leaks } from './support/runner.js';
import { REVOKE_ROUTE, world } from './support/world.js';

test('a grant is asked for, hidden, saved, handed over and revoked', async () => {
  const { broker, job, step } = await world();
  const one = step({ ttl: '15m', reason: 'release 1.4' });
  const main = await one.main();
  expect(main.log).not.toContain('::error');
  expect(main.status).toBe(0);

  const [post] = broker.requests('POST /v1/grants');
  expect(JSON.parse(post?.body ?? '')).toEqual({ scope: 'migrate', ttl: '15m', reason: 'release 1.4' });
  expect(post?.headers['authorization']).toBe(`Bearer ${idToken(1)}`);
  expect(post?.headers['idempotency-key']).toMatch(/^[\w-]{43}$/);
  const [asked] = broker.requests('GET /token');
  expect(asked?.path).toBe('/token?api-version=2.0&audience=https%3A%2F%2Fbroker.test');
  expect(asked?.headers['authorization']).toBe(`Bearer ${REQUEST_TOKEN}`);

  expect(main.env).toMatchObject({
    PGHOST: '127.0.0.1',
    PGPORT: '6432',
    PGUSER: GRANT_ID,
    PGPASSWORD: PASSWORD,
    PGDATABASE: 'orders',
    PGSSLMODE: 'disable',
    DATABASE_URL: `postgresql://${GRANT_ID}:${encodeURIComponent(PASSWORD)}@127.0.0.1:6432/orders?sslmode=disable`,
  });
  expect(main.outputs).toEqual({
    'database-url': main.env['DATABASE_URL'],
    'jdbc-url': `jdbc:postgresql://127.0.0.1:6432/orders?user=${GRANT_ID}&password=hdbp_0123456789abcdefghijABCDEFGHIJ0123456789abc%2B/x&sslmode=disable`,
    host: '127.0.0.1',
    port: '6432',
    database: 'orders',
    username: GRANT_ID,
    password: PASSWORD,
    'ca-file': '',
    passfile: main.env['PGPASSFILE'],
    'service-file': main.env['PGSERVICEFILE'],
    'grant-id': GRANT_ID,
    'expires-at': '2026-11-22T10:15:00Z',
    'policy-sha': 'b5bb9d8014a0f9b1',
  });

  const passfile = main.outputs['passfile'] ?? '';
  expect(readFileSync(passfile, 'utf8')).toBe(`127.0.0.1:6432:orders:${GRANT_ID}:${PASSWORD}\n`);
  expect(statSync(passfile).mode & 0o777).toBe(0o600);
  expect(statSync(main.outputs['service-file'] ?? '').mode & 0o777).toBe(0o600);
  expect(statSync(dirname(passfile)).mode & 0o777).toBe(0o700);
  expect(readFileSync(main.outputs['service-file'] ?? '', 'utf8')).toBe(
    `[migrate]\nhost=127.0.0.1\nport=6432\ndbname=orders\nuser=${GRANT_ID}\npassfile=${passfile}\nsslmode=disable\n`,
  );

  const post2 = await one.post();
  expect(post2.status).toBe(0);
  expect(broker.requests(REVOKE_ROUTE).map(({ headers }) => headers['authorization'])).toEqual([
    `Bearer ${REVOKE_TOKEN}`,
  ]);
  expect(broker.requests('GET /token')).toHaveLength(1); // post needs no ID token
  expect(Object.keys(post2.env).sort()).toEqual(Object.keys(main.env).sort());
  expect(Object.values(post2.env).every((value) => value === '')).toBe(true);
  expect(job.leftovers).toBe(false);
  expect(post2.log).toContain(`Grant ${GRANT_ID}: revoked. 2 sessions, 4 statements, 40 rows, 0 denied.`);
});

test('secrets are hidden before anything is printed, in debug too, and are saved before files are written', async () => {
  const { job, step } = await world();
  job.env['RUNNER_DEBUG'] = '1';
  const one = step();
  const main = await one.main();
  const key = (JSON.parse(main.state['asking'] ?? '') as { key: string }).key;
  const secrets = [PASSWORD, encodeURIComponent(PASSWORD), REVOKE_TOKEN, key, idToken(1)];
  for (const secret of [...secrets, main.outputs['database-url'] ?? '', main.outputs['jdbc-url'] ?? '']) {
    expect(main.masks).toContain(secret);
  }
  expect(leaks(main, secrets)).toEqual([]);
  const kinds = main.lines.map((line) => (line.startsWith('::add-mask::') ? 'mask' : 'text'));
  expect(kinds.slice(kinds.indexOf('text'))).not.toContain('mask');
  expect(main.saved).toEqual(['asking', 'holding', 'exported']);
  expect(leaks(await one.post(), secrets)).toEqual([]);
});

test('without a place for its files the step asks for nothing', async () => {
  const { broker, job, step } = await world();
  job.env['RUNNER_TEMP'] = `${job.runnerTemp}/missing`;
  const main = await step().main();
  expect(main.status).toBe(1);
  expect(main.annotations[0]?.message).toContain('ENOENT');
  expect(broker.asked).toEqual([]);
});

test('when the files cannot be written, the grant is saved already and ends at once', async () => {
  const { broker, job, step } = await world();
  broker.before = ({ method }) => {
    if (method === 'POST') rmSync(job.runnerTemp, { recursive: true });
  };
  const main = await step().main();
  expect(main.status).toBe(1);
  expect(main.annotations[0]?.message).toContain('ENOENT');
  expect(main.saved).toEqual(['asking', 'holding']);
  expect(broker.requests(REVOKE_ROUTE)).toHaveLength(1);
  expect(main.env).toEqual({});
  expect(leaks(main, [PASSWORD, REVOKE_TOKEN])).toEqual([]);
});

test('`revoke: false` leaves the grant and says until when it lives', async () => {
  const { broker, job, step } = await world();
  const one = step({ revoke: 'false' });
  await one.main();
  const post = await one.post();
  expect(post.status).toBe(0);
  expect(broker.requests(REVOKE_ROUTE)).toHaveLength(0);
  expect(post.summary).toContain('no new connections after 2026-11-22T10&#58;15&#58;00Z');
  expect(job.leftovers).toBe(false);
});
