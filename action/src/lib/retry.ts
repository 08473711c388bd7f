// Tries again what may succeed later, until the time the job is willing to wait is over. Anything else fails at once:
// a denial stays a denial.

import { asProblem, Problem } from './problem.js';

/** What one try may take at most. */
export const TRY_MS = 10_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 8_000;
const SHORTEST_TRY_MS = 1_000;

export interface Clock {
  now(): number;
  sleep(ms: number): Promise<void>;
  /** From 0 (inclusive) to 1. */
  random(): number;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  random: Math.random,
};

/** Runs `attempt` until it succeeds, fails for good, or `waitMs` is over. It is told how long one request may take. */
export async function withRetries<T>(
  waitMs: number,
  attempt: (timeoutMs: number) => Promise<T>,
  note: (line: string) => void,
  clock: Clock = systemClock,
): Promise<T> {
  const start = clock.now();
  const left = (): number => waitMs - (clock.now() - start);
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt(waitMs === 0 ? TRY_MS : Math.min(TRY_MS, Math.max(SHORTEST_TRY_MS, left())));
    } catch (thrown) {
      const problem = asProblem(thrown);
      const { transient } = problem.fields;
      if (!transient) throw problem;
      const pause = Math.max(jittered(tries, clock), transient.retryAfterMs ?? 0);
      if (pause >= left()) throw exhausted(problem, tries, clock.now() - start, waitMs);
      note(`${problem.message}; trying again in ${(pause / 1000).toFixed(1)} s`);
      await clock.sleep(pause);
    }
  }
}

/** Doubles from try to try; half of it is chance, so that the jobs of a matrix do not come back together. */
function jittered(tries: number, clock: Clock): number {
  const full = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (tries - 1));
  return full * (0.5 + clock.random() / 2);
}

function exhausted(last: Problem, tries: number, spentMs: number, waitMs: number): Problem {
  const spent = `${tries === 1 ? '1 try' : `${tries} tries`} in ${Math.round(spentMs / 1000)} s`;
  const asked = last.fields.transient?.retryAfterMs;
  const later = asked === undefined ? '' : `; it asked to come back in ${Math.ceil(asked / 1000)} s`;
  return new Problem({
    ...last.fields,
    transient: undefined,
    detail: `${last.fields.detail} (${spent}; \`wait\` is ${waitMs / 1000} s${later})`,
  });
}

/** `Retry-After` in milliseconds: seconds, or a date. */
export function retryAfter(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,6}$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
