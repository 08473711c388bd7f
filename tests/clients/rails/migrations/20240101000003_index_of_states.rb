class IndexOfStates < ActiveRecord::Migration[6.1]
  disable_ddl_transaction!

  def change
    add_index :invoices, :state, algorithm: :concurrently
  end
end
