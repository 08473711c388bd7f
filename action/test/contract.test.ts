// action.yml, the code and the README say the same.

import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { DEFAULTS } from '../src/lib/inputs.js';
import { world } from './support/world.js';

const here = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
const yaml = here('../../action.yml');
const readme = here('../README.md');

/** The keys of one top-level block, each with its `default`. */
function block(name: string): Map<string, string | undefined> {
  const body = new RegExp(`^${name}:\\n((?:[ ].*\\n|\\n)+)`, 'm').exec(yaml)?.[1] ?? '';
  const found = new Map<string, string | undefined>();
  for (const part of body.split(/^(?= {2}\S)/m)) {
    const key = /^ {2}([a-z-]+):/.exec(part)?.[1];
    if (key) found.set(key, /^ {4}default: "?([^"\n]*)"?$/m.exec(part)?.[1]);
  }
  return found;
}

test('the defaults in action.yml are the defaults in the code', () => {
  const declared = [...block('inputs')].filter(([, value]) => value !== undefined);
  expect(Object.fromEntries(declared)).toEqual(DEFAULTS);
});

test('action.yml declares exactly the outputs that are set', async () => {
  const { step } = await world();
  const { outputs } = await step().main();
  expect([...block('outputs').keys()].sort()).toEqual(Object.keys(outputs).sort());
});

test('every input that is read is declared, and the README names each input and output', () => {
  const inputs = [...block('inputs').keys()];
  const code = here('../src/lib/inputs.ts');
  const read = [...code.matchAll(/(?:value|matching|optional|oneOf|flag)\(\s*'([a-z-]+)'/g)].map(([, name]) => name);
  expect([...new Set(read)].sort()).toEqual(inputs.sort());
  for (const name of [...inputs, ...block('outputs').keys()]) expect(readme).toContain(`| \`${name}\` |`);
});

test('the entries that action.yml names exist', () => {
  for (const [, path = ''] of yaml.matchAll(/^ {2}(?:main|post): (\S+)$/gm)) {
    expect(existsSync(new URL(`../../${path}`, import.meta.url))).toBe(true);
  }
  expect(yaml).toContain('using: node24');
});
