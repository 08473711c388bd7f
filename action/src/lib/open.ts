// The main step: check the inputs, ask for a grant, hide its secrets, hand it to the steps that follow.

import { randomBytes } from 'node:crypto';
import type * as toolkit from '@actions/core';
import type { Granted } from './answer.js';
import { type Broker, broker } from './broker.js';
import { endpointFailure } from './diagnose.js';
import { overwritesGrant, prefixed, variables } from './env.js';
import { endpointCa, type Files, makeDirectory, plannedDirectory, writeFiles } from './files.js';
import { send as overHttp, type Send } from './http.js';
import { type Inputs, isLoopback, readInputs } from './inputs.js';
import { mask } from './mask.js';
import { verifyConnection } from './pg.js';
import { asProblem, Problem } from './problem.js';
import { at, report } from './report.js';
import { TRY_MS, withRetries } from './retry.js';
import { revoke } from './revoke.js';
import { save } from './state.js';
import { refusalSummary, writeSummary } from './summary.js';
import { plain } from './text.js';
import { idToken } from './token.js';
import { databaseUrl, jdbcUrl } from './urls.js';

export type Core = Pick<
  typeof toolkit,
  'getInput' | 'setSecret' | 'saveState' | 'exportVariable' | 'setOutput' | 'info' | 'warning' | 'error' | 'summary'
>;

export interface Surroundings {
  readonly core: Core;
  readonly env: NodeJS.ProcessEnv;
  readonly send?: Send;
}

/** Runs the step; the answer is its exit status. */
export async function open({ core, env, send = overHttp }: Surroundings): Promise<number> {
  const read = readInputs((name) => core.getInput(name));
  if ('wrong' in read) {
    core.error(read.wrong.join('\n'), { title: 'No database access: wrong inputs' });
    return 1;
  }
  const { inputs } = read;
  try {
    const api = broker(inputs.brokerUrl, inputs.caCertificate, send);
    const { directory, key } = prepare(core, env, inputs);
    const granted = await ask(core, env, inputs, api, key, send);
    await hold(core, granted, api, () => handOver(core, env, inputs, granted, directory));
    return 0;
  } catch (thrown) {
    const problem = asProblem(thrown);
    report(core, problem);
    if (inputs.summary !== 'none') await writeSummary(core, refusalSummary(inputs.scope, problem));
    return 1;
  }
}

/** Saves what post needs before anything exists that post has to take away. */
function prepare(core: Core, env: NodeJS.ProcessEnv, inputs: Inputs): { directory: string; key: string } {
  const runnerTemp = env['RUNNER_TEMP'];
  if (!runnerTemp) {
    throw new Problem({
      code: 'no-runner',
      detail: 'RUNNER_TEMP is not set',
      fix: 'Run this inside a GitHub Actions job.',
    });
  }
  const key = randomBytes(32).toString('base64url');
  const directory = plannedDirectory(runnerTemp);
  const { brokerUrl, scope, revoke: revokes, summary, failOnDeniedStatement } = inputs;
  mask(core, key);
  save(core, { asking: { brokerUrl, key, directory, scope, revoke: revokes, summary, failOnDeniedStatement } });
  makeDirectory(directory, inputs.caCertificate);
  return { directory, key };
}

/** Asks until there is a grant or an answer that will not change. */
async function ask(
  core: Core,
  env: NodeJS.ProcessEnv,
  inputs: Inputs,
  api: Broker,
  key: string,
  send: Send,
): Promise<Granted> {
  let audience = inputs.audience;
  // A request that was sent and not answered may have made a grant all the same.
  let mayExist = false;
  try {
    return await withRetries(
      inputs.waitMs,
      async (timeoutMs) => {
        audience ??= await api.audience(timeoutMs);
        const token = await idToken(env, audience, timeoutMs, send);
        mask(core, token);
        try {
          return await api.open({ token, key, scope: inputs.scope, ttl: inputs.ttl, reason: inputs.reason }, timeoutMs);
        } catch (thrown) {
          mayExist ||= asProblem(thrown).fields.refused !== true;
          throw thrown;
        }
      },
      (line) => core.info(plain(line)),
    );
  } catch (thrown) {
    if (!mayExist) save(core, { noGrant: true });
    throw thrown;
  }
}

