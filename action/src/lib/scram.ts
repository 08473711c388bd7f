// SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's side, without channel binding.

import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

export const MECHANISM = 'SCRAM-SHA-256';
const GS2 = 'n,,';
const MAX_ITERATIONS = 1_000_000;
const derive = promisify(pbkdf2);

/** The server did not keep to the exchange, or does not know the password either. */
export class ScramError extends Error {}

/** One exchange. PostgreSQL takes the user name from the start-up message, so the one here is empty. */
export class ScramClient {
  readonly #password: string;
  readonly #nonce: string;
  readonly #first: string;
  #serverSignature: Buffer | undefined;

  constructor(password: string, nonce = randomBytes(18).toString('base64'), username = '') {
    this.#password = password.normalize('NFKC');
    this.#nonce = nonce;
    this.#first = `n=${username},r=${nonce}`;
  }

  clientFirst(): string {
    return `${GS2}${this.#first}`;
  }

  async clientFinal(serverFirst: string): Promise<string> {
    const parts = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=(\d{1,7})$/.exec(serverFirst);
    const [, nonce, salt, rounds] = parts ?? [];
    const iterations = Number(rounds);
    if (nonce === undefined || salt === undefined || !(iterations >= 1 && iterations <= MAX_ITERATIONS)) {
      throw new ScramError('the SCRAM challenge is malformed');
    }
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length) {
      throw new ScramError('the SCRAM challenge is not an answer to ours');
    }
    const salted = await derive(this.#password, Buffer.from(salt, 'base64'), iterations, 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const withoutProof = `c=${Buffer.from(GS2).toString('base64')},r=${nonce}`;
    const message = `${this.#first},${serverFirst},${withoutProof}`;
    const signature = hmac(createHash('sha256').update(clientKey).digest(), message);
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), message);
    const proof = Buffer.from(clientKey.map((byte, at) => byte ^ (signature[at] ?? 0)));
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Checks that the server knows the password's verifier too. */
  verify(serverFinal: string): void {
    const given = Buffer.from(/^v=([A-Za-z0-9+/=]+)$/.exec(serverFinal)?.[1] ?? '', 'base64');
    const due = this.#serverSignature;
    if (due === undefined || given.length !== due.length || !timingSafeEqual(given, due)) {
      throw new ScramError('the server could not prove that it knows the password');
    }
  }
}

function hmac(key: Buffer, message: string): Buffer {
  return createHmac('sha256', key).update(message).digest();
}
