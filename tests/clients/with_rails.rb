# Active Record's migrations, as `rails db:migrate` runs them: up, again, status, the schema's dump, back, up.
require "active_record"
require "json"
require "stringio"

ActiveRecord::Migration.verbose = false
ActiveRecord::Base.establish_connection(
  adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], username: ENV["PGUSER"], password: ENV["PGPASSWORD"],
  database: ENV["PGDATABASE"], sslmode: ENV["PGSSLMODE"], sslrootcert: ENV["PGSSLROOTCERT"], schema_search_path: "app"
)
folder = File.join(__dir__, "rails/migrations")
migrations = ActiveRecord::MigrationContext.new(folder, ActiveRecord::SchemaMigration)
seen = { version: ActiveRecord.version.to_s }
seen[:pending] = migrations.needs_migration?
migrations.migrate
seen[:head] = migrations.current_version
seen[:again] = migrations.migrate.length
seen[:status] = migrations.migrations_status.map(&:first).uniq

class Invoice < ActiveRecord::Base
end

Invoice.transaction { Invoice.where(id: 1).update_all(state: "paid") }
Invoice.find(2).update!(state: "paid", lines: { "a" => 1 })
seen[:paid] = Invoice.where(state: "paid").count
dump = StringIO.new
ActiveRecord::SchemaDumper.dump(ActiveRecord::Base.connection, dump)
seen[:dumped] = dump.string.include?('create_table "invoices"') && dump.string.include?("known_state")
begin
  ActiveRecord::Base.connection.select_all("SELECT token FROM app.card_tokens")
rescue ActiveRecord::StatementInvalid => error
  seen[:denied] = error.message
end
migrations.rollback(2)
seen[:back] = migrations.current_version
migrations.migrate
migrations.down(0)
seen[:zero] = migrations.current_version
migrations.migrate
puts JSON.generate(seen)
