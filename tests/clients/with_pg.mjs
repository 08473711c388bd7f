// node-postgres against the endpoint in PGHOST …: simple and extended protocol, pools, errors, verified TLS.
// Reports as JSON on the last line. The client's folder is the first argument.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const pg = createRequire(process.argv[2])("pg");
const ssl = { ca: readFileSync(process.env.PGSSLROOTCERT, "utf8"), rejectUnauthorized: true };
const report = {};

async function fails(what, code, promise) {
  const error = await promise.then(() => undefined, (error) => error);
  assert.equal(error?.code, code, `${what}: ${error}`);
  report[what] = true;
  return error;
}

// Nothing of the connect options but TLS: the rest is read from PGHOST …, as in a job.
delete process.env.PGSSLMODE;
const client = new pg.Client({ ssl });
await client.connect();
assert.equal(client.connection.stream.authorized, true);
const pid = await client.query("SELECT pg_backend_pid() AS pid");
assert.equal(pid.rows[0].pid, client.processID);

const simple = await client.query("SELECT 1 AS one; SELECT id, note FROM app.orders WHERE id < 3 ORDER BY id");
assert.deepEqual(simple.map((result) => result.rows), [[{ one: 1 }], [{ id: 1, note: "order 1" }, { id: 2, note: "order 2" }]]);
const extended = await client.query("SELECT id, amount FROM app.orders WHERE id = ANY($1) AND amount > $2 ORDER BY id", [[2, 3], "1.00"]);
assert.deepEqual(extended.rows, [{ id: 2, amount: "3.00" }, { id: 3, amount: "4.50" }]);
assert.deepEqual(extended.fields.map((field) => field.name), ["id", "amount"]);
for (const id of [4, 5]) {
  const named = await client.query({ name: "by-id", text: "SELECT note FROM app.orders WHERE id = $1", values: [id], rowMode: "array" });
  assert.deepEqual(named.rows, [[`order ${id}`]]);
}
const binary = await client.query({ text: "SELECT id FROM app.orders WHERE id = $1", values: [7], binary: true });
assert.equal(binary.rows[0].id, 7);
assert.deepEqual((await client.query("SELECT $1::jsonb AS j, $2::timestamptz AS t", [{ a: [1] }, new Date(0)])).rows, [{ j: { a: [1] }, t: new Date(0) }]);
assert.deepEqual((await client.query("")).rows, []);
report.queries = true;

const side = await Promise.all([1, 2, 3].map((id) => client.query("SELECT id FROM app.orders WHERE id = $1", [id])));
assert.deepEqual(side.map((result) => result.rows[0].id), [1, 2, 3]);

await client.query("BEGIN");
const inserted = await client.query("INSERT INTO app.notes VALUES ($1, $2) RETURNING *", [1, "it's; -- a note"]);
assert.deepEqual(inserted.rows, [{ id: 1, body: "it's; -- a note" }]);
await client.query("SAVEPOINT s");
const unique = await fails("unique", "23505", client.query("INSERT INTO app.notes VALUES ($1, $2)", [1, "twice"]));
assert.equal(unique.constraint, "notes_pkey");
await fails("aborted", "25P02", client.query("SELECT 1"));
await client.query("ROLLBACK TO SAVEPOINT s");
await client.query("COMMIT");
assert.equal((await client.query("SELECT body FROM app.notes")).rows[0].body, "it's; -- a note");
report.transactions = true;

await fails("syntax", "42601", client.query("SELEC 1"));
await fails("division by zero", "22012", client.query("SELECT 1 / $1::int", [0]));
const denied = await fails("denied", "42501", client.query("SELECT token FROM app.card_tokens WHERE id = $1", [1]));
assert.match(denied.message, /^denied by /);
assert.ok(denied.hint);
await fails("denied, simple", "42501", client.query("DROP TABLE app.card_tokens"));
assert.equal((await client.query("SELECT count(*)::int AS n FROM app.orders")).rows[0].n, 50);

const heard = new Promise((resolve) => client.once("notification", resolve));
await client.query("LISTEN changed");
const other = new pg.Client({ ssl });
await other.connect();
await other.query("NOTIFY changed, 'one'");
const { channel, payload, processId } = await heard;
assert.deepEqual({ channel, payload, processId }, { channel: "changed", payload: "one", processId: other.processID });
report.notify = true;

// A grant without a right certificate is worth nothing to the client.
const blind = new pg.Client({ ssl: { ca: ssl.ca, rejectUnauthorized: true, servername: "elsewhere.example", checkServerIdentity: (host) => new Error(`not ${host}`) } });
await assert.rejects(blind.connect(), /not /);
const stranger = new pg.Client({ ssl: { rejectUnauthorized: true } });
await assert.rejects(stranger.connect(), (error) => /self-signed|unable to verify|unable to get/.test(error.message));
const plain = new pg.Client({ ssl: false });
await fails("plain text", "28000", plain.connect());
const wrong = new pg.Client({ ssl, password: "not the password" });
await fails("wrong password", "28P01", wrong.connect());

const bound = new pg.Client({ ssl, enableChannelBinding: true });
await bound.connect();
await bound.end();
report.channelBinding = true;

const pool = new pg.Pool({ ssl, max: 4 });
const rows = await Promise.all(Array.from({ length: 40 }, (_, index) => pool.query("SELECT id FROM app.orders WHERE id = $1", [index + 1])));
assert.deepEqual(rows.map((result) => result.rows[0].id), Array.from({ length: 40 }, (_, index) => index + 1));
await pool.end();
report.pool = true;

const slow = new pg.Client({ ssl, statement_timeout: 300 });
await slow.connect();
await fails("statement timeout", "57014", slow.query("SELECT pg_sleep(30)"));
await Promise.all([slow.end(), other.end(), client.end()]);
console.log(JSON.stringify(report));
