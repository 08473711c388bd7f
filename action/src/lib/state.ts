// What main tells post through the runner's state. Each part is saved before the thing it describes can exist.

import type { SummaryWish } from './inputs.js';

/** Saved before the broker is asked. */
export interface Asking {
  readonly brokerUrl: string;
  /** The Idempotency-Key: revokes the grant when main died before it knew the grant's id. */
  readonly key: string;
  readonly directory: string;
  readonly scope: string;
  readonly revoke: boolean;
  readonly summary: SummaryWish;
  readonly failOnDeniedStatement: boolean;
}

/** Saved as soon as the grant is known. */
export interface Holding {
  readonly id: string;
  readonly revokeToken: string;
  readonly database: string;
  readonly expiresAt: string;
  readonly endsAt: string;
  readonly policy: string;
}

export interface State {
  asking?: Asking;
  holding?: Holding;
  /** True when it is certain that no grant was made: there is nothing to revoke. */
  noGrant?: boolean;
  /** The environment variables that main set. */
  exported?: readonly string[];
}

const NAMES = ['asking', 'holding', 'noGrant', 'exported'] as const satisfies readonly (keyof State)[];

export function save(core: { saveState(name: string, value: unknown): void }, state: State): void {
  for (const name of NAMES) {
    if (state[name] !== undefined) core.saveState(name, JSON.stringify(state[name]));
  }
}

export function restore(core: { getState(name: string): string }): State {
  const state: Record<string, unknown> = {};
  for (const name of NAMES) {
    const text = core.getState(name);
    if (text) state[name] = JSON.parse(text);
  }
  return state as State;
}
