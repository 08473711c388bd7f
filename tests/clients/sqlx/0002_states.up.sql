ALTER TABLE app.invoices ADD COLUMN state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'paid'));
CREATE INDEX invoices_by_state ON app.invoices (state);
