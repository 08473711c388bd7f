// Answers that are not of the agreed form: no half-read grant is handed on, and post revokes what may exist.

import { expect, test } from 'vitest';
import { type EndpointFields, endpoint, granted, type Reply, revoked } from './support/broker.js';
import { world } from './support/world.js';

const answer = (change: Record<string, unknown>): Reply => {
  const good = granted() as { status: number; body: Record<string, unknown> };
  return { status: 201, body: { ...good.body, ...change } };
};
const withEndpoint = (change: Partial<Record<keyof EndpointFields, unknown>>): Reply =>
  answer({ endpoint: { ...endpoint(), ...change } });

test.each<[string, Reply]>([
  ['not JSON', { status: 201, body: '<html>' }],
  ['an empty object', { status: 201, body: {} }],
  ['a list', { status: 201, body: [] }],
  ['no revoke token', answer({ revoke_token: null })],
  ['no policy', answer({ policy: undefined })],
  ['a host with a line break', withEndpoint({ host: 'a\nb' })],
  ['a host with a slash', withEndpoint({ host: '/var/run/postgresql' })],
  ['a port as text', withEndpoint({ port: '5432' })],
  ['port 0', withEndpoint({ port: 0 })],
  ['a password with a line break', withEndpoint({ password: 'hdbp_aaaaaaaa\nb' })],
  ['an unknown sslmode', withEndpoint({ sslmode: 'prefer' })],
  ['a CA that is none', withEndpoint({ ca: 'hello' })],
  ['a database with a line break', withEndpoint({ database: 'a\nb' })],
  ['too long', { status: 201, body: 'x'.repeat(1_100_000) }],
  ['a redirect', { status: 307, headers: { location: 'https://elsewhere.example.com/' } }],
])('%s', async (_, reply) => {
  const { broker, job, step } = await world({ post: [reply] });
  broker.on('DELETE /v1/grants', revoked());
  const one = step();
  const main = await one.main();
  expect(main.status).toBe(1);
  expect(main.annotations.map(({ properties }) => properties['title'])).toEqual([
    expect.stringMatching(/^No database access: (malformed-answer|broker-error)$/),
  ]);
  expect(broker.requests('POST /v1/grants')).toHaveLength(1);
  expect(main.env).toEqual({});
  expect(main.outputs).toEqual({});
  expect(main.log).not.toContain('hdbp_');

  const post = await one.post();
  expect(post.status).toBe(0);
  const [revocation] = broker.requests('DELETE /v1/grants');
  expect(revocation?.headers['idempotency-key']).toBe(
    broker.requests('POST /v1/grants')[0]?.headers['idempotency-key'],
  );
  expect(revocation?.headers['authorization']).toBeUndefined();
  expect(job.leftovers).toBe(false);
});
