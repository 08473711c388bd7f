// The job's ID token: who may not ask, answers without one, and which audience it is for.

import { expect, test } from 'vitest';
import type { Reply } from './support/broker.js';
import { world } from './support/world.js';

test('a job without the permission is told what to add', async () => {
  const { broker, job, step } = await world();
  delete job.env['ACTIONS_ID_TOKEN_REQUEST_TOKEN'];
  job.env['GITHUB_EVENT_NAME'] = 'pull_request';
  const one = step();
  const main = await one.main();
  expect(main.status).toBe(1);
  expect(main.annotations[0]?.properties['title']).toBe('No database access: no-id-token');
  expect(main.annotations[0]?.message).toContain('permissions: { id-token: write, contents: read }');
  expect(main.annotations[0]?.message).toContain('from a fork');
  expect(broker.requests('POST /v1/grants')).toHaveLength(0);
  await one.post();
  expect(broker.requests('DELETE /v1/grants')).toHaveLength(0);
});

test.each<[string, Reply]>([
  ['no JSON', { status: 200, body: 'sorry' }],
  ['no token', { status: 200, body: { count: 0 } }],
  ['something else than a token', { status: 200, body: { value: 'abc' } }],
  ['a refusal', { status: 403, body: {} }],
])('%s from the token service is final', async (_, reply) => {
  const { broker, step } = await world();
  broker.on('GET /token', reply);
  const main = await step().main();
  expect(main.status).toBe(1);
  expect(main.annotations[0]?.properties['title']).toBe('No database access: no-id-token');
  expect(broker.requests('GET /token')).toHaveLength(1);
});

test('the `audience` input spares the discovery', async () => {
  const { broker, step } = await world();
  await step({ audience: 'my broker?'.replace(' ', '-') }).main();
  expect(broker.requests('GET /.well-known/hoop-db-access')).toHaveLength(0);
  expect(broker.requests('GET /token')[0]?.path).toBe('/token?api-version=2.0&audience=my-broker%3F');
});

const github = (audience: string) => ({ name: audience, kind: 'github-actions', audience });

test.each([
  ['none', [{ name: 'gitlab', kind: 'gitlab', audience: 'a' }], 'names 0 audiences'],
  ['two', [github('a'), github('b')], 'names 2 audiences'],
])('a broker with %s for GitHub leaves the choice to the author', async (_, issuers, words) => {
  const { broker, step } = await world();
  broker.on('GET /.well-known/hoop-db-access', { status: 200, body: { api_version: 1, issuers } });
  const main = await step().main();
  expect(main.annotations[0]?.message).toContain(words);
  expect(main.annotations[0]?.message).toContain('Set the `audience` input');
});

test('two issuers with one audience need no choice', async () => {
  const { broker, step } = await world();
  broker.on('GET /.well-known/hoop-db-access', {
    status: 200,
    body: { api_version: 1, issuers: [github('a'), github('a'), { name: 'l', kind: 'gitlab', audience: 'b' }] },
  });
  expect((await step().main()).status).toBe(0);
});

test('an address where no broker is', async () => {
  const { broker, step } = await world();
  const main = await step({ 'broker-url': `${broker.url}/elsewhere` }).main();
  expect(main.annotations[0]?.message).toContain('Check `broker-url`: the broker’s API is not there.');
});

test('a broker of another API version', async () => {
  const { broker, step } = await world();
  broker.on('GET /.well-known/hoop-db-access', { status: 200, body: { api_version: 2, issuers: [] } });
  expect((await step().main()).annotations[0]?.message).toContain('`api_version` is not 1');
});