/** Hides and saves the grant, then runs `use`; when that fails, the grant ends at once. */
async function hold(core: Core, granted: Granted, api: Broker, use: () => Promise<void>): Promise<void> {
  const { grant, endpoint, revokeToken, policy } = granted;
  mask(core, endpoint.password, revokeToken, endpoint.url);
  const { id, database, expiresAt, endsAt } = grant;
  save(core, { holding: { id, revokeToken, database, expiresAt, endsAt, policy: `${at(policy)} (${policy.sha})` } });
  try {
    await use();
  } catch (thrown) {
    const ending = await revoke((timeoutMs) => api.revoke(id, revokeToken, timeoutMs), 'grant');
    core.info(ending.kind === 'failed' ? `Grant ${id} is still open: ${ending.why}` : `Grant ${id} was revoked again.`);
    throw thrown;
  }
}

/** Files, proof that the endpoint works, environment, outputs. */
async function handOver(
  core: Core,
  env: NodeJS.ProcessEnv,
  inputs: Inputs,
  granted: Granted,
  directory: string,
): Promise<void> {
  const { grant, endpoint } = granted;
  const { host, port } = endpoint;
  if (!endpoint.tls && !isLoopback(host)) {
    throw new Problem({
      code: 'endpoint-without-tls',
      detail: `the endpoint ${host}:${port} has no TLS, and it is not on this machine`,
      fix: 'Give the broker a certificate for its endpoint.',
    });
  }
  const ca = endpointCa(endpoint, inputs.caCertificate);
  const files = writeFiles(directory, endpoint, inputs.scope, ca);
  const url = databaseUrl(endpoint, inputs.urlScheme, inputs.urlStyle, files.caFile);
  const jdbc = jdbcUrl(endpoint, files.caFile);
  mask(core, url, jdbc);
  if (inputs.verifyConnection) {
    await verifyConnection({ ...endpoint, ca }, TRY_MS).catch((thrown: unknown) => {
      throw endpointFailure(host, port, thrown);
    });
  }
  exportEnvironment(core, env, inputs.envPrefix, variables(inputs.export, endpoint, files, url));
  setOutputs(core, granted, files, url, jdbc);
  core.info(
    plain(
      `Grant ${grant.id}: scope ${grant.scope} on ${grant.database}, at ${host}:${port}, until ${grant.expiresAt}.`,
    ),
  );
}

function exportEnvironment(core: Core, env: NodeJS.ProcessEnv, prefix: string, values: Record<string, string>): void {
  const variablesToSet = prefixed(prefix, values);
  const names = Object.keys(variablesToSet);
  if (overwritesGrant(names, env)) {
    core.warning('Another grant’s environment is overwritten. Give one of the two steps an `env-prefix`.');
  }
  save(core, { exported: names });
  for (const [name, value] of Object.entries(variablesToSet)) core.exportVariable(name, value);
}

function setOutputs(core: Core, { grant, endpoint, policy }: Granted, files: Files, url: string, jdbc: string): void {
  const outputs: Record<string, string> = {
    'database-url': url,
    'jdbc-url': jdbc,
    host: endpoint.host,
    port: String(endpoint.port),
    database: endpoint.database,
    username: endpoint.username,
    password: endpoint.password,
    'ca-file': files.caFile ?? '',
    passfile: files.passfile,
    'service-file': files.serviceFile,
    'grant-id': grant.id,
    'expires-at': grant.expiresAt,
    'policy-sha': policy.sha,
  };
  for (const [name, value] of Object.entries(outputs)) core.setOutput(name, value);
}
