// Wrong inputs: all of them are listed in one run, and nothing is asked of anybody.

import { expect, test } from 'vitest';
import { readInputs } from '../src/lib/inputs.js';
import { world } from './support/world.js';

test('every wrong input is named at once', async () => {
  const { broker, step } = await world();
  const one = step({
    scope: '',
    'broker-url': 'http://db-broker.example.com',
    ttl: '-5m',
    export: 'some',
    'env-prefix': 'GITHUB_',
    'url-style': 'jdbc',
    'url-scheme': '://',
    wait: '1m',
    'verify-connection': 'maybe',
    revoke: 'no',
    summary: 'short',
    'fail-on-denied-statement': '1',
    'ca-certificate': '/does/not/exist.pem',
  });
  const main = await one.main();
  expect(main.status).toBe(1);
  expect(main.annotations).toHaveLength(1);
  const message = main.annotations[0]?.message ?? '';
  expect(message.split('\n')).toHaveLength(13);
  for (const name of [
    'scope',
    'broker-url',
    'ttl',
    'export',
    'env-prefix',
    'url-style',
    'url-scheme',
    'wait',
    'verify-connection',
    'revoke',
    'summary',
    'fail-on-denied-statement',
    'ca-certificate',
  ]) {
    expect(message).toContain(`\`${name}\``);
  }
  expect(message).toContain('`wait` is `1m`, but it must be whole seconds from 0 to 3600');
  expect(broker.asked).toEqual([]);
  expect((await one.post()).log).toBe('');
  expect(broker.asked).toEqual([]);
});

const right = { scope: 'migrate', 'broker-url': 'https://db-broker.example.com/' };
const wrongOf = (values: Record<string, string>): string[] => {
  const read = readInputs((name) => ({ ...right, ...values })[name] ?? '');
  return 'wrong' in read ? read.wrong : [];
};

test.each([
  ['scope', 'two words'],
  ['scope', 'a\u200bb'],
  ['broker-url', 'db-broker.example.com'],
  ['broker-url', 'ftp://db-broker.example.com'],
  ['broker-url', 'https://user:secret@db-broker.example.com'],
  ['broker-url', 'https://db-broker.example.com/?x=1'],
  ['broker-url', 'http://127.0.0.1.example.com'],
  ['broker-url', 'http://localhost.example.com'],
  ['audience', 'a b'],
  ['ttl', '15'],
  ['ttl', '0m'],
  ['ttl', '1d'],
  ['reason', 'a\nb'],
  ['env-prefix', '1APP'],
  ['env-prefix', 'A-B'],
  ['env-prefix', 'runner_'],
  ['wait', '3601'],
  ['wait', '-1'],
  ['wait', '1.5'],
  ['ca-certificate', '-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----'],
  ['ca-certificate', '-----BEGIN PRIVATE KEY-----\nbm90IG9uZQ==\n-----END PRIVATE KEY-----'],
])('%s: %j is refused', (name, value) => {
  expect(wrongOf({ [name]: value })).toHaveLength(1);
  expect(wrongOf({ [name]: value })[0]).toContain(`\`${name}\``);
});

test.each([
  ['broker-url', 'http://127.0.0.1:8080'],
  ['broker-url', 'http://[::1]:8080'],
  ['broker-url', 'http://localhost:8080/db'],
  ['ttl', '1h30m'],
  ['ttl', '90s'],
  ['env-prefix', 'APP_'],
  ['wait', '0'],
  ['revoke', 'False'],
  ['url-scheme', 'postgresql+psycopg'],
])('%s: %j is accepted', (name, value) => {
  expect(wrongOf({ [name]: value })).toEqual([]);
});

test('a secret inside `broker-url` is not shown, and empty inputs stand for the defaults', () => {
  expect(wrongOf({ 'broker-url': 'https://user:secret@db-broker.example.com' })[0]).not.toContain('secret');
  const read = readInputs((name) => (right as Record<string, string>)[name] ?? '');
  expect(read).toEqual({
    inputs: {
      scope: 'migrate',
      brokerUrl: 'https://db-broker.example.com',
      export: 'all',
      envPrefix: '',
      urlStyle: 'libpq',
      urlScheme: 'postgresql',
      waitMs: 60_000,
      verifyConnection: true,
      revoke: true,
      summary: 'full',
      failOnDeniedStatement: false,
    },
  });
});

test('`fail-on-denied-statement` cannot work without a revocation', () => {
  expect(wrongOf({ 'fail-on-denied-statement': 'true', revoke: 'false' })[0]).toContain('needs `revoke: true`');
});
