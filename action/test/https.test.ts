// The broker over HTTPS: whom to trust, through a proxy, and for whom the token may be.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { FakeBroker } from './support/broker.js';
import { authority } from './support/certificates.js';
import { FakeProxy } from './support/proxy.js';
import { REVOKE_ROUTE, type World, world } from './support/world.js';

const ca = authority();
const certificate = ca.issue('DNS:broker.test,IP:127.0.0.1');

/** A broker over HTTPS beside a token service over HTTP, as a job has them. */
async function secureWorld(): Promise<World> {
  const it = await world({ certificate });
  const tokens = await new FakeBroker().listen();
  onTestFinished(() => tokens.close());
  Object.assign(it.job.env, tokens.tokenEnv);
  return it;
}

async function proxyTo(port: number, status?: number): Promise<FakeProxy> {
  const proxy = await new FakeProxy(port, status).listen();
  onTestFinished(() => proxy.close());
  return proxy;
}

test('with the CA as text; post still knows it', async () => {
  const { broker, job, step } = await secureWorld();
  const one = step({ 'ca-certificate': ca.ca });
  expect((await one.main()).status).toBe(0);
  const post = await one.post();
  expect(post.annotations).toEqual([]);
  expect(broker.requests(REVOKE_ROUTE)).toHaveLength(1);
  expect(job.leftovers).toBe(false);
});

test('with the CA as a file that is gone when post runs', async () => {
  const { broker, job, step } = await secureWorld();
  const file = join(job.temp, 'company-ca.pem');
  writeFileSync(file, `some words before\n${ca.ca}`);
  const one = step({ 'ca-certificate': file });
  expect((await one.main()).status).toBe(0);
  writeFileSync(file, '');
  await one.post();
  expect(broker.requests(REVOKE_ROUTE)).toHaveLength(1);
});

test('a certificate that is not trusted fails at once, without a token asked for', async () => {
  const { broker, step } = await secureWorld();
  const main = await step().main();
  expect(main.status).toBe(1);
  expect(main.ms).toBeLessThan(3000);
  expect(main.annotations[0]?.message).toContain('its certificate is not trusted');
  expect(main.annotations[0]?.message).toContain('`ca-certificate`');
  expect(broker.asked).toEqual([]);
});

test('the input replaces what is trusted otherwise', async () => {
  const { step } = await secureWorld();
  const main = await step({ 'ca-certificate': authority().ca }).main();
  expect(main.annotations[0]?.message).toContain('its certificate is not trusted');
});

test('through HTTPS_PROXY, in main and in post', async () => {
  const { broker, job, step } = await secureWorld();
  const proxy = await proxyTo(broker.port);
  job.env['HTTPS_PROXY'] = proxy.url;
  const one = step({ 'broker-url': 'https://broker.test', 'ca-certificate': ca.ca });
  const main = await one.main();
  expect(main.log).not.toContain('::error');
  expect(main.status).toBe(0);
  await one.post();
  expect(proxy.connects).toEqual(Array(3).fill('broker.test:443'));
  expect(broker.requests(REVOKE_ROUTE)).toHaveLength(1);
});

test('the name is checked through a proxy too', async () => {
  const { broker, job, step } = await secureWorld();
  job.env['HTTPS_PROXY'] = (await proxyTo(broker.port)).url;
  const main = await step({ 'broker-url': 'https://other.test', 'ca-certificate': ca.ca }).main();
  expect(main.annotations[0]?.message).toContain('its certificate is for another name than other.test');
});

test('NO_PROXY is kept', async () => {
  const { broker, job, step } = await secureWorld();
  const proxy = await proxyTo(broker.port);
  Object.assign(job.env, { HTTPS_PROXY: proxy.url, NO_PROXY: 'broker.test' });
  const main = await step({ 'broker-url': 'https://broker.test', 'ca-certificate': ca.ca, wait: '0' }).main();
  expect(main.annotations[0]?.message).toContain('the name broker.test cannot be resolved');
  expect(proxy.connects).toEqual([]);
});

test('a proxy that refuses is named', async () => {
  const { broker, job, step } = await secureWorld();
  job.env['HTTPS_PROXY'] = (await proxyTo(broker.port, 403)).url;
  const main = await step({ 'broker-url': 'https://broker.test', wait: '0' }).main();
  expect(main.annotations[0]?.message).toContain('the proxy did not let the connection through');
});

test('a remote broker may not ask for a token that is meant for somebody else', async () => {
  const { broker, job, step } = await secureWorld();
  broker.on('GET /.well-known/hoop-db-access', {
    status: 200,
    body: { api_version: 1, issuers: [{ name: 'github', kind: 'github-actions', audience: 'sts.amazonaws.com' }] },
  });
  job.env['HTTPS_PROXY'] = (await proxyTo(broker.port)).url;
  const inputs = { 'broker-url': 'https://broker.test', 'ca-certificate': ca.ca };
  const main = await step(inputs).main();
  expect(main.annotations[0]?.message).toContain('`sts.amazonaws.com`, which is not its own address');
  expect(broker.requests('POST /v1/grants')).toHaveLength(0);
  // The author of the workflow may.
  expect((await step({ ...inputs, audience: 'sts.amazonaws.com' }).main()).status).toBe(0);
});
