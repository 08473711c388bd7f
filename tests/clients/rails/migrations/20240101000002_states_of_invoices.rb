class StatesOfInvoices < ActiveRecord::Migration[6.1]
  def change
    add_column :invoices, :state, :string, null: false, default: "open"
    add_check_constraint :invoices, "state IN ('open', 'paid')", name: "known_state"
    rename_column :invoices, :amount, :total
    change_column_comment :invoices, :total, from: nil, to: "it's with tax"
  end
end
