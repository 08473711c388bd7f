ALTER TABLE app.invoices DROP COLUMN state;
