// Tells the runner what to hide in every log line from here on.

/** The part of @actions/core that hides. */
export interface Masker {
  setSecret(secret: string): void;
}

/** Hides each text, and its percent-encoded form where that differs. */
export function mask(core: Masker, ...secrets: readonly string[]): void {
  const forms = new Set(secrets.flatMap((secret) => [secret, encodeURIComponent(secret)]));
  for (const form of forms) if (form) core.setSecret(form);
}
