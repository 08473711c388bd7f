// Services that accept and never answer: the step ends in time, with a reason.

import { expect, test } from 'vitest';
import { GRANT_ID } from './support/broker.js';
import { REVOKE_ROUTE, world } from './support/world.js';

test('a broker that hangs costs no more than `wait`', async () => {
  const { step } = await world({ post: ['hang'] });
  const main = await step({ wait: '2' }).main();
  expect(main.status).toBe(1);
  expect(main.ms).toBeLessThan(4500);
  expect(main.annotations[0]?.message).toMatch(/the broker at 127\.0\.0\.1:\d+ cannot be reached: no answer in time/);
});

test('one try is cut after 10 s', async () => {
  const { broker, step } = await world();
  broker.on('GET /token', 'hang');
  const main = await step({ wait: '0' }).main();
  expect(main.status).toBe(1);
  expect(main.ms).toBeGreaterThan(9_500);
  expect(main.ms).toBeLessThan(13_000);
  expect(main.annotations[0]?.properties['title']).toBe('No database access: no-id-token');
});

test('post gives up on a hanging broker within 7 s, and the job stays green', async () => {
  const { broker, step } = await world({ revoke: ['hang'] });
  const one = step();
  await one.main();
  const post = await one.post();
  expect(post.status).toBe(0);
  expect(post.ms).toBeLessThan(7_000);
  expect(broker.requests(REVOKE_ROUTE)).toHaveLength(3);
  expect(post.annotations).toEqual([
    {
      level: 'warning',
      properties: {},
      message: expect.stringContaining(`Grant ${GRANT_ID}: not revoked (broker-unreachable`),
    },
  ]);
  expect(post.annotations[0]?.message).toContain('no new connections after 2026-11-22T10:15:00Z');
});
