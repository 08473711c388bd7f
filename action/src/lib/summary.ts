// The job summary, in Markdown. It carries counts, codes and policy lines; never a literal of a statement.

import type { Denial, Totals } from './answer.js';
import type { SummaryWish } from './inputs.js';
import type { Problem } from './problem.js';
import { at, explain } from './report.js';
import type { Ending } from './revoke.js';
import type { Holding } from './state.js';
import { cell, count, plain } from './text.js';

/** The part of @actions/core that writes summaries. */
export interface Summariser {
  summary: { addRaw(text: string, newLine?: boolean): { write(): Promise<unknown> } };
  warning(message: string): void;
}

/** Writes `markdown`; a runner without summaries costs a warning, never the job. */
export async function writeSummary(core: Summariser, markdown: string): Promise<void> {
  try {
    await core.summary.addRaw(markdown, true).write();
  } catch (thrown) {
    core.warning(
      `The job summary could not be written: ${plain(thrown instanceof Error ? thrown.message : String(thrown))}`,
    );
  }
}

/** Whether this ending is worth a summary. */
export function wanted(wish: SummaryWish, ending: Ending): boolean {
  if (wish === 'none') return false;
  return wish === 'full' || (ending.totals?.denied ?? 0) > 0;
}

export function refusalSummary(scope: string, problem: Problem): string {
  const lines = explain(problem).map((line) => `> ${cell(line)}`);
  return `### No database access for \`${word(scope)}\`\n\n${lines.join('  \n')}\n`;
}

export function grantSummary(scope: string, holding: Holding, ending: Ending): string {
  const facts: [string, string][] = [
    ['Grant', `\`${word(holding.id)}\`, ${cell(endingWords(ending, holding))}`],
    ['Policy', `\`${word(holding.policy)}\``],
    ...(ending.totals ? totalFacts(ending.totals) : []),
  ];
  const parts = [
    `### Database access: \`${word(scope)}\` on \`${word(holding.database)}\``,
    table(['', ''], facts),
    ...(ending.totals ? countPart('Statements', ending.totals.statements) : []),
    ...(ending.totals ? countPart('Masked values', ending.totals.masked) : []),
    ...(ending.totals ? countPart('Found in texts', ending.totals.detected) : []),
    ...(ending.totals ? denialPart(ending.totals) : []),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** How the grant ended, for the log and the summary. */
export function endingWords(ending: Ending, holding: Holding): string {
  switch (ending.kind) {
    case 'revoked':
      return 'revoked';
    case 'gone':
      return 'had already ended';
    case 'left':
      return `not revoked, as \`revoke: false\` asks; no new connections after ${holding.expiresAt}, cut at ${holding.endsAt}`;
    case 'failed':
      return `not revoked (${ending.why}); no new connections after ${holding.expiresAt}, cut at ${holding.endsAt}`;
  }
}

function totalFacts(totals: Totals): [string, string][] {
  return [
    ['Sessions', String(totals.sessions)],
    ['Rows', String(totals.rows)],
    ['Denied', totals.denied === 0 ? 'none' : `**${totals.denied}**`],
  ];
}

function countPart(what: string, counts: Readonly<Record<string, number>>): string[] {
  const rows = Object.entries(counts)
    .filter(([, number]) => number > 0)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, number]): [string, string] => [`\`${word(name)}\``, String(number)]);
  return rows.length === 0 ? [] : [table([what, 'Count'], rows)];
}

function denialPart({ denied, denials }: Totals): string[] {
  if (denied === 0) return [];
  const rows = denials.map((one) => [
    `\`${word(one.code)}\``,
    cell(denialWords(one)),
    `\`${word(at(one))}\``,
    cell(one.hint),
  ]);
  const more = denied - denials.length;
  return [
    '#### Denied statements',
    ...(rows.length > 0 ? [table(['Code', 'What', 'Policy', 'Fix'], rows)] : []),
    ...(more > 0 ? [`… and ${count(more, 'denial')} more.`] : []),
  ];
}

/** What was denied and why, in one sentence. */
export function denialWords(denial: Denial): string {
  return [denial.message, denial.detail].filter(Boolean).join(': ') || denial.code;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** For code spans: they cannot be escaped, so what could end them goes. */
function word(text: string): string {
  return plain(text, 200).replace(/[`|]/g, '') || '-';
}
