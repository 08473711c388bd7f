// Text that came from elsewhere, made safe for the place where it is shown: a log line, a Markdown summary.

const CONTROL = /[\p{Cc}\p{Cf}\u2028\u2029]+/gu;

/** One line without control characters, so that nothing foreign starts a line of its own in the log. */
export function plain(text: string, limit = 2000): string {
  const line = text.replace(CONTROL, ' ').trim();
  return line.length > limit ? `${line.slice(0, limit)}…` : line;
}

/** As `plain`, and harmless inside a Markdown table cell. */
export function cell(text: string, limit = 500): string {
  return plain(text, limit)
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/[\\`*_[\]#|~@:]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** A JSON value in the words of a message. */
export function shown(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'nothing');
}

/** `1 row`, `2 rows`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
