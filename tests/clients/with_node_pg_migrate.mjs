// node-pg-migrate migrates up, down and up again: a table, a function, a trigger.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const require = createRequire(process.argv[2])
const { runner } = await import(pathToFileURL(require.resolve('node-pg-migrate')).href)
const env = process.env
const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'migrations-'))
fs.writeFileSync(path.join(dir, '1700000000000_people.cjs'), `
exports.up = (pgm) => {
  pgm.createTable('members', { id: 'id', name: { type: 'text', notNull: true, comment: 'as called' }, stamped: 'timestamptz' })
  pgm.createIndex('members', 'name')
  pgm.createFunction('stamp', [], { returns: 'trigger', language: 'plpgsql', replace: true },
    'BEGIN NEW.stamped := now(); RETURN NEW; END')
  pgm.createTrigger('members', 'stamped', { when: 'BEFORE', operation: 'INSERT', level: 'ROW', function: 'stamp' })
}
exports.down = (pgm) => {
  pgm.dropTrigger('members', 'stamped')
  pgm.dropFunction('stamp', [])
  pgm.dropTable('members')
}
`)
const common = {
  databaseUrl: {
    host: env.PGHOST, port: Number(env.PGPORT), user: env.PGUSER, password: env.PGPASSWORD, database: env.PGDATABASE,
    ssl: { ca: fs.readFileSync(env.PGSSLROOTCERT, 'utf8') },
  },
  dir, migrationsTable: 'pgmigrations', schema: 'app', migrationsSchema: 'app', log: () => {}, verbose: false,
}
const seen = { up: [], down: [] }
seen.up = (await runner({ ...common, direction: 'up', count: Infinity })).map((run) => run.name)
seen.down = (await runner({ ...common, direction: 'down', count: 1 })).map((run) => run.name)
await runner({ ...common, direction: 'up', count: Infinity })
fs.rmSync(dir, { recursive: true })
console.log(JSON.stringify(seen))
