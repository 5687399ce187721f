// An application with node-pg's pool that does what it is told on its standard input, and answers.
// Called by: the scenario node_pg, with APPLICATION, libpq's variables and node-pg in NODE_PATH.
// Must never: know anything of pgleak. The application is the patient.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

// An import statement would not look into NODE_PATH.
const pg = createRequire(import.meta.url)('pg');

const pool = new pg.Pool({
  database: 'postgres',
  application_name: process.env.APPLICATION,
  max: 3,
});
const leaked = [];

const orders = {
  // A handler that throws before it reaches release().
  async leak() {
    const client = await pool.connect();
    leaked.push(client);
    // Without a listener node-pg ends the whole process when a connection is lost.
    client.on('error', (error) => console.error(error.message));
    await client.query('BEGIN');
    await client.query("/*route='/cart'*/ UPDATE stock SET quantity = quantity - 1 WHERE product = $1", [leaked.length]);
  },
  async is_refused() {
    pool.options.connectionTimeoutMillis = 500;
    try {
      (await pool.connect()).release();
    } catch (error) {
      return /timeout exceeded when trying to connect/.test(error.message);
    } finally {
      pool.options.connectionTimeoutMillis = 0;
    }
    return false;
  },
  // Handlers that hold a connection and ask for a second one, all at the same time.
  async nest() {
    const nested = await Promise.all([1, 2, 3].map(() => pool.connect()));
    await Promise.all(nested.map((client) => client.query('BEGIN')));
    nested.forEach((client) => pool.query('SELECT 1').finally(() => client.release()));
  },
  in_use: () => pool.totalCount - pool.idleCount,
  cure: () => leaked.forEach((client) => client.release(true)),
  works: async () => (await pool.query('SELECT 1 AS one')).rows[0].one === 1,
};

for await (const line of createInterface({ input: process.stdin })) {
  const [order] = JSON.parse(line);
  console.log(JSON.stringify((await orders[order]()) ?? null));
}
