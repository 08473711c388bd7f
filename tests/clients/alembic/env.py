"""Runs the migrations over psycopg 3; the endpoint comes from PGHOST …, as in a job."""

from alembic import context
from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, Numeric, String, Table, create_engine, pool, text

# What the models say, for `alembic check`.
metadata = MetaData(schema="app")
Table("orders", metadata, Column("id", Integer, primary_key=True))
Table(
    "invoices",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("order_id", Integer, ForeignKey("app.orders.id", name="invoices_order"), nullable=False),
    Column("state", String(20), nullable=False, server_default=text("'open'")),
    Column("amount", Numeric(12, 4), nullable=False),
    Index("invoices_by_order", "order_id"),
)

engine = create_engine("postgresql+psycopg://", poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema="app",
        include_schemas=True,
        include_name=lambda name, kind, parents: kind != "schema" or name == "app",
        include_object=lambda thing, name, kind, reflected, other: kind != "table" or name == "invoices",
    )
    with context.begin_transaction():
        context.run_migrations()
