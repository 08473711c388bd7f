// The tests run the committed bundle, so they first make sure that it is what the source builds.

import { execFileSync } from 'node:child_process';

export default function setup(): void {
  execFileSync(process.execPath, ['build.mjs', '--check'], { stdio: ['ignore', 'inherit', 'inherit'] });
}
