// What the broker denied: summary, annotations, and the job's colour where the owner wishes.

import { expect, test } from 'vitest';
import { revoked } from './support/broker.js';
import { world } from './support/world.js';

const DENIAL = {
  code: 'class-not-allowed',
  message: 'denied by .hoop/db-access.yaml:22 (scope migrate): DROP TABLE app.orders',
  detail: 'the scope allows create and alter on app.*',
  hint: 'add `drop` to `statements`',
  path: '.hoop/db-access.yaml',
  line: 22,
  column: 9,
};

async function endWith(inputs: Record<string, string>, denials: unknown[], denied = denials.length) {
  const { step } = await world({ revoke: [revoked({ denied, denials })] });
  const one = step(inputs);
  await one.main();
  return one.post();
}

test('masked values are summarised by column, and what was found in texts by kind', async () => {
  const { step } = await world({
    revoke: [revoked({ masked: { 'app.people.phone': 1, 'app.people.email': 40, 'a.b.c': 0 }, detected: { card: 3 } })],
  });
  const one = step();
  await one.main();
  const post = await one.post();
  expect(post.log).toContain('40 rows, 41 masked values, 0 denied.');
  expect(post.summary).toContain('| Found in texts | Count |\n| --- | --- |\n| `card` | 3 |\n');
  expect(post.summary).toContain(
    '| Masked values | Count |\n| --- | --- |\n| `app.people.email` | 40 |\n| `app.people.phone` | 1 |\n',
  );
});

test('a denial is summarised and annotated on its line; the job stays green', async () => {
  const post = await endWith({}, [DENIAL]);
  expect(post.status).toBe(0);
  expect(post.annotations).toEqual([
    {
      level: 'warning',
      properties: {
        title: 'Statement denied: class-not-allowed',
        file: '.hoop/db-access.yaml',
        line: '22',
        col: '9',
      },
      message: `${DENIAL.message}: ${DENIAL.detail}\nFix: ${DENIAL.hint}`,
    },
  ]);
  expect(post.summary).toMatchInlineSnapshot(`
    "### Database access: \`migrate\` on \`orders-prod\`

    |  |  |
    | --- | --- |
    | Grant | \`grant_0198f0aa7c7a7d0e8a1b2c3d4e5f6071\`, revoked |
    | Policy | \`.hoop/db-access.yaml:5 (b5bb9d8014a0f9b1)\` |
    | Sessions | 2 |
    | Rows | 40 |
    | Denied | **1** |

    | Statements | Count |
    | --- | --- |
    | \`insert\` | 1 |
    | \`select\` | 3 |

    #### Denied statements

    | Code | What | Policy | Fix |
    | --- | --- | --- | --- |
    | \`class-not-allowed\` | denied by .hoop/db-access.yaml&#58;22 (scope migrate)&#58; DROP TABLE app.orders&#58; the scope allows create and alter on app.&#42; | \`.hoop/db-access.yaml:22\` | add &#96;drop&#96; to &#96;statements&#96; |

    "
  `);
});

test('`fail-on-denied-statement` turns it into an error and fails the job', async () => {
  const post = await endWith({ 'fail-on-denied-statement': 'true' }, [DENIAL]);
  expect(post.status).toBe(1);
  expect(post.annotations.map(({ level }) => level)).toEqual(['error']);
});

test('`fail-on-denied-statement` without denials is green', async () => {
  const post = await endWith({ 'fail-on-denied-statement': 'true' }, []);
  expect([post.status, post.annotations]).toEqual([0, []]);
});

test('`fail-on-denied-statement` warns when the denials are not known', async () => {
  const { step } = await world({ revoke: [{ status: 500 }] });
  const one = step({ 'fail-on-denied-statement': 'true' });
  await one.main();
  const post = await one.post();
  expect(post.status).toBe(0);
  expect(post.annotations.map(({ message }) => message).join()).toContain(
    'Whether statements were denied is not known',
  );
});

test.each([
  ['on-denial', [], false],
  ['on-denial', [DENIAL], true],
  ['none', [DENIAL], false],
  ['full', [], true],
] as const)('summary: %s with %j', async (summary, denials, written) => {
  const post = await endWith({ summary }, [...denials]);
  expect(post.summary !== '').toBe(written);
});

test('many denials stay within what GitHub shows', async () => {
  const post = await endWith(
    {},
    Array.from({ length: 20 }, () => DENIAL),
    31,
  );
  expect(post.annotations).toHaveLength(10);
  expect(post.annotations[0]?.message).toBe('31 statements denied in scope migrate.');
  expect(post.summary).toContain('… and 11 denials more.');
});

test('markup in a denial stays text', async () => {
  const post = await endWith({}, [{ ...DENIAL, message: '<img src=x> | [a](http://b) `c`\n# d @team', hint: '' }]);
  const row = post.summary.split('\n').find((line) => line.includes('class-not-allowed')) ?? '';
  expect(row).not.toMatch(/<img|\[a\]|@team/);
  expect(row.split('|')).toHaveLength(6);
});
