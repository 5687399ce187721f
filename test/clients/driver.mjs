// What applications notice of an action through node-pg.
// Called by: test/clients/run, with PGHOST and PGPORT of a throw-away cluster that drivers.sql has set up, and node-pg
//   in NODE_PATH. Prints "ok - ..." and "not ok - ..."; exit status is the truth.
// Must never: use the driver in a way that applications do not, or wait for a fixed time and hope.

import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

// An import statement would not look into NODE_PATH.
const pg = createRequire(import.meta.url)('pg');

const patience = 10_000;
let failed = 0;

function check(holds, what, detail) {
  console.log(`${holds ? 'ok' : 'not ok'} - ${what}`);
  if (holds) return;
  failed++;
  console.log(`#   ${detail}`);
}

async function connect(user) {
  const client = new pg.Client({ user, database: 'postgres' });
  // Without a listener node-pg ends the whole process when a connection is lost.
  client.on('error', (error) => (client.lostBy = client.lostBy ?? error));
  await client.connect();
  return client;
}

const admin = await connect('postgres');

async function ask(query, ...values) {
  return Object.values((await admin.query(query, values)).rows[0])[0];
}

// Whether a condition, of the server or of a client, becomes true.
async function waitUntil(condition) {
  const deadline = Date.now() + patience;
  while (!(await condition())) {
    if (Date.now() > deadline) return false;
    await sleep(5);
  }
  return true;
}

const hasOrder = (note) => ask('SELECT count(*) = 1 FROM orders WHERE note = $1', note);
const stateOf = (pid) => ask('SELECT max(state) FROM pg_stat_activity WHERE pid = $1', pid);

async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return undefined;
}

async function beginAndInsert(client, note) {
  await client.query('BEGIN');
  await client.query('INSERT INTO orders (note) VALUES ($1)', [note]);
}

async function testCancel(role, way, hasStatement) {
  const note = `node-pg, cancelled ${way}, then ${hasStatement ? 'a statement' : 'COMMIT'}`;
  const client = await connect(role);
  const pid = client.processID;
  await beginAndInsert(client, note);
  if (role === 'by_hand') check(await ask('SELECT pgleak.cancel($1)', pid), `${note}: pgleak.cancel() says that it is done`);
  check(await waitUntil(async () => (await stateOf(pid)) === 'idle in transaction (aborted)'),
    `${note}: is rolled back in place`, await stateOf(pid));
  if (hasStatement) {
    const error = await errorOf(client.query('SELECT $1::integer', [1]));
    check(error?.code === '25P02', `${note}: the statement fails with 25P02`, error);
  }
  const error = await errorOf(client.query('COMMIT'));
  check(error?.code === '40000', `${note}: COMMIT fails with 40000`, error);
  check(/rolled back by pgleak: it was idle for/.test(error?.message), `${note}: and says who and why`, error);
  check(await waitUntil(async () => (await stateOf(pid)) === 'idle'), `${note}: the block is over`, await stateOf(pid));
  check(!(await hasOrder(note)), `${note}: the row is not there`);

  await client.query('ROLLBACK');
  await beginAndInsert(client, `${note}: again`);
  await client.query('COMMIT');
  check(await hasOrder(`${note}: again`), `${note}: after rollback it works again`);
  check(client.lostBy === undefined, `${note}: on the same connection`, client.lostBy);
  await client.end();
}

async function testTerminate(role, way) {
  const note = `node-pg, terminated ${way}`;
  const client = await connect(role);
  const pid = client.processID;
  await beginAndInsert(client, note);
  if (role === 'by_hand') check(await ask('SELECT pgleak.terminate($1)', pid), `${note}: pgleak.terminate() says that it is done`);
  check(await waitUntil(() => client.lostBy !== undefined), `${note}: the client hears of it at once`, 'nothing heard');
  check(client.lostBy?.code === '25P03', `${note}: the error is 25P03`, client.lostBy);
  check(/terminating connection due to pgleak: it was idle for/.test(client.lostBy?.message), `${note}: and says who and why`,
    client.lostBy);
  check(await waitUntil(async () => (await stateOf(pid)) === null), `${note}: the session ends`, await stateOf(pid));
  check(!(await hasOrder(note)), `${note}: the row is not there`);
}

for (const [role, way] of [['by_hand', 'by hand'], ['by_limit', 'by its limit']])
  for (const hasStatement of [true, false]) await testCancel(role, way, hasStatement);
await testTerminate('by_hand', 'by hand');
await testTerminate('ended_by_limit', 'by its limit');
await admin.end();
process.exitCode = failed > 0 ? 1 : 0;
