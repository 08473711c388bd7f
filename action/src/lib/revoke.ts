// Ends a grant: three tries in less than seven seconds, because a cancelled job gets no more than ten.

import { readTotals, type Totals } from './answer.js';
import { refusal } from './broker.js';
import type { Answer } from './http.js';
import { asProblem } from './problem.js';
import { type Clock, systemClock } from './retry.js';
import { plain } from './text.js';
import { MAY_PASS } from './token.js';

export type Ending =
  | { readonly kind: 'revoked'; readonly totals?: Totals | undefined }
  | { readonly kind: 'gone' | 'left'; readonly totals?: undefined }
  | { readonly kind: 'failed'; readonly why: string; readonly totals?: undefined };

const TRIES = 3;
const TRY_MS = 1_900;
const PAUSE_MS = 200;
/** For a request by key: how long a grant that is still being made may take to appear. */
const SETTLE_MS = 1_000;

/** Calls `ask` until the broker says that the grant is over. Never throws. */
export async function revoke(
  ask: (timeoutMs: number) => Promise<Answer>,
  by: 'grant' | 'key',
  clock: Clock = systemClock,
): Promise<Ending> {
  let ending: Ending = { kind: 'failed', why: 'not tried' };
  let looked = false;
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const tried = await once(ask);
    ending = tried.ending;
    // The request that main sent may still be under way: look once more before believing that there is no grant.
    const early: boolean = by === 'key' && ending.kind === 'gone' && !looked;
    if (!tried.again && !early) break;
    looked ||= early;
    if (tries < TRIES) await clock.sleep(early ? SETTLE_MS : PAUSE_MS);
  }
  return ending;
}

async function once(ask: (timeoutMs: number) => Promise<Answer>): Promise<{ ending: Ending; again: boolean }> {
  try {
    const answer = await ask(TRY_MS);
    if (answer.status >= 200 && answer.status < 300)
      return { ending: { kind: 'revoked', totals: totals(answer) }, again: false };
    if (answer.status === 404 || answer.status === 410) return { ending: { kind: 'gone' }, again: false };
    const { code, detail } = refusal(answer, 'that address').fields;
    return { ending: { kind: 'failed', why: plain(`${code}: ${detail}`, 300) }, again: MAY_PASS.has(answer.status) };
  } catch (thrown) {
    return { ending: { kind: 'failed', why: plain(asProblem(thrown).message, 300) }, again: true };
  }
}

/** The grant is over even where its totals cannot be read. */
function totals(answer: Answer): Totals | undefined {
  try {
    return readTotals(JSON.parse(answer.body));
  } catch {
    return undefined;
  }
}
