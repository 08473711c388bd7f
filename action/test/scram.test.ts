// The published SCRAM-SHA-256 exchange (RFC 7677, section 3), and challenges that must not be answered.

import { expect, test } from 'vitest';
import { ScramClient, ScramError } from '../src/lib/scram.js';

const NONCE = 'rOprNGfwEbeRWgbNEkqO';
const SERVER_NONCE = `${NONCE}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0`;

test('the exchange of RFC 7677', async () => {
  const client = new ScramClient('pencil', NONCE, 'user');
  expect(client.clientFirst()).toBe(`n,,n=user,r=${NONCE}`);
  expect(await client.clientFinal(`r=${SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`)).toBe(
    `c=biws,r=${SERVER_NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
  );
  client.verify('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
  expect(() => client.verify('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95H4=')).toThrow(ScramError);
  expect(() => client.verify('e=invalid-proof')).toThrow(ScramError);
});

test.each([
  ['another nonce', 'r=zzz,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'],
  ['our nonce alone', `r=${NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`],
  ['no rounds', `r=${SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0`],
  ['endless rounds', `r=${SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=9999999`],
  ['an extension', `m=x,r=${SERVER_NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`],
  ['nonsense', 'hello'],
])('%s', async (_, challenge) => {
  await expect(new ScramClient('pencil', NONCE).clientFinal(challenge)).rejects.toThrow(ScramError);
});
