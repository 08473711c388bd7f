// A failure in the words the job's owner reads: what happened, and what to do about it. The broker's refusals
// (RFC 9457 problem documents) and the action's own failures have the same shape.

/** A place in the repository's policy file. */
export interface PolicyPlace {
  readonly path: string;
  readonly line?: number;
  readonly column?: number;
}

export interface ProblemFields {
  /** The stable, documented code, such as `branch-mismatch`. */
  readonly code: string;
  readonly detail: string;
  readonly fix?: string | undefined;
  readonly policy?: PolicyPlace | undefined;
  readonly expected?: unknown;
  readonly actual?: unknown;
  readonly requestId?: string | undefined;
  /** Set when the same request may succeed later. */
  readonly transient?: { readonly retryAfterMs?: number | undefined } | undefined;
  /** True when the broker said no: then no grant exists. */
  readonly refused?: boolean | undefined;
}

export class Problem extends Error {
  readonly fields: ProblemFields;

  constructor(fields: ProblemFields) {
    super(`${fields.code}: ${fields.detail}`);
    this.name = 'Problem';
    this.fields = fields;
  }
}

/** Any thrown value as a problem. */
export function asProblem(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  const detail = thrown instanceof Error ? thrown.message : String(thrown);
  return new Problem({
    code: 'action-failed',
    detail,
    fix: 'This is unexpected. Please report it with the version of the action and the step that precedes it.',
  });
}
