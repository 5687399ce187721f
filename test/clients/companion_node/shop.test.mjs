// Two tests of a shop, the second of which leaves its transaction open. The helper has to fail that one, and no other.
// Called by: companion.mjs, as `node --test`.
// Must never: pass as a whole.

import { after, afterEach, test } from 'node:test';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const pg = require('pg');
const { withTags, wrap } = require('pgleak-client');
const { noOpenTransactions } = require('pgleak-client/test');

const pool = wrap(new pg.Pool({ user: 'shop', database: 'postgres', application_name: 'shop-tested' }));
const admin = new pg.Pool({ user: 'postgres', database: 'postgres', max: 1 });

afterEach(noOpenTransactions({ client: admin, applicationName: 'shop-tested', pools: [pool] }));
after(() => Promise.all([pool.end(), admin.end()]));

const clients = [];
async function reserve() {
  const client = await pool.connect();
  clients.push(client);
  await client.query('BEGIN');
  await client.query('UPDATE stock SET quantity = quantity - 1 WHERE product = 4'); // code: test
  return client;
}

test('sells and commits', async () => {
  const client = await reserve();
  await client.query('COMMIT');
  client.release();
});

test('leaves a transaction open', () => withTags({ route: '/reserve' }, reserve));

test('comes after it', async () => {
  await pool.query('SELECT 1');
  await clients[1].query('ROLLBACK');
  clients[1].release();
});
