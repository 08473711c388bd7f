// The action against a running broker and a real PostgreSQL, started by whoever calls `npm run test:real`:
//
//   HOOP_TEST_BROKER_URL  the broker's address
//   HOOP_TEST_TOKEN_URL   ACTIONS_ID_TOKEN_REQUEST_URL of an issuer that the broker trusts
//   HOOP_TEST_TOKEN       ACTIONS_ID_TOKEN_REQUEST_TOKEN for it
//   HOOP_TEST_SCOPE       a scope that lets this job run `SELECT 1` and nothing that drops tables
//   HOOP_TEST_CA          (optional) PEM text or path of the CA of the broker's certificates
//   HOOP_TEST_AUDIENCE    (optional) when the broker's published audience is not its own address

import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { type Answer, type Request, send } from '../src/lib/http.js';
import { Job, leaks, type Result, type Running, type Step } from './support/runner.js';

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: the real test needs a running broker, see test/real.test.ts`);
  return value;
}

const brokerUrl = required('HOOP_TEST_BROKER_URL');
const scope = required('HOOP_TEST_SCOPE');
const tokenEnv = {
  ACTIONS_ID_TOKEN_REQUEST_URL: required('HOOP_TEST_TOKEN_URL'),
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: required('HOOP_TEST_TOKEN'),
};

function newJob(): { job: Job; step(inputs?: Record<string, string>): Step } {
  const job = new Job(tokenEnv);
  onTestFinished(() => job.remove());
  const optional = {
    ...(process.env['HOOP_TEST_CA'] && { 'ca-certificate': process.env['HOOP_TEST_CA'] }),
    ...(process.env['HOOP_TEST_AUDIENCE'] && { audience: process.env['HOOP_TEST_AUDIENCE'] }),
  };
  return { job, step: (inputs = {}) => job.step({ scope, 'broker-url': brokerUrl, ...optional, ...inputs }) };
}

/** A client that knows nothing but what the step exported. */
function client(env: Record<string, string>): pg.Client {
  const { PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE, PGSSLROOTCERT } = env;
  const made = new pg.Client({
    host: PGHOST,
    port: Number(PGPORT),
    user: PGUSER,
    password: PGPASSWORD,
    database: PGDATABASE,
    ssl: PGSSLMODE === 'verify-full' && { ca: readFileSync(PGSSLROOTCERT ?? '', 'utf8') },
    connectionTimeoutMillis: 10_000,
  });
  made.on('error', () => undefined); // the broker cuts what is still open at the end
  return made;
}

function secretsOf(main: Result): string[] {
  const { key } = JSON.parse(main.state['asking'] ?? '{}') as { key: string };
  const { revokeToken } = JSON.parse(main.state['holding'] ?? '{}') as { revokeToken: string };
  return [main.outputs['password'] ?? '', revokeToken, key];
}

function expectNoLeak(main: Result, result: Result): void {
  const secrets = secretsOf(main);
  expect(secrets.every((secret) => secret.length > 20)).toBe(true);
  expect(leaks(result, secrets)).toEqual([]);
  expect(secrets.some((secret) => result.summary.includes(secret))).toBe(false);
}

test('a grant works, denies, is told about, and is dead after post', async () => {
  const { job, step } = newJob();
  const one = step({ reason: 'the action’s own test' });
  const main = await one.main();
  expect(main.log).not.toContain('::error');
  expect(main.status).toBe(0);
  expectNoLeak(main, main);
  const masks = main.lines.flatMap((line, at) => (line.startsWith('::add-mask::') ? [at] : []));
  expect(main.masks).toEqual(expect.arrayContaining([...secretsOf(main), main.outputs['database-url']]));
  expect(Math.max(...masks)).toBe(masks.length - 1); // nothing is printed before the last mask

  const open = client(job.env);
  await open.connect();
  expect((await open.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  const denied = await open.query('CREATE TABLE public.hoop_action_test (id int)').catch((error: unknown) => error);
  expect(denied).toMatchObject({ code: '42501', message: expect.stringMatching(/denied by .+:\d+/) });
  expect((await open.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);

  const ended = new Promise((resolve) => open.once('end', resolve));
  const post = await one.post();
  expect(post.status).toBe(0);
  expectNoLeak(main, post);
  expect(post.log).toMatch(/: revoked\. .*, 1 denied\./);
  expect(post.annotations.map(({ level }) => level)).toEqual(['warning']);
  expect(post.annotations[0]?.properties['file']).toBeTruthy();
  expect(Number(post.annotations[0]?.properties['line'])).toBeGreaterThan(0);
  expect(post.summary).toContain('#### Denied statements');
  expect(post.summary).toContain('| `select` |');
  expect(job.env['PGPASSWORD']).toBe('');
  expect(existsSync(main.outputs['passfile'] ?? '')).toBe(false);

  await ended; // the open session was cut
});

test('the password is dead after post, not only the path to it', async () => {
  const { job, step } = newJob();
  const one = step();
  await one.main();
  const ca = readFileSync(job.env['PGSSLROOTCERT'] || '/dev/null', 'utf8');
  const before = { ...job.env };
  await one.post();
  const late = new pg.Client({
    host: before['PGHOST'],
    port: Number(before['PGPORT']),
    user: before['PGUSER'],
    password: before['PGPASSWORD'],
    database: before['PGDATABASE'],
    ssl: before['PGSSLMODE'] === 'verify-full' && { ca },
  });
  await expect(late.connect()).rejects.toMatchObject({ code: expect.stringMatching(/^(28|57)/) });
});

test('a denied statement fails the job that asks for it', async () => {
  const { job, step } = newJob();
  const one = step({ 'fail-on-denied-statement': 'true', summary: 'on-denial' });
  await one.main();
  const open = client(job.env);
  await open.connect();
  await expect(open.query('CREATE TABLE public.hoop_action_test (id int)')).rejects.toMatchObject({ code: '42501' });
  await open.end();
  const post = await one.post();
  expect(post.status).toBe(1);
  expect(post.annotations.map(({ level }) => level)).toEqual(['error']);
});

test('a scope that does not exist is refused with a reason', async () => {
  const { step } = newJob();
  const main = await step({ scope: `${scope}-of-nobody` }).main();
  expect(main.status).toBe(1);
  expect(main.annotations[0]?.properties['title']).toBe('Database access refused: scope-unknown');
  expect(main.env).toEqual({});
});

test('a step that is killed before it hears of its grant: post ends that grant', async () => {
  const { job } = newJob();
  let running: Running | undefined;
  const opened: string[] = [];
  const relay = await relayTo(brokerUrl, (request, answer) => {
    if (request.method !== 'POST') return true;
    opened.push(answer.body);
    running?.kill('SIGINT');
    return false; // the answer never reaches the step
  });
  const one = job.step({ scope, 'broker-url': relay });
  running = one.startMain();
  expect((await running.result).signal).toBe('SIGINT');
  expect(opened).toHaveLength(1);
  const { endpoint } = JSON.parse(opened[0] ?? '') as { endpoint: Record<string, string> };

  const post = await one.post();
  expect(post.status).toBe(0);
  expect(post.log).toContain('Revoked the grant that the interrupted step had asked for.');
  await expect(
    new pg.Client({
      host: endpoint['host'],
      port: Number(endpoint['port']),
      user: endpoint['username'],
      password: endpoint['password'],
      database: endpoint['database'],
      ssl: endpoint['ca'] ? { ca: endpoint['ca'] } : endpoint['sslmode'] === 'verify-full',
    }).connect(),
  ).rejects.toMatchObject({ code: expect.stringMatching(/^(28|57)/) });
});

/** An address on this machine that passes requests on to the broker; `pass` decides whether the answer comes back. */
async function relayTo(
  target: string,
  pass: (request: http.IncomingMessage, answer: Answer) => boolean,
): Promise<string> {
  const given = process.env['HOOP_TEST_CA'];
  const ca = given && !given.includes('-----BEGIN') ? readFileSync(given, 'utf8') : given;
  const server = http.createServer(async (request, response) => {
    const body = (await request.toArray()).join('');
    const names = ['authorization', 'idempotency-key', 'content-type', 'accept'];
    const headers = Object.fromEntries(
      names.flatMap((name) => (request.headers[name] ? [[name, String(request.headers[name])]] : [])),
    );
    const method = request.method as Request['method'];
    const url = `${target.replace(/\/+$/, '')}${request.url}`;
    const answer = await send({ method, url, headers, timeoutMs: 10_000, ca, ...(body && { body }) });
    if (!pass(request, answer)) return;
    response.writeHead(answer.status, { 'content-type': answer.headers['content-type'] ?? '' }).end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
