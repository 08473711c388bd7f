// Two projects: `scenarios` needs nothing but Node, `real` needs a running broker (see test/real.test.ts).
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // The scenarios wait for child processes more than they compute.
    maxWorkers: 4,
    projects: [
      {
        test: {
          name: 'scenarios',
          include: ['test/**/*.test.ts'],
          exclude: ['test/real.test.ts'],
          globalSetup: ['test/support/build.ts'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'real',
          include: ['test/real.test.ts'],
          globalSetup: ['test/support/build.ts'],
          testTimeout: 60_000,
        },
      },
    ],
  },
});
