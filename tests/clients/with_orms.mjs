// drizzle-orm's migrator (drizzle-kit migrate runs the same), Umzug as sequelize-cli uses it, TypeORM's migrations: there,
// again, and back where the tool can. They have no preset: a rule names their table.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.argv[2]);
const ssl = { ca: readFileSync(process.env.PGSSLROOTCERT, "utf8") };
const connection = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE,
  ssl,
};
const seen = {};

{
  const pg = require("pg");
  const { drizzle } = require("drizzle-orm/node-postgres");
  const { migrate } = require("drizzle-orm/node-postgres/migrator");
  const client = new pg.Client(connection);
  await client.connect();
  const folder = { migrationsFolder: new URL("drizzle/migrations", import.meta.url).pathname };
  await migrate(drizzle(client), folder);
  await migrate(drizzle(client), folder);
  const rows = await client.query("SELECT hash FROM drizzle.__drizzle_migrations");
  seen.drizzle = rows.rows.length;
  await client.end();
}

{
  const { Sequelize, DataTypes } = require("sequelize");
  const Umzug = require("umzug");
  const sequelize = new Sequelize({
    ...connection,
    username: connection.user,
    dialect: "postgres",
    dialectOptions: { ssl },
    logging: false,
    schema: "app",
  });
  const interfaceOf = sequelize.getQueryInterface();
  const table = { tableName: "invoices_of_sequelize", schema: "app" };
  const umzug = new Umzug({
    storage: "sequelize",
    storageOptions: { sequelize, modelName: "SequelizeMeta", schema: "app" },
    migrations: Umzug.migrationsList([
      {
        name: "0001-invoices",
        up: () =>
          interfaceOf.createTable(table, {
            id: { type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true },
            orderId: { type: DataTypes.INTEGER, references: { model: { tableName: "orders", schema: "app" }, key: "id" } },
            state: { type: DataTypes.STRING, allowNull: false, defaultValue: "open", comment: "it's open or paid" },
          }),
        down: () => interfaceOf.dropTable(table),
      },
      {
        name: "0002-index",
        up: () => interfaceOf.addIndex(table, ["state"], { name: "sequelize_state" }),
        down: () => interfaceOf.removeIndex(table, "app.sequelize_state"),
      },
    ]),
  });
  await umzug.up();
  const again = await umzug.up();
  const columns = Object.keys(await interfaceOf.describeTable(table));
  await umzug.down();
  seen.sequelize = { again: again.length, left: (await umzug.executed()).length, columns };
  await umzug.up();
  await sequelize.close();
}

{
  const { DataSource, Table } = require("typeorm");
  class Invoices1700000000000 {
    name = "Invoices1700000000000";
    async up(runner) {
      await runner.createTable(
        new Table({
          name: "app.invoices_of_typeorm",
          columns: [
            { name: "id", type: "int", isPrimary: true, isGenerated: true, generationStrategy: "increment" },
            { name: "order_id", type: "int" },
          ],
          foreignKeys: [{ columnNames: ["order_id"], referencedTableName: "app.orders", referencedColumnNames: ["id"] }],
          indices: [{ columnNames: ["order_id"] }],
        }),
      );
    }
    async down(runner) {
      await runner.dropTable("app.invoices_of_typeorm");
    }
  }
  const source = new DataSource({
    type: "postgres",
    ...connection,
    username: connection.user,
    schema: "app",
    installExtensions: false,
    migrationsTableName: "migrations_of_typeorm",
    migrations: [Invoices1700000000000],
  });
  await source.initialize();
  const first = await source.runMigrations();
  const again = await source.runMigrations();
  await source.undoLastMigration();
  const head = await source.runMigrations();
  seen.typeorm = [first.length, again.length, head.length];
  await source.destroy();
}
console.log(JSON.stringify(seen));
