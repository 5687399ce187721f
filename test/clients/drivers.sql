-- What drivers.py and driver.mjs find in the database: a table with a row to fight for, and one role for each way
--   in which a transaction is ended.
-- Called by: test/clients/run, on a throw-away cluster.
-- Must never: touch anything but that cluster.
CREATE EXTENSION pgleak;
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL);
CREATE TABLE stock (product integer PRIMARY KEY, quantity integer NOT NULL);
INSERT INTO stock SELECT i, 100 FROM generate_series(1, 10) i;

CREATE ROLE by_hand LOGIN;
CREATE ROLE by_limit LOGIN;
ALTER ROLE by_limit SET pgleak.idle_leak_after = '1s';
ALTER ROLE by_limit SET pgleak.idle_cancel_after = '1s';
CREATE ROLE ended_by_limit LOGIN;
ALTER ROLE ended_by_limit SET pgleak.idle_leak_after = '1s';
ALTER ROLE ended_by_limit SET pgleak.idle_terminate_after = '1s';
CREATE ROLE shop LOGIN;
ALTER ROLE shop SET pgleak.idle_leak_after = '1s';
ALTER ROLE shop SET pgleak.idle_cancel_after = '2s';
GRANT SELECT, INSERT, UPDATE ON orders, stock TO by_hand, by_limit, ended_by_limit, shop;
