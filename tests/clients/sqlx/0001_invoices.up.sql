CREATE TABLE app.invoices (id bigserial PRIMARY KEY, order_id int NOT NULL UNIQUE REFERENCES app.orders (id) ON DELETE CASCADE, amount numeric(10,2) NOT NULL);
INSERT INTO app.invoices (order_id, amount) SELECT id, amount FROM app.orders;
