// A shop with the bugs that leak connections most often: an HTTP server over node-pg's pool, with the companion.
// Called by: companion.mjs, with libpq's variables and node-pg and pgleak-client in NODE_PATH. Prints its port.
// Must never: know what is checked. The marks tell companion.mjs the lines.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const pg = require('pg');
const { checkouts, watch, withTags, wrap } = require('pgleak-client');

const pool = wrap(new pg.Pool({ user: 'shop', database: 'postgres', application_name: 'shop-node', max: 10 }),
  { returnLost: true, log: console.error });
watch(pool, { connection: { user: 'postgres' } });

async function forgotten() {
  const client = await pool.connect(); // taken: forgotten
  await client.query('BEGIN');
  await client.query('UPDATE stock SET quantity = quantity - 1 WHERE product = $1', [1]); // code: forgotten
  return 'sold';
}

async function report(client) {
  await client.query('SELECT sum(quantity) FROM stock'); // code: background
  await new Promise(() => {}); // a printer that is switched off
  await client.query('COMMIT');
  client.release();
}

async function background() {
  const client = await pool.connect(); // taken: background
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  report(client);
  return 'accepted';
}

let session;

async function globalSession() {
  if (session === undefined) {
    session = await pool.connect(); // taken: global
    await session.query('BEGIN');
  }
  const { rows } = await session.query('SELECT quantity FROM stock WHERE product = $1', [2]); // code: global
  return String(rows[0].quantity);
}

async function errorPath() {
  const client = await pool.connect(); // taken: error
  await client.query('BEGIN');
  const { rows } = await client.query('SELECT quantity FROM stock WHERE product = $1 FOR UPDATE', [3]); // code: error
  if (rows[0].quantity > 0) throw new Error('the payment is refused'); // no finally
  await client.query('COMMIT');
  client.release();
  return 'paid';
}

const routes = {
  '/forgotten': forgotten,
  '/background': background,
  '/global': globalSession,
  '/error': errorPath,
  '/healthy': async () => String((await pool.query('SELECT sum(quantity) FROM stock')).rows[0].sum),
  '/pool': async () => JSON.stringify({ total: pool.totalCount, idle: pool.idleCount, checkouts: checkouts(pool) }),
};

const server = createServer((request, response) => {
  withTags({ route: request.url }, async () => {
    try {
      response.end(await routes[request.url]());
    } catch (error) {
      response.statusCode = 500;
      response.end(error.message);
    }
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
