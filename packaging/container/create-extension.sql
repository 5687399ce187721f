-- In the database named by pgleak.database, whatever POSTGRES_DB is.
\connect postgres
CREATE EXTENSION pgleak;
