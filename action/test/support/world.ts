// What most scenarios start with: a broker that grants, a job that may ask, a step with the usual inputs.

import { onTestFinished } from 'vitest';
import { FakeBroker, GRANT_ID, granted, type Reply, revoked } from './broker.js';
import type { Certificate } from './certificates.js';
import { Job, type Step } from './runner.js';

export const REVOKE_ROUTE = `DELETE /v1/grants/${GRANT_ID}`;

export interface World {
  broker: FakeBroker;
  job: Job;
  /** A step with `scope`, `broker-url`, no login check, and these inputs. */
  step(inputs?: Record<string, string>): Step;
}

export async function world(
  options: { post?: Reply[]; revoke?: Reply[]; certificate?: Certificate } = {},
): Promise<World> {
  const broker = await new FakeBroker(options.certificate)
    .on('POST /v1/grants', ...(options.post ?? [granted()]))
    .on(REVOKE_ROUTE, ...(options.revoke ?? [revoked()]))
    .listen();
  const job = new Job(broker.tokenEnv);
  onTestFinished(async () => {
    await broker.close();
    job.remove();
  });
  return {
    broker,
    job,
    step: (inputs = {}) =>
      job.step({ scope: 'migrate', 'broker-url': broker.url, 'verify-connection': 'false', ...inputs }),
  };
}
