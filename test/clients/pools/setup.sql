-- What the scenarios with real pools find in the database.
-- Called by: test/clients/run, on a throw-away cluster. Each scenario makes a role of its own in "customers".
-- Must never: touch anything but that cluster.
CREATE EXTENSION pgleak;
CREATE ROLE customers;
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL);
CREATE TABLE stock (product integer PRIMARY KEY, quantity integer NOT NULL);
INSERT INTO stock SELECT i, 100 FROM generate_series(1, 10) i;
GRANT SELECT, INSERT, UPDATE ON orders, stock TO customers;
