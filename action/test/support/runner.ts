// What the GitHub runner does around a step: inputs and state as environment, command files, signals.

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Result {
  status: number | null;
  signal: NodeJS.Signals | null;
  log: string;
  lines: string[];
  masks: string[];
  annotations: Annotation[];
  outputs: Record<string, string>;
  env: Record<string, string>;
  state: Record<string, string>;
  /** The state's names in the order in which they were saved. */
  saved: string[];
  summary: string;
  ms: number;
}

export interface Annotation {
  level: string;
  message: string;
  properties: Record<string, string>;
}

export interface Running {
  result: Promise<Result>;
  kill(signal: NodeJS.Signals): void;
}

const DIST = new URL('../../dist/', import.meta.url).pathname;
const COMMANDS = ['OUTPUT', 'ENV', 'STATE', 'PATH', 'STEP_SUMMARY'] as const;

/** One job on one runner: what a step exports is seen by the steps after it. */
export class Job {
  readonly temp = mkdtempSync(join(tmpdir(), 'action-job-'));
  readonly runnerTemp = join(this.temp, 'runner-temp');
  env: Record<string, string>;
  #steps = 0;

  constructor(env: Record<string, string> = {}) {
    mkdirSync(this.runnerTemp);
    this.env = { PATH: process.env['PATH'] ?? '', HOME: this.temp, RUNNER_TEMP: this.runnerTemp, ...env };
  }

  step(inputs: Record<string, string>): Step {
    return new Step(this, inputs);
  }

  start(entry: 'main' | 'post', extra: Record<string, string>): Running {
    this.#steps += 1;
    const files = Object.fromEntries(
      COMMANDS.map((name) => [`GITHUB_${name}`, join(this.temp, `${name}_${this.#steps}`)]),
    );
    for (const file of Object.values(files)) writeFileSync(file, '');
    const begun = performance.now();
    const child = spawn(process.execPath, [join(DIST, `${entry}.cjs`)], { env: { ...this.env, ...files, ...extra } });
    let log = '';
    child.stdout.on('data', (chunk) => {
      log += chunk;
    });
    child.stderr.on('data', (chunk) => {
      log += chunk;
    });
    const result = new Promise<Result>((resolve) => {
      child.on('close', (status, signal) => {
        const read = (name: (typeof COMMANDS)[number]): string =>
          readFileSync(files[`GITHUB_${name}`] as string, 'utf8');
        const env = Object.fromEntries(commands(read('ENV')));
        Object.assign(this.env, env);
        const state = commands(read('STATE'));
        resolve({
          status,
          signal,
          log,
          lines: log.split('\n').filter(Boolean),
          masks: log
            .split('\n')
            .flatMap((line) => (line.startsWith('::add-mask::') ? [unescaped(line.slice(12))] : [])),
          annotations: log.split('\n').flatMap(annotation),
          outputs: Object.fromEntries(commands(read('OUTPUT'))),
          env,
          state: Object.fromEntries(state),
          saved: state.map(([name]) => name),
          summary: read('STEP_SUMMARY'),
          ms: performance.now() - begun,
        });
      });
    });
    return { result, kill: (signal) => child.kill(signal) };
  }

  /** Files of the action that are still there. */
  get leftovers(): boolean {
    return readdirSync(this.runnerTemp).length > 0;
  }

  remove(): void {
    rmSync(this.temp, { recursive: true, force: true });
  }
}

/** One `uses:` of the action: its post step gets the inputs and the state of its main step. */
export class Step {
  readonly #job: Job;
  readonly #inputs: Record<string, string>;
  #state: Record<string, string> = {};

  constructor(job: Job, inputs: Record<string, string>) {
    this.#job = job;
    this.#inputs = Object.fromEntries(
      Object.entries(inputs).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, value]),
    );
  }

  startMain(): Running {
    const running = this.#job.start('main', this.#inputs);
    return { ...running, result: running.result.then((result) => this.#keep(result)) };
  }

  startPost(): Running {
    const state = Object.fromEntries(Object.entries(this.#state).map(([name, value]) => [`STATE_${name}`, value]));
    return this.#job.start('post', { ...this.#inputs, ...state });
  }

  main(): Promise<Result> {
    return this.startMain().result;
  }

  post(): Promise<Result> {
    return this.startPost().result;
  }

  #keep(result: Result): Result {
    this.#state = result.state;
    return result;
  }
}

/** The lines, other than the mask commands themselves, that show one of the secrets. */
export function leaks(result: Result, secrets: readonly string[]): string[] {
  return result.lines.filter(
    (line) => !line.startsWith('::add-mask::') && secrets.some((secret) => line.includes(secret)),
  );
}

function commands(text: string): [string, string][] {
  const found: [string, string][] = [];
  const lines = text.split('\n');
  while (lines.length > 1) {
    const head = /^([^<]+)<<(ghadelimiter_[0-9a-f-]{36})$/.exec(lines.shift() ?? '');
    if (!head?.[1] || !head[2]) throw new Error('a command file has a line without a random delimiter');
    const end = lines.indexOf(head[2]);
    found.push([head[1], lines.splice(0, end).join('\n')]);
    lines.shift();
  }
  return found;
}

function annotation(line: string): Annotation[] {
  const parts = /^::(error|warning|notice)(?: ([^:]*))?::(.*)$/.exec(line);
  if (!parts) return [];
  const properties = Object.fromEntries(
    (parts[2] ?? '')
      .split(',')
      .filter(Boolean)
      .map((pair) => pair.split('=') as [string, string])
      .map(([name, value]) => [name, unescaped(value).replace(/%3A/g, ':').replace(/%2C/g, ',')]),
  );
  return [{ level: parts[1] as string, properties, message: unescaped(parts[3] as string) }];
}

function unescaped(text: string): string {
  return text.replace(/%0A/g, '\n').replace(/%0D/g, '\r').replace(/%25/g, '%');
}
