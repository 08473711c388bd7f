// A proxy that leads every CONNECT to one port of this machine, and remembers the names asked for.

import http from 'node:http';
import net, { type AddressInfo } from 'node:net';

export class FakeProxy {
  readonly connects: string[] = [];
  readonly #sockets = new Set<net.Socket>();
  readonly #server = http.createServer((_, response) => void response.writeHead(400).end());

  constructor(target: number, status = 200) {
    this.#server.on('connect', (request, client: net.Socket) => {
      this.connects.push(request.url ?? '');
      this.#sockets.add(client);
      client.on('error', () => undefined);
      if (status !== 200) return void client.end(`HTTP/1.1 ${status} No\r\n\r\n`);
      const upstream = net.connect(target, '127.0.0.1', () => {
        client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        client.pipe(upstream).pipe(client);
      });
      upstream.on('error', () => client.destroy());
      client.on('close', () => upstream.destroy());
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    // Connections that became tunnels are no longer the HTTP server's.
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
