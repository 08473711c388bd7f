// Bundles the two entries into dist/, one file each, with the licences of what is bundled.
// `--check` builds into a temporary folder instead and compares it with the committed dist/ byte for byte.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, 'dist');

/** Bundles into `outdir`. */
export async function bundle(outdir) {
  mkdirSync(outdir, { recursive: true });
  const result = await build({
    absWorkingDir: root,
    entryPoints: ['src/main.ts', 'src/post.ts'],
    outdir,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    charset: 'utf8',
    legalComments: 'none',
    metafile: true,
    logLevel: 'warning',
    // The HTTP client names undici for a method that we never call; see the stand-in.
    alias: { undici: './src/lib/no-undici.ts' },
  });
  writeFileSync(join(outdir, 'licenses.txt'), licences(Object.keys(result.metafile.inputs)));
}

function licences(inputs) {
  const packages = new Set();
  for (const input of inputs) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
  const parts = [...packages].sort().map((name) => {
    const folder = join(root, 'node_modules', name);
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} carries no licence file`);
    return `${name} ${version}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
  });
  return parts.join(`\n${'-'.repeat(80)}\n\n`);
}

async function check() {
  const fresh = mkdtempSync(join(tmpdir(), 'check-dist-'));
  try {
    await bundle(fresh);
    const names = new Set([...readdirSync(fresh), ...readdirSync(dist)]);
    const differing = [...names].filter((name) => {
      try {
        return !readFileSync(join(fresh, name)).equals(readFileSync(join(dist, name)));
      } catch {
        return true; // in one of the two only
      }
    });
    if (differing.length > 0) {
      process.stderr.write(
        `dist/ is not what src/ builds: ${differing.join(', ')}. Run \`npm run build\` and commit.\n`,
      );
      process.exitCode = 1;
    }
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--check')) await check();
  else await bundle(dist);
}
