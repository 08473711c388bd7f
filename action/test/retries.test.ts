// What is tried again: network errors, 429, 502, 503, 504. With a fresh token each time, and not for ever.

import { expect, test } from 'vitest';
import { Problem } from '../src/lib/problem.js';
import { retryAfter, withRetries } from '../src/lib/retry.js';
import { granted, problem, type Reply } from './support/broker.js';
import { world } from './support/world.js';

test('503, a cut connection and a proxy page, then a grant: fresh tokens, one key', async () => {
  const page: Reply = { status: 502, body: '<html>Bad Gateway</html>', headers: { 'content-type': 'text/html' } };
  const { broker, step } = await world({ post: [problem(503, 'store-unavailable'), 'cut', page, granted()] });
  const main = await step().main();
  expect(main.status).toBe(0);
  const posts = broker.requests('POST /v1/grants');
  expect(posts).toHaveLength(4);
  expect(new Set(posts.map(({ headers }) => headers['authorization'])).size).toBe(4);
  expect(new Set(posts.map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
  expect(broker.requests('GET /.well-known/hoop-db-access')).toHaveLength(1);
  expect(main.log).toContain('store-unavailable: the detail of store-unavailable; trying again in');
});

test('a connection that breaks inside the answer is tried again', async () => {
  const { broker, step } = await world({ post: ['half', granted()] });
  expect((await step().main()).status).toBe(0);
  expect(broker.requests('POST /v1/grants')).toHaveLength(2);
});

const later = (status: number, code: string, seconds: string): Reply => {
  const refusal = problem(status, code);
  return typeof refusal === 'string' ? refusal : { ...refusal, headers: { 'retry-after': seconds } };
};

test('Retry-After is kept', async () => {
  const { step } = await world({ post: [later(429, 'rate-limited', '2'), granted()] });
  const main = await step().main();
  expect(main.status).toBe(0);
  expect(main.ms).toBeGreaterThan(2000);
});

test('a Retry-After beyond `wait` fails at once and says so', async () => {
  const { broker, step } = await world({ post: [later(503, 'busy', '600')] });
  const main = await step({ wait: '5' }).main();
  expect(main.status).toBe(1);
  expect(main.ms).toBeLessThan(3000);
  expect(broker.requests('POST /v1/grants')).toHaveLength(1);
  expect(main.annotations[0]?.message).toContain('1 try in 0 s; `wait` is 5 s; it asked to come back in 600 s');
});

test('`wait` ends the tries', async () => {
  const { broker, step } = await world({ post: [problem(503, 'store-unavailable')] });
  const main = await step({ wait: '2' }).main();
  expect(main.status).toBe(1);
  expect(main.ms).toBeLessThan(4000);
  expect(broker.requests('POST /v1/grants').length).toBeGreaterThan(1);
  expect(main.annotations[0]?.properties['title']).toBe('No database access: store-unavailable');
});

test('`wait: 0` is one try', async () => {
  const { broker, step } = await world({ post: [problem(504, 'issuer-unavailable')] });
  expect((await step({ wait: '0' }).main()).status).toBe(1);
  expect(broker.requests('POST /v1/grants')).toHaveLength(1);
});

test('the token service is tried again too', async () => {
  const { broker, step } = await world();
  broker.on('GET /token', 'cut', { status: 503 }, { status: 200, body: { value: 'a.b.c' } });
  expect((await step().main()).status).toBe(0);
  expect(broker.requests('GET /token')).toHaveLength(3);
});

test.each([500, 501, 505])('HTTP %i is not tried again', async (status) => {
  const { broker, step } = await world({ post: [{ status, body: 'oops' }] });
  const main = await step().main();
  expect(main.status).toBe(1);
  expect(broker.requests('POST /v1/grants')).toHaveLength(1);
  expect(main.annotations[0]?.message).toContain(`answered with HTTP ${status}`);
});

test('pauses double, are half chance, and stop before `wait` is over', async () => {
  let now = 0;
  const pauses: number[] = [];
  const clock = {
    now: () => now,
    sleep: async (ms: number) => {
      pauses.push(ms);
      now += ms;
    },
    random: () => 0,
  };
  const tries = withRetries(
    60_000,
    async () => {
      throw new Problem({ code: 'busy', detail: 'busy', transient: {} });
    },
    () => undefined,
    clock,
  );
  await expect(tries).rejects.toThrow('`wait` is 60 s');
  expect(pauses.slice(0, 6)).toEqual([250, 500, 1000, 2000, 4000, 4000]);
  expect(now).toBeLessThanOrEqual(60_000);
});

test('Retry-After in both forms', () => {
  expect(retryAfter('7')).toBe(7000);
  expect(retryAfter('Sun, 22 Nov 2026 10:00:30 GMT', Date.parse('2026-11-22T10:00:00Z'))).toBe(30_000);
  expect(retryAfter('Sun, 22 Nov 2026 09:00:00 GMT', Date.parse('2026-11-22T10:00:00Z'))).toBe(0);
  expect(retryAfter('soon')).toBeUndefined();
  expect(retryAfter(undefined)).toBeUndefined();
});
