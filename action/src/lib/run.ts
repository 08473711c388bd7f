// Runs one entry: its answer becomes the exit status, once everything that was printed has left the process.

export function run(entry: () => Promise<number>, failed: (thrown: unknown) => number): void {
  entry()
    .catch(failed)
    .then((status) => {
      // A connection that hangs must not keep the job's step alive.
      process.stdout.write('', () => process.exit(status));
    });
}
