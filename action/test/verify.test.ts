// `verify-connection`: one real login, and for each way it can fail a diagnosis and a revoked grant.

import { expect, onTestFinished, test } from 'vitest';
import { type EndpointFields, granted, PASSWORD } from './support/broker.js';
import { authority } from './support/certificates.js';
import { FakePostgres, type Manner } from './support/postgres.js';
import { REVOKE_ROUTE, world } from './support/world.js';

const ca = authority();
const rightName = ca.issue('DNS:localhost,IP:127.0.0.1');

async function database(
  manner: Manner,
  certificate = undefined as typeof rightName | undefined,
): Promise<FakePostgres> {
  const server = await new FakePostgres(PASSWORD, manner, certificate).listen();
  onTestFinished(() => server.close());
  return server;
}

async function openWith(endpoint: Partial<EndpointFields>, inputs: Record<string, string> = {}) {
  const { broker, step } = await world({ post: [granted(endpoint)] });
  const main = await step({ 'verify-connection': 'true', ...inputs }).main();
  return { main, revocations: broker.requests(REVOKE_ROUTE).length };
}

const secure = { sslmode: 'verify-full', ca: ca.ca } as const;

test('over TLS with SCRAM, and a goodbye', async () => {
  const server = await database('good', rightName);
  const { main, revocations } = await openWith({ ...secure, host: 'localhost', port: server.port });
  expect(main.log).not.toContain('::error');
  expect([main.status, revocations, server.goodbyes]).toEqual([0, 0, 1]);
  expect(server.startups).toEqual([
    expect.stringMatching(/^user grant_\w+ database orders application_name hoop-db-access/),
  ]);
  expect(main.env['PGSSLMODE']).toBe('verify-full');
  expect(main.env['PGSSLROOTCERT']).toBe(main.outputs['ca-file']);
});

test('over TLS to an address', async () => {
  const server = await database('good', rightName);
  expect((await openWith({ ...secure, port: server.port })).main.status).toBe(0);
});

test('without TLS on this machine', async () => {
  const server = await database('good');
  expect((await openWith({ port: server.port })).main.status).toBe(0);
});

test('the `ca-certificate` input vouches for the endpoint too', async () => {
  const server = await database('good', rightName);
  const { main } = await openWith({ sslmode: 'verify-full', port: server.port }, { 'ca-certificate': ca.ca });
  expect(main.status).toBe(0);
});

test.each<[Manner, boolean, string, string]>([
  ['wrong-password', true, 'endpoint-login-refused', '28P01: password authentication failed'],
  ['full', true, 'endpoint-refused', '53300: too many connections for this grant'],
  ['impostor', true, 'endpoint-not-postgresql', 'could not prove that it knows the password'],
  ['trust', true, 'endpoint-not-postgresql', 'it wants a login other than SCRAM-SHA-256'],
  ['stuffed', true, 'endpoint-not-postgresql', 'sent bytes before TLS was set up'],
  ['good', false, 'endpoint-not-postgresql', 'it does not offer TLS'],
  ['not-postgres', true, 'endpoint-not-postgresql', 'it does not offer TLS'],
])('a server that is %s (certificate: %s): %s', async (manner, tls, code, words) => {
  const server = await database(manner, tls ? rightName : undefined);
  const { main, revocations } = await openWith({ ...secure, port: server.port });
  expect([main.status, revocations]).toEqual([1, 1]);
  expect(main.annotations[0]?.properties['title']).toBe(`No database access: ${code}`);
  expect(main.annotations[0]?.message).toContain(words);
  expect(main.env).toEqual({});
  expect(main.outputs).toEqual({});
});

test('a certificate for another name', async () => {
  const server = await database('good', ca.issue('DNS:other.example.com'));
  const { main, revocations } = await openWith({ ...secure, host: 'localhost', port: server.port });
  expect([main.status, revocations]).toEqual([1, 1]);
  expect(main.annotations[0]?.message).toContain('its certificate is for another name than localhost');
});

test('a certificate of another CA', async () => {
  const server = await database('good', authority().issue('IP:127.0.0.1'));
  const { main, revocations } = await openWith({ ...secure, port: server.port });
  expect([main.status, revocations]).toEqual([1, 1]);
  expect(main.annotations[0]?.properties['title']).toBe('No database access: endpoint-not-trusted');
  expect(main.annotations[0]?.message).toContain('its certificate is not trusted');
});

test('nothing listens', async () => {
  const server = await database('good');
  const { port } = server;
  await server.close();
  const { main, revocations } = await openWith({ port });
  expect([main.status, revocations]).toEqual([1, 1]);
  expect(main.annotations[0]?.message).toContain('the connection was refused');
  expect(main.log).toContain('was revoked again');
});

test('a name that does not exist', async () => {
  const { main, revocations } = await openWith({ ...secure, host: 'endpoint.invalid' });
  expect([main.status, revocations]).toEqual([1, 1]);
  expect(main.annotations[0]?.message).toContain('the name endpoint.invalid cannot be resolved');
});

test('silence', async () => {
  const server = await database('silent');
  const { main, revocations } = await openWith({ port: server.port });
  expect([main.status, revocations]).toEqual([1, 1]);
  expect(main.ms).toBeLessThan(13_000);
  expect(main.annotations[0]?.message).toContain('no answer in time');
});

test('an endpoint without TLS elsewhere is not used, verified or not', async () => {
  const { main, revocations } = await openWith({ host: 'db.example.com' }, { 'verify-connection': 'false' });
  expect([main.status, revocations]).toEqual([1, 1]);
  expect(main.annotations[0]?.properties['title']).toBe('No database access: endpoint-without-tls');
});
