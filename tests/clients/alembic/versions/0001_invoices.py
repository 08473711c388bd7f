"""A table of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        "invoices",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("order_id", sa.Integer, sa.ForeignKey("app.orders.id", name="invoices_order"), nullable=False),
        sa.Column("amount", sa.Numeric(10, 2), nullable=False),
        schema="app",
    )


def downgrade():
    op.drop_table("invoices", schema="app")
