"""A column, an index, data: read and written with bound parameters in the migration's transaction."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("invoices", sa.Column("state", sa.String(10), nullable=True), schema="app")
    op.create_index("invoices_by_order", "invoices", ["order_id"], schema="app")
    invoices = sa.table("invoices", sa.column("order_id"), sa.column("amount"), sa.column("state"), schema="app")
    orders = sa.table("orders", sa.column("id"), sa.column("amount"), schema="app")
    bind = op.get_bind()
    rows = bind.execute(sa.select(orders.c.id, orders.c.amount).where(orders.c.id <= 5).order_by(orders.c.id)).all()
    op.bulk_insert(invoices, [{"order_id": row.id, "amount": row.amount, "state": None} for row in rows])
    op.execute(sa.insert(invoices).from_select(["order_id", "amount"], sa.select(orders.c.id, orders.c.amount).where(orders.c.id > 5)))
    op.execute(invoices.update().where(invoices.c.state.is_(None)).values(state="open"))
    op.alter_column("invoices", "state", nullable=False, server_default="open", schema="app")


def downgrade():
    op.execute("DELETE FROM app.invoices")
    op.drop_index("invoices_by_order", "invoices", schema="app")
    op.drop_column("invoices", "state", schema="app")
