// The action's main step.

import * as core from '@actions/core';
import { open } from './lib/open.js';
import { asProblem } from './lib/problem.js';
import { report } from './lib/report.js';
import { run } from './lib/run.js';

run(
  () => open({ core, env: process.env }),
  (thrown) => {
    report(core, asProblem(thrown));
    return 1;
  },
  1,
);
