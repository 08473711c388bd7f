"""Types and constraints change; an index is built outside a transaction."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.alter_column("invoices", "state", type_=sa.String(20), schema="app")
    op.alter_column("invoices", "amount", type_=sa.Numeric(12, 4), postgresql_using="amount * 1.0", schema="app")
    op.create_check_constraint("invoices_state", "invoices", "state IN ('open', 'paid')", schema="app")
    op.create_unique_constraint("invoices_one_each", "invoices", ["order_id", "state"], schema="app")
    op.drop_constraint("invoices_one_each", "invoices", schema="app")
    op.execute("COMMENT ON TABLE app.invoices IS 'What was billed'")
    with op.get_context().autocommit_block():
        op.create_index("invoices_open", "invoices", ["state"], schema="app", postgresql_concurrently=True, postgresql_where=sa.text("state = 'open'"))
    with op.get_context().autocommit_block():
        op.drop_index("invoices_open", "invoices", schema="app", postgresql_concurrently=True)
    op.execute("COMMENT ON TABLE app.invoices IS NULL")


def downgrade():
    op.drop_constraint("invoices_state", "invoices", schema="app")
    op.alter_column("invoices", "amount", type_=sa.Numeric(10, 2), schema="app")
    op.alter_column("invoices", "state", type_=sa.String(10), schema="app")
