-- The roles and the shop's database of compose.yaml.
\connect postgres
CREATE ROLE pgleak_exporter LOGIN PASSWORD 'exporter' IN ROLE pg_monitor;
CREATE ROLE shop LOGIN PASSWORD 'shop';
CREATE DATABASE shop OWNER shop;
\connect shop
SET ROLE shop;
CREATE TABLE product (id int PRIMARY KEY, name text NOT NULL, price numeric NOT NULL, stock int NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, customer int NOT NULL, product int NOT NULL,
                     quantity int NOT NULL, confirmed bool NOT NULL DEFAULT false);
INSERT INTO product SELECT i, 'product ' || i, i * 1.99, 100 FROM generate_series(1, 100) i;
INSERT INTO orders (customer, product, quantity) SELECT i % 20, i, 1 FROM generate_series(1, 100) i;
