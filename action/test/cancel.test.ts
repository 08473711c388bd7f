// A cancelled job: the runner sends SIGINT, later SIGTERM, and runs the post step all the same.

import { expect, test } from 'vitest';
import type { FakeBroker } from './support/broker.js';
import { revoked } from './support/broker.js';
import { REVOKE_ROUTE, world } from './support/world.js';

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
}

const keys = (broker: FakeBroker, route: string): unknown[] =>
  broker.requests(route).map(({ headers }) => headers['idempotency-key']);

test('main dies while the broker makes the grant: post revokes by the key', async () => {
  const { broker, job, step } = await world({ post: ['hang'] });
  // The grant is not there yet when post looks first.
  broker.on('DELETE /v1/grants', { status: 404, body: {} }, revoked());
  const one = step();
  const running = one.startMain();
  await until(() => broker.requests('POST /v1/grants').length === 1);
  running.kill('SIGINT');
  const main = await running.result;
  expect(main.signal).toBe('SIGINT');
  expect(main.saved).toEqual(['asking']);

  const post = await one.post();
  expect(post.status).toBe(0);
  expect(keys(broker, 'DELETE /v1/grants')).toEqual([
    ...keys(broker, 'POST /v1/grants'),
    ...keys(broker, 'POST /v1/grants'),
  ]);
  expect(post.log).toContain('Revoked the grant that the interrupted step had asked for.');
  expect(job.leftovers).toBe(false);
});

test('main dies before the broker saw the request: post looks, finds nothing, and is quiet', async () => {
  const { broker, step } = await world();
  broker.on('GET /token', 'hang');
  broker.on('DELETE /v1/grants', { status: 404, body: {} });
  const one = step();
  const running = one.startMain();
  await until(() => broker.requests('GET /token').length === 1);
  running.kill('SIGTERM');
  await running.result;
  const post = await one.post();
  expect([post.status, post.log]).toEqual([0, '']);
});

test('post ignores SIGINT and SIGTERM and finishes', async () => {
  const { broker, job, step } = await world({ revoke: ['hang', revoked()] });
  const one = step();
  await one.main();
  const running = one.startPost();
  await until(() => broker.requests(REVOKE_ROUTE).length === 1);
  running.kill('SIGINT');
  running.kill('SIGTERM');
  const post = await running.result;
  expect([post.status, post.signal]).toEqual([0, null]);
  expect(post.log).toContain('revoked.');
  expect(job.leftovers).toBe(false);
});
