// The action's post step.

import * as core from '@actions/core';
import { close } from './lib/close.js';
import { asProblem } from './lib/problem.js';
import { run } from './lib/run.js';

// A cancelled job signals this step too. It is short, and what it does is what a cancelled job needs most.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);

run(
  () => close({ core }),
  (thrown) => {
    core.warning(asProblem(thrown).message);
    return 0;
  },
  0,
);
