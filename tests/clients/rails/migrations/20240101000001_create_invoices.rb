class CreateInvoices < ActiveRecord::Migration[6.1]
  def change
    create_table :invoices, comment: "One for each order" do |t|
      t.references :order, null: false, foreign_key: { on_delete: :cascade }, index: { unique: true }
      t.decimal :amount, precision: 10, scale: 2, null: false
      t.jsonb :lines, default: {}
      t.timestamps default: -> { "now()" }
    end
    reversible do |way|
      way.up { execute "INSERT INTO invoices (order_id, amount) SELECT id, amount FROM orders" }
    end
  end
end
