// Knex migrates up, down and up again, and queries.
import { createRequire } from 'node:module'
import fs from 'node:fs'

const knex = createRequire(process.argv[2])('knex')
const env = process.env
const db = knex({
  client: 'pg',
  connection: {
    host: env.PGHOST, port: Number(env.PGPORT), user: env.PGUSER, password: env.PGPASSWORD, database: env.PGDATABASE,
    ssl: { ca: fs.readFileSync(env.PGSSLROOTCERT, 'utf8') },
  },
  pool: { min: 0, max: 2 },
  searchPath: ['app'],
  migrations: {
    schemaName: 'app',
    migrationSource: {
      getMigrations: async () => ['0001_people', '0002_state'],
      getMigrationName: (name) => name,
      getMigration: async (name) => ({
        '0001_people': {
          up: (k) => k.schema.createTable('people', (t) => {
            t.increments('id')
            t.string('name').notNullable().comment('as called')
            t.jsonb('data').defaultTo('{}')
            t.integer('order_id').references('id').inTable('orders').onDelete('cascade')
            t.timestamps(true, true)
            t.index(['name'])
          }),
          down: (k) => k.schema.dropTable('people'),
        },
        '0002_state': {
          up: (k) => k.schema.alterTable('people', (t) => {
            t.enu('state', ['new', 'old'], { useNative: true, enumName: 'people_state' })
            t.unique(['name'])
          }),
          down: (k) => k.schema.alterTable('people', (t) => { t.dropUnique(['name']); t.dropColumn('state') })
            .raw('DROP TYPE people_state'),
        },
      })[name],
    },
  },
})
const seen = {}
await db.migrate.latest()
await db.migrate.rollback(undefined, true)
await db.migrate.latest()
seen.version = await db.migrate.currentVersion()
seen.columns = Object.keys(await db('people').columnInfo())
await db('people').insert([{ name: 'a', state: 'new' }, { name: 'b', state: 'old' }]).returning('id')
await db.transaction((trx) => trx('people').where({ name: 'a' }).update({ state: 'old' }))
seen.old = Number((await db('people').where({ state: 'old' }).count())[0].count)
seen.denied = await db('card_tokens').select('token').then(() => '', (error) => error.message)
await db.destroy()
console.log(JSON.stringify(seen))
