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
  issue(names: string): Certificate;
}

/** A CA; `issue` takes subject alternative names such as `DNS:broker.test,IP:127.0.0.1`. */
export function authority(): Authority {
  const folder = mkdtempSync(join(tmpdir(), 'action-ca-'));
  const at = (name: string): string => join(folder, name);
  const openssl = (...words: string[]): void => void execFileSync('openssl', words, { stdio: 'ignore' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', at('ca.key'), '-out', at('ca.pem'), '-days', '2', '-subj', '/CN=test CA');
  const pairs = new Map<string, Certificate>();
  const make = (names: string): Certificate => {
    writeFileSync(at('names'), `subjectAltName=${names}\n`);
    openssl('req', ...key, '-keyout', at('leaf.key'), '-out', at('leaf.csr'), '-subj', '/CN=leaf');
    const signing = [
      '-CA',
      at('ca.pem'),
      '-CAkey',
      at('ca.key'),
      '-CAcreateserial',
      '-days',
      '2',
      '-extfile',
      at('names'),
    ];
    openssl('x509', '-req', '-in', at('leaf.csr'), '-out', at('leaf.pem'), ...signing);
    return { cert: readFileSync(at('leaf.pem'), 'utf8'), key: readFileSync(at('leaf.key'), 'utf8') };
  };
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return {
    ca: readFileSync(at('ca.pem'), 'utf8'),
    issue: (names) => {
      const pair = pairs.get(names) ?? make(names);
      pairs.set(names, pair);
      return pair;
    },
  };
}
