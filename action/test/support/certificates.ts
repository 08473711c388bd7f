// Throw-away certificates, made by the openssl command.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificate {
  cert: string;
  key: string;
}

export interface Authority {
  ca: string;
  /** Takes subject alternative names such as `DNS:broker.test,IP:127.0.0.1`. */
  issue(names: string): Certificate;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export function authority(): Authority {
  const made = inFolder({}, ['ca.pem', 'ca.key'], (openssl) => {
    openssl('req', '-x509', ...NEW_KEY, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=test CA');
  });
  const ca = made['ca.pem'] ?? '';
  return {
    ca,
    issue: (names) => {
      const leaf = inFolder({ ...made, names: `subjectAltName=${names}\n` }, ['leaf.pem', 'leaf.key'], (openssl) => {
        openssl('req', ...NEW_KEY, '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', '/CN=leaf');
        const signing = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'names'];
        openssl('x509', '-req', '-in', 'leaf.csr', '-out', 'leaf.pem', ...signing);
      });
      return { cert: leaf['leaf.pem'] ?? '', key: leaf['leaf.key'] ?? '' };
    },
  };
}

/** Runs `work` in a folder that holds `files`, reads what it made, and leaves nothing behind. */
function inFolder(
  files: Record<string, string>,
  wanted: readonly string[],
  work: (openssl: (...words: string[]) => void) => void,
): Record<string, string> {
  const folder = mkdtempSync(join(tmpdir(), 'action-ca-'));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 });
    work((...words) => void execFileSync('openssl', words, { cwd: folder, stdio: 'ignore' }));
    return Object.fromEntries(wanted.map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
