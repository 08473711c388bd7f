// The post step against a broker that is not at its best.

import { expect, test } from 'vitest';
import { problem, type Reply, revoked } from './support/broker.js';
import { REVOKE_ROUTE, world } from './support/world.js';

async function endWith(...revoke: Reply[]) {
  const { broker, step } = await world({ revoke });
  const one = step();
  await one.main();
  const post = await one.post();
  return { post, tries: broker.requests(REVOKE_ROUTE).length };
}

test('two failures, then success', async () => {
  const { post, tries } = await endWith(problem(503, 'store-unavailable'), 'cut', revoked());
  expect([post.status, tries]).toEqual([0, 3]);
  expect(post.annotations).toEqual([]);
  expect(post.log).toContain('revoked. 2 sessions');
});

test.each([404, 410])('HTTP %i means that it is over already', async (status) => {
  const { post, tries } = await endWith(problem(status, 'grant-unknown'));
  expect([post.status, tries]).toEqual([0, 1]);
  expect(post.annotations).toEqual([]);
  expect(post.log).toContain('had already ended');
});

test('a refusal is not tried again; it warns', async () => {
  const { post, tries } = await endWith(problem(401, 'not-authorised'));
  expect([post.status, tries]).toEqual([0, 1]);
  expect(post.annotations.map(({ level }) => level)).toEqual(['warning']);
  expect(post.summary).toContain('not revoked');
});

test('three failures warn and leave the job green', async () => {
  const { post, tries } = await endWith('cut');
  expect([post.status, tries]).toEqual([0, 3]);
  expect(post.annotations.map(({ level }) => level)).toEqual(['warning']);
});

test('totals that cannot be read do not spoil the revocation', async () => {
  const { post } = await endWith({ status: 200, body: { grant: {}, totals: { sessions: 'many' } } });
  expect(post.status).toBe(0);
  expect(post.annotations).toEqual([]);
  expect(post.log).toContain('revoked.');
});
