// Two grants in one job: apart by prefix, warned about without one, each revoked by its own post step.

import { expect, test } from 'vitest';
import { type FakeBroker, granted, revoked } from './support/broker.js';
import { REVOKE_ROUTE, world } from './support/world.js';

const SECOND_ID = 'grant_0198f0aa7c7a7d0e8a1b2c3d4e5f6072';

function second(): ReturnType<typeof granted> {
  const reply = granted({ database: 'reports' }) as { status: number; body: { grant: { id: string } } };
  reply.body.grant.id = SECOND_ID;
  return reply;
}

const deletions = (broker: FakeBroker): string[] =>
  broker.asked.filter(({ method }) => method === 'DELETE').map(({ path }) => path);

test('a prefix keeps them apart', async () => {
  const { broker, job, step } = await world({ post: [granted(), second()] });
  broker.on(`DELETE /v1/grants/${SECOND_ID}`, revoked());
  const [first, other] = [step(), step({ 'env-prefix': 'REPORTS_' })];
  const one = await first.main();
  const two = await other.main();
  expect(two.annotations).toEqual([]);
  expect(job.env['PGDATABASE']).toBe('orders');
  expect(job.env['REPORTS_PGDATABASE']).toBe('reports');
  expect(one.outputs['passfile']).not.toBe(two.outputs['passfile']);
  expect(JSON.parse(one.state['asking'] ?? '').key).not.toBe(JSON.parse(two.state['asking'] ?? '').key);

  await other.post();
  expect(job.env['REPORTS_PGPASSWORD']).toBe('');
  expect(job.env['PGPASSWORD']).not.toBe('');
  await first.post();
  expect(job.env['PGPASSWORD']).toBe('');
  expect(deletions(broker)).toEqual([`/v1/grants/${SECOND_ID}`, REVOKE_ROUTE.replace('DELETE ', '')]);
  expect(job.leftovers).toBe(false);
});

test('without one, the second step warns that it overwrites', async () => {
  const { step } = await world({ post: [granted(), second()] });
  expect((await step().main()).annotations).toEqual([]);
  const two = await step().main();
  expect(two.status).toBe(0);
  expect(two.annotations.map(({ message }) => message)).toEqual([expect.stringContaining('`env-prefix`')]);
});
