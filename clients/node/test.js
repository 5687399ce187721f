'use strict';
// For node:test, or any test runner: fails a test that leaves a transaction open on the server.

const assert = require('node:assert');
const { setTimeout: sleep } = require('node:timers/promises');
const { checkouts } = require('./lib/pool.js');

const kQuery = 'SELECT * FROM pgleak.open_transactions($1)';

// Returns a function for afterEach(). It asks the server for open transactions of sessions with this application_name, waits
// up to `patience` milliseconds for those that are about to end, and throws if there are others. Each is reported once: for
// the test that left it open, not for those that follow.
//   client: a connected pg.Client, or a pool, of the database that contains pgleak; not one that the tests use.
//   pools: wrapped pools of the code under test, for the stack of the checkout.
function noOpenTransactions({ client, applicationName, pools = [], patience = 500 }) {
  const known = new Set();
  return async function noOpenTransactionsHook() {
    const deadline = Date.now() + patience;
    let open;
    for (;;) {
      const { rows } = await client.query(kQuery, [applicationName ?? null]);
      open = rows.filter((row) => !known.has(keyOf(row)));
      if (open.length === 0) return;
      if (Date.now() >= deadline) break;
      await sleep(20);
    }
    open.forEach((row) => known.add(keyOf(row)));
    throw new assert.AssertionError({ message: describe(open, pools), operator: 'noOpenTransactions', stackStartFn: noOpenTransactionsHook });
  };
}

const keyOf = (row) => `${row.pid} ${row.xact_start?.getTime()}`;

function describe(open, pools) {
  const many = open.length === 1 ? 'a transaction is' : `${open.length} transactions are`;
  return [`${many} open on the server after the test`, ...open.flatMap((row) => linesOf(row, pools))].join('\n');
}

function linesOf(row, pools) {
  const lines = [`  ${row.code ?? '(no code)'}${row.route ? `, route ${row.route}` : ''}: ${row.state}, pid ${row.pid}`
    + ` of ${row.application_name}`];
  for (const statement of row.trail ?? [])
    lines.push(`    ${statement.query ?? ''}${statement.count > 1 ? ` (${statement.count} times)` : ''}`);
  if (!row.trail?.length && row.query) lines.push(`    ${row.query}`);
  const checkout = pools.flatMap(checkouts).find(({ pid }) => pid === row.pid);
  if (checkout !== undefined) lines.push('  the connection was taken', checkout.stack);
  return lines;
}

module.exports = { noOpenTransactions };
