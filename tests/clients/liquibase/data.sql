--liquibase formatted sql

--changeset shop:2
INSERT INTO app.invoices (order_id, amount) SELECT id, amount FROM app.orders;
--rollback DELETE FROM app.invoices;

--changeset shop:3 splitStatements:true
CREATE INDEX invoices_by_order ON app.invoices (order_id);
COMMENT ON COLUMN app.invoices.amount IS 'gross';
--rollback DROP INDEX app.invoices_by_order;
