// node-postgres reads masked tables: text and binary, prepared once, row by row through a portal; and writes beside them.
// Reports as JSON on the last line. The client's folder is the first argument.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const pg = createRequire(process.argv[2])("pg");
const ssl = { ca: readFileSync(process.env.PGSSLROOTCERT, "utf8"), rejectUnauthorized: true };
delete process.env.PGSSLMODE;
const client = new pg.Client({ ssl });
await client.connect();
const report = {};

const plain = await client.query("SELECT id, email, card, salary, tags FROM crm.people ORDER BY id");
const [ann] = plain.rows;
assert.doesNotMatch(JSON.stringify(plain.rows), /canary|4111-1111|1234\.56/i);
assert.match(ann.email, /^x.*@example\.test$/);
assert.equal(ann.salary, "1000.00");
assert.equal(ann.tags, null);
report.email = ann.email;

for (let turn = 0; turn < 3; turn++) {
  for (const binary of [false, true]) {
    const text = "SELECT email, card FROM crm.people WHERE id = $1";
    const { rows } = await client.query({ name: `by-id-${binary}`, text, values: [1], binary });
    assert.deepEqual(rows.map(({ email, card }) => [String(email), String(card)]), [[ann.email, ann.card]]);
  }
}
report.prepared = true;

await client.query("BEGIN");
const rows = await client.query({ text: "SELECT email FROM crm.people ORDER BY id", rows: 1, rowMode: "array" });
assert.deepEqual(rows.rows.flat(), plain.rows.map(({ email }) => email));
await client.query("COMMIT");
report.portal = true;

assert.deepEqual((await client.query("SELECT id FROM crm.people WHERE card = $1", ["4111-1111-1111-1234"])).rows, []);
assert.deepEqual((await client.query("SELECT id FROM crm.people WHERE id = 1 AND email = $1", [ann.email])).rows, [{ id: 1 }]);
report.filter = true;

const written = await client.query("UPDATE crm.people SET name = $2 WHERE id = $1 RETURNING id, name", [2, "Rob"]);
assert.deepEqual(written.rows, [{ id: 2, name: "Rob" }]);
const raw = await client.query("UPDATE crm.people SET name = name RETURNING email").then(() => undefined, (error) => error);
assert.equal(raw?.code, "42501");
report.written = true;
await client.end();
console.log(JSON.stringify(report));
