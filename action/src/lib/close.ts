// The post step: take away what main made. It warns and never fails the job, except for denied statements where the
// job's owner asked for that.

import type * as toolkit from '@actions/core';
import type { Denial, Totals } from './answer.js';
import { broker } from './broker.js';
import { keptBrokerCa, removeDirectory } from './files.js';
import { send as overHttp, type Send } from './http.js';
import { place } from './report.js';
import { type Ending, revoke } from './revoke.js';
import { type Asking, type Holding, restore } from './state.js';
import { denialWords, endingWords, grantSummary, wanted, writeSummary } from './summary.js';
import { count, plain } from './text.js';

export type Core = Pick<typeof toolkit, 'getState' | 'exportVariable' | 'info' | 'warning' | 'error' | 'summary'>;

export interface Surroundings {
  readonly core: Core;
  readonly send?: Send;
}

/** GitHub shows no more annotations of one kind for one step. */
const SHOWN_DENIALS = 10;

/** Runs the step; the answer is its exit status. */
export async function close({ core, send = overHttp }: Surroundings): Promise<number> {
  const { asking, holding, noGrant, exported } = restore(core);
  if (!asking) return 0; // main stopped at its inputs
  const ca = keptBrokerCa(asking.directory);
  for (const name of exported ?? []) core.exportVariable(name, '');
  clearFiles(core, asking.directory);
  if (noGrant) return 0;

  const api = broker(asking.brokerUrl, ca, send);
  if (!holding) {
    const ending = await revoke((timeoutMs) => api.revokeByKey(asking.key, timeoutMs), 'key');
    if (ending.kind === 'revoked') core.info('Revoked the grant that the interrupted step had asked for.');
    if (ending.kind === 'failed') core.warning(`A grant may be left open until it expires: ${ending.why}`);
    return 0;
  }
  const ending: Ending = asking.revoke
    ? await revoke((timeoutMs) => api.revoke(holding.id, holding.revokeToken, timeoutMs), 'grant')
    : { kind: 'left' };
  tell(core, asking, holding, ending);
  if (wanted(asking.summary, ending)) await writeSummary(core, grantSummary(asking.scope, holding, ending));
  return asking.failOnDeniedStatement && (ending.totals?.denied ?? 0) > 0 ? 1 : 0;
}

function clearFiles(core: Core, directory: string): void {
  try {
    removeDirectory(directory);
  } catch (thrown) {
    core.warning(`${directory} could not be removed: ${plain(String(thrown))}`);
  }
}

function tell(core: Core, asking: Asking, holding: Holding, ending: Ending): void {
  const line = `Grant ${holding.id}: ${endingWords(ending, holding)}.`;
  if (ending.kind === 'failed') core.warning(plain(line));
  else core.info(plain(ending.totals ? `${line} ${inShort(ending.totals)}` : line));
  if (ending.totals) annotate(core, asking, ending.totals);
  else if (asking.failOnDeniedStatement) {
    core.warning('Whether statements were denied is not known, so `fail-on-denied-statement` did not look.');
  }
}

function inShort({ sessions, statements, rows, masked, denied }: Totals): string {
  const sum = (counts: Readonly<Record<string, number>>): number =>
    Object.values(counts).reduce((all, number) => all + number, 0);
  return [
    count(sessions, 'session'),
    count(sum(statements), 'statement'),
    count(rows, 'row'),
    ...(sum(masked) > 0 ? [count(sum(masked), 'masked value')] : []),
    `${denied} denied.`,
  ].join(', ');
}

/** Each denial on its policy line: an error where it fails the job, else a warning. */
function annotate(core: Core, asking: Asking, { denied, denials }: Totals): void {
  const level = asking.failOnDeniedStatement ? core.error : core.warning;
  if (denied > 0 && (denials.length === 0 || denied > SHOWN_DENIALS)) {
    level(`${count(denied, 'statement')} denied in scope ${plain(asking.scope)}.`);
  }
  const room = denied > SHOWN_DENIALS ? SHOWN_DENIALS - 1 : SHOWN_DENIALS;
  for (const denial of denials.slice(0, room)) {
    level(denialText(denial), { title: `Statement denied: ${plain(denial.code, 100)}`, ...place(denial) });
  }
}

function denialText(denial: Denial): string {
  return [plain(denialWords(denial)), ...(denial.hint ? [`Fix: ${plain(denial.hint)}`] : [])].join('\n');
}
