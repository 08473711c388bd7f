-- The demo's shop. It belongs to the broker's login, which is created before this runs.
SET ROLE hoop_broker;
CREATE SCHEMA app;
CREATE TABLE app.customers (
    id int PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    country text NOT NULL
);
CREATE TABLE app.orders (
    id int PRIMARY KEY,
    customer_id int NOT NULL REFERENCES app.customers (id),
    amount numeric(10, 2) NOT NULL
);
CREATE TABLE app.card_tokens (customer_id int PRIMARY KEY, token text NOT NULL);
INSERT INTO app.customers
    SELECT i, 'Customer ' || i, 'customer' || i || '@example.test', (ARRAY['AT', 'CH', 'DE'])[1 + i % 3]
    FROM generate_series(1, 12) i;
INSERT INTO app.orders SELECT i, 1 + i % 12, i * 4.5 FROM generate_series(1, 40) i;
INSERT INTO app.card_tokens SELECT i, 'tok-' || md5(i::text) FROM generate_series(1, 12) i;
