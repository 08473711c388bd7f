// How a failure is shown: an annotation, on the policy's line when the broker names one.

import type { AnnotationProperties } from '@actions/core';
import type { PolicyPlace, Problem } from './problem.js';
import { plain, shown } from './text.js';

/** The part of @actions/core that annotates. */
export interface Annotator {
  error(message: string, properties?: AnnotationProperties): void;
}

export function report(core: Annotator, problem: Problem): void {
  const { code, policy, refused } = problem.fields;
  const title = refused ? `Database access refused: ${code}` : `No database access: ${code}`;
  core.error(explain(problem).join('\n'), { title, ...place(policy) });
}

/** The problem in full, line by line. */
export function explain(problem: Problem): string[] {
  const { code, detail, fix, expected, actual, requestId, policy } = problem.fields;
  const where = policy ? `, ${at(policy)}` : '';
  return [
    plain(detail),
    ...(expected === undefined ? [] : [`Expected: ${plain(shown(expected))}`]),
    ...(actual === undefined ? [] : [`Actual: ${plain(shown(actual))}`]),
    ...(fix === undefined ? [] : [`Fix: ${plain(fix)}`]),
    `(${code}${where}${requestId === undefined ? '' : `, request ${requestId}`})`,
  ];
}

/** `path:line`, as far as it is known. */
export function at(policy: Partial<PolicyPlace>): string {
  if (policy.path === undefined) return '';
  return policy.line === undefined ? policy.path : `${policy.path}:${policy.line}`;
}

/** Where GitHub shows an annotation. */
export function place(policy: Partial<PolicyPlace> | undefined): AnnotationProperties {
  if (policy?.path === undefined) return {};
  return {
    file: policy.path,
    ...(policy.line !== undefined && { startLine: policy.line }),
    ...(policy.column !== undefined && { startColumn: policy.column }),
  };
}
