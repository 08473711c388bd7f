// Stands in for undici in the bundle. @actions/http-client imports it only for getAgentDispatcher(), which nothing
// here calls; without it the bundle is small enough to be read.

export class ProxyAgent {
  constructor() {
    throw new Error('undici is not part of this bundle');
  }
}
