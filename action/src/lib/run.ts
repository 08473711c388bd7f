// Runs one entry: its answer becomes the exit status, once everything that was printed has left the process.

/** `unfinished` is the status in case Node runs out of things to wait for before the entry has answered. */
export function run(entry: () => Promise<number>, failed: (thrown: unknown) => number, unfinished: 0 | 1): void {
  process.exitCode = unfinished;
  entry()
    .catch(failed)
    .then((status) => {
      // A connection that hangs must not keep the job's step alive.
      process.stdout.write('', () => process.exit(status));
    });
}
