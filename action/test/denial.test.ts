// A refusal is final, and is shown on the policy's line with the reason and the cure.

import { expect, test } from 'vitest';
import { problem } from './support/broker.js';
import { world } from './support/world.js';

const REFUSAL = {
  detail: 'scope `migrate` wants branch `main`, this job runs on `feature/x`',
  fix: 'run the job on `main`, or add a `who` entry',
  policy: { path: '.hoop/db-access.yaml', line: 8, column: 9, sha: 'b5bb' },
  expected: { branch: 'main' },
  actual: { branch: 'feature/x', environment: 'MISSING' },
  request_id: 'req_1',
};

test('a refusal is not tried again and becomes an annotation; post has nothing to revoke', async () => {
  const { broker, job, step } = await world({ post: [problem(403, 'branch-mismatch', REFUSAL)] });
  const one = step();
  const main = await one.main();
  expect(main.status).toBe(1);
  expect(broker.requests('POST /v1/grants')).toHaveLength(1);
  expect(main.annotations).toEqual([
    {
      level: 'error',
      properties: {
        title: 'Database access refused: branch-mismatch',
        file: '.hoop/db-access.yaml',
        line: '8',
        col: '9',
      },
      message: [
        REFUSAL.detail,
        'Expected: {"branch":"main"}',
        'Actual: {"branch":"feature/x","environment":"MISSING"}',
        `Fix: ${REFUSAL.fix}`,
        '(branch-mismatch, .hoop/db-access.yaml:8, request req_1)',
      ].join('\n'),
    },
  ]);
  expect(main.summary).toContain('### No database access for `migrate`');
  expect(main.env).toEqual({});
  expect(main.outputs).toEqual({});

  const asked = broker.asked.length;
  const post = await one.post();
  expect([post.status, post.log, post.summary]).toEqual([0, '', '']);
  expect(broker.asked).toHaveLength(asked);
  expect(job.leftovers).toBe(false);
});

test.each([400, 401, 403, 404, 409, 422])('HTTP %i is final', async (status) => {
  const { broker, step } = await world({ post: [problem(status, 'scope-unknown')] });
  const main = await step({ summary: 'none' }).main();
  expect(main.status).toBe(1);
  expect(main.summary).toBe('');
  expect(broker.requests('POST /v1/grants')).toHaveLength(1);
});

test('a refusal after an unanswered request leaves post something to look for', async () => {
  const { broker, step } = await world({ post: ['cut', problem(403, 'token-reused')] });
  const one = step();
  expect((await one.main()).status).toBe(1);
  await one.post();
  expect(broker.requests('DELETE /v1/grants').length).toBeGreaterThan(0);
});

test('what a broker says cannot become a command or markup', async () => {
  const evil = 'x\n::add-path::/tmp/evil\r\n::set-output name=a::b <script>|`\u001b[31m';
  const { step } = await world({
    post: [problem(403, 'branch-mismatch', { detail: evil, fix: evil, request_id: evil })],
  });
  const main = await step().main();
  expect(main.lines.filter((line) => /^::(?!add-mask|error)/.test(line))).toEqual([]);
  expect(main.log).not.toContain('\u001b');
  expect(main.summary).not.toContain('<script>');
});
