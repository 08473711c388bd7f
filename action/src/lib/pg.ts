// One PostgreSQL login and nothing more: TLS, start-up, SCRAM, ready, goodbye. It proves that later steps can connect.

import * as net from 'node:net';
import * as tls from 'node:tls';
import { TimedOut } from './http.js';
import { MECHANISM, ScramClient, ScramError } from './scram.js';

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
  /** The certificates to trust; undefined means no TLS. */
  readonly ca: string | undefined;
}

/** The server's own ErrorResponse. */
export class ServerRefused extends Error {
  readonly sqlstate: string;

  constructor(sqlstate: string, message: string) {
    super(message);
    this.sqlstate = sqlstate;
  }
}

/** What answers is not a PostgreSQL server as we need it. */
export class Unexpected extends Error {}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
const PROTOCOL_3 = 196608;
const MAX_MESSAGE = 65536;

/** Logs in once; throws the reason when that fails. */
export async function verifyConnection(target: Target, timeoutMs: number): Promise<void> {
  const socket = net.connect({ host: target.host, port: target.port, noDelay: true });
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TimedOut(timeoutMs)), timeoutMs);
  });
  try {
    await Promise.race([visit(new Wire(socket), socket, target), tooLate]);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

async function visit(plain: Wire, socket: net.Socket, target: Target): Promise<void> {
  const wire = target.ca === undefined ? plain : await encrypt(plain, socket, target.host, target.ca);
  await logIn(wire, target);
  await wire.leave();
}

async function encrypt(plain: Wire, socket: net.Socket, host: string, ca: string): Promise<Wire> {
  plain.raw(SSL_REQUEST);
  const answer = await plain.take(1);
  if (answer.toString('latin1') !== 'S') throw new Unexpected('it does not offer TLS');
  // Bytes that came along with the answer are not protected by TLS and must not be read as if they were.
  if (!plain.release()) throw new Unexpected('it sent bytes before TLS was set up');
  const name = net.isIP(host) ? {} : { servername: host };
  return new Wire(tls.connect({ socket, host, ca, minVersion: 'TLSv1.2', ...name }));
}

async function logIn(wire: Wire, { username, database, password }: Target): Promise<void> {
  const words = ['user', username, 'database', database, 'application_name', 'hoop-db-access verify-connection', ''];
  wire.send('', Buffer.concat([int32(PROTOCOL_3), ...words.map(cString)]));
  const scram = new ScramClient(password);
  let proved = false;
  for (;;) {
    const { type, body } = await wire.message();
    if (type === 'E') throw refused(body);
    if (type === 'Z' && proved) return;
    if (type === 'R') proved = await authenticate(wire, scram, body, proved);
    // Whatever else a server says between login and readiness (parameters, cancel key, notices) is of no interest.
    else if (!proved || !'SKN'.includes(type)) throw new Unexpected(`message \`${printable(type)}\` during the login`);
  }
}

/** One authentication message; true once the server has proved itself. */
async function authenticate(wire: Wire, scram: ScramClient, body: Buffer, proved: boolean): Promise<boolean> {
  const kind = body.length >= 4 ? body.readInt32BE(0) : -1;
  const rest = body.subarray(4).toString('utf8');
  try {
    if (kind === 10 && rest.split('\0').includes(MECHANISM)) {
      const first = Buffer.from(scram.clientFirst());
      wire.send('p', Buffer.concat([cString(MECHANISM), int32(first.length), first]));
      return false;
    }
    if (kind === 11) {
      wire.send('p', Buffer.from(await scram.clientFinal(rest)));
      return false;
    }
    if (kind === 12) {
      scram.verify(rest);
      return true;
    }
  } catch (thrown) {
    throw thrown instanceof ScramError ? new Unexpected(thrown.message) : thrown;
  }
  // "Welcome" from a server that did not prove itself is worth nothing.
  if (kind === 0 && proved) return true;
  throw new Unexpected(`it wants a login other than ${MECHANISM} (authentication ${kind})`);
}

function refused(body: Buffer): ServerRefused {
  const fields = new Map<string, string>();
  for (const field of body.toString('utf8').split('\0')) {
    const code = field.slice(0, 1);
    if (code && !fields.has(code)) fields.set(code, field.slice(1));
  }
  const said = [fields.get('M') ?? 'no message', fields.get('D'), fields.get('H')].filter(Boolean).join('. ');
  return new ServerRefused(fields.get('C') ?? 'XX000', said);
}

/** A socket, read by the message. */
class Wire {
  readonly #socket: net.Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #failure: Error | undefined;
  #wake: () => void = () => undefined;
  readonly #onData = (chunk: Buffer): void => {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    this.#wake();
  };

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('data', this.#onData);
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(Object.assign(new Error('the connection was cut'), { code: 'ECONNRESET' })));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake();
  }

  async take(length: number): Promise<Buffer> {
    while (this.#bytes.length < length) {
      if (this.#failure) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }

  async message(): Promise<{ type: string; body: Buffer }> {
    const head = await this.take(5);
    const type = head.toString('latin1', 0, 1);
    const length = head.readInt32BE(1);
    if (length < 4 || length > MAX_MESSAGE) throw new Unexpected('its answer is not PostgreSQL’s protocol');
    return { type, body: await this.take(length - 4) };
  }

  /** An empty type makes the start-up message, which has none. */
  send(type: string, body: Buffer): void {
    this.raw(Buffer.concat([Buffer.from(type, 'latin1'), int32(body.length + 4), body]));
  }

  raw(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Says goodbye, so that the server does not log a lost connection. */
  leave(): Promise<void> {
    return new Promise((resolve) => this.#socket.end(Buffer.from([0x58, 0, 0, 0, 4]), resolve));
  }

  /** Stops reading, so that TLS can take over; false when unread bytes are left. */
  release(): boolean {
    this.#socket.off('data', this.#onData);
    return this.#bytes.length === 0;
  }
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'utf8');
}

function printable(type: string): string {
  return /^[\x21-\x7e]$/.test(type) ? type : '?';
}
