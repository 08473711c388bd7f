// The schema engine as WebAssembly, which comes with the package, over node-postgres: the native one is a download.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.TOOLS_PACKAGE);
const { PrismaPg } = require("@prisma/adapter-pg");

// The adapter knows every type but `name`, which the engine's own queries of the catalogs return.
const NAME = 19;
const TEXT = 25;
const fromAdapter = createRequire(require.resolve("@prisma/adapter-pg"));
const Result = fromAdapter("pg/lib/result.js");
const { addFields } = Result.prototype;
Result.prototype.addFields = function (fields) {
  for (const field of fields) if (field.dataTypeID === NAME) field.dataTypeID = TEXT;
  return addFields.call(this, fields);
};

const connection = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE,
  ssl: { ca: readFileSync(process.env.PGSSLROOTCERT, "utf8") },
};

const { Pool } = fromAdapter("pg");
const pool = new Pool(connection);
// What the native engine sets from the URL's `schema`.
pool.on("connect", (client) => client.query("SET search_path TO app"));

export default {
  schema: "schema.prisma",
  migrations: { path: "migrations" },
  experimental: { adapter: true },
  engine: "js",
  adapter: async () => new PrismaPg(pool, { schema: "app" }),
};
