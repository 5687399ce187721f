-- The server of test/monitoring/run: pgleak, the role of the exporters as monitoring/README.md makes it, and a shop.
CREATE EXTENSION pgleak;
CREATE ROLE pgleak_exporter LOGIN IN ROLE pg_monitor;
CREATE ROLE shop LOGIN CONNECTION LIMIT 10;
SELECT FROM pg_create_physical_replication_slot('old_replica', true);
CREATE TABLE product (id integer PRIMARY KEY, stock integer NOT NULL);
INSERT INTO product VALUES (1, 100);
GRANT SELECT, UPDATE ON product TO shop;
