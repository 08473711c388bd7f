// The server's side of a PostgreSQL login, good or bad in one chosen way.

import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import net, { type AddressInfo } from 'node:net';
import tls from 'node:tls';
import type { Certificate } from './certificates.js';

export type Manner =
  | 'good'
  | 'wrong-password' // refuses the proof
  | 'impostor' // welcomes without knowing the password
  | 'trust' // welcomes without asking for one
  | 'silent' // accepts and says nothing
  | 'stuffed' // sends bytes before TLS
  | 'not-postgres'
  | 'full'; // too many connections

export class FakePostgres {
  readonly startups: string[] = [];
  goodbyes = 0;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  readonly password: string;
  readonly manner: Manner;
  readonly certificate: Certificate | undefined;

  constructor(password: string, manner: Manner = 'good', certificate?: Certificate) {
    this.password = password;
    this.manner = manner;
    this.certificate = certificate;
    this.#server = net.createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      void this.#serve(socket).catch(() => socket.destroy());
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(raw: net.Socket): Promise<void> {
    if (this.manner === 'silent') return;
    if (this.manner === 'not-postgres') return void raw.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    let socket = raw;
    let reader = read(socket);
    let startup = await reader.startup();
    if (startup.readInt32BE(0) === 80877103) {
      if (!this.certificate) {
        socket.write('N');
        return;
      }
      reader.release();
      socket.write(this.manner === 'stuffed' ? Buffer.concat([Buffer.from('S'), message('R', int32(0))]) : 'S');
      socket = new tls.TLSSocket(raw, { isServer: true, ...this.certificate });
      socket.on('error', () => undefined);
      reader = read(socket);
      startup = await reader.startup();
    }
    this.startups.push(startup.subarray(4).toString('utf8').replace(/\0/g, ' ').trim());
    await this.#logIn(socket, reader);
    for (;;) {
      if ((await reader.message()).type === 'X') this.goodbyes += 1;
    }
  }

  async #logIn(socket: net.Socket, reader: Reader): Promise<void> {
    if (this.manner === 'full') return void socket.end(error('53300', 'too many connections for this grant'));
    const ready = Buffer.concat([
      message('R', int32(0)),
      message('S', Buffer.from('server_version\u000018.0\0')),
      message('K', Buffer.concat([int32(7), int32(9)])),
      message('Z', Buffer.from('I')),
    ]);
    if (this.manner === 'trust') return void socket.write(ready);
    socket.write(message('R', Buffer.concat([int32(10), Buffer.from('SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0')])));
    const first = (await reader.message()).body.toString('utf8').replace(/^SCRAM-SHA-256\0[\s\S]{4}n,,/, '');
    const nonce = `${/r=(.*)$/.exec(first)?.[1]}${randomBytes(9).toString('base64')}`;
    const salt = randomBytes(16);
    const serverFirst = `r=${nonce},s=${salt.toString('base64')},i=4096`;
    socket.write(message('R', Buffer.concat([int32(11), Buffer.from(serverFirst)])));
    const final = (await reader.message()).body.toString('utf8');
    const signature = this.#check(first, serverFirst, final, salt);
    if (signature === undefined) return void socket.end(error('28P01', 'password authentication failed'));
    socket.write(Buffer.concat([message('R', Buffer.concat([int32(12), Buffer.from(`v=${signature}`)])), ready]));
  }

  /** The server's signature, or undefined when the client's proof is wrong. */
  #check(first: string, serverFirst: string, final: string, salt: Buffer): string | undefined {
    if (this.manner === 'impostor') return randomBytes(32).toString('base64');
    const password = this.manner === 'wrong-password' ? 'another' : this.password;
    const salted = pbkdf2Sync(password, salt, 4096, 32, 'sha256');
    const [, withoutProof = '', proof = ''] = /^(.*),p=(.*)$/.exec(final) ?? [];
    const auth = `${first},${serverFirst},${withoutProof}`;
    const stored = createHash('sha256').update(mac(salted, 'Client Key')).digest();
    const signature = mac(stored, auth);
    const key = Buffer.from(proof, 'base64').map((byte, at) => byte ^ (signature[at] ?? 0));
    if (!createHash('sha256').update(key).digest().equals(stored)) return undefined;
    return mac(mac(salted, 'Server Key'), auth).toString('base64');
  }
}

interface Reader {
  startup(): Promise<Buffer>;
  message(): Promise<{ type: string; body: Buffer }>;
  release(): void;
}

function read(socket: net.Socket): Reader {
  let bytes: Buffer = Buffer.alloc(0);
  let wake = (): void => undefined;
  const onData = (chunk: Buffer): void => {
    bytes = Buffer.concat([bytes, chunk]);
    wake();
  };
  socket.on('data', onData);
  const take = async (length: number): Promise<Buffer> => {
    while (bytes.length < length) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const taken = bytes.subarray(0, length);
    bytes = bytes.subarray(length);
    return taken;
  };
  return {
    startup: async () => take((await take(4)).readInt32BE(0) - 4),
    message: async () => {
      const head = await take(5);
      return { type: head.toString('latin1', 0, 1), body: await take(head.readInt32BE(1) - 4) };
    },
    release: () => void socket.off('data', onData),
  };
}

function message(type: string, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

function error(sqlstate: string, text: string): Buffer {
  return message('E', Buffer.from(`SFATAL\0VFATAL\0C${sqlstate}\0M${text}\0\0`));
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function mac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
