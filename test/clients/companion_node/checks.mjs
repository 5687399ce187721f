// What the tests of the companion for node-pg share: the driver, a pool in which the server sees leaks, and the results.
// Called by: companion.mjs, with PGHOST and PGPORT of a throw-away cluster, and node-pg and pgleak-client in NODE_PATH.
// Must never: wait for a fixed time and hope.

import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

// An import statement would not look into NODE_PATH.
export const require = createRequire(import.meta.url);
export const pg = require('pg');
export const pgleak = require('pgleak-client');

const patience = 30_000;
export const results = { failed: 0 };

export function check(holds, what, detail) {
  console.log(`${holds ? 'ok' : 'not ok'} - node: ${what}`);
  if (holds) return;
  results.failed++;
  console.log(String(typeof detail === 'string' ? detail : JSON.stringify(detail)).replaceAll(/^/gm, '#   '));
}

export async function waitUntil(condition) {
  const deadline = Date.now() + patience;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) return undefined;
    await sleep(20);
  }
}

export async function errorOf(action) {
  try {
    await action();
  } catch (error) {
    return error;
  }
  return undefined;
}

export const admin = new pg.Client({ user: 'postgres', database: 'postgres', application_name: 'checks' });
await admin.connect();

export async function ask(query, ...values) {
  return Object.values((await admin.query(query, values)).rows[0] ?? { nothing: undefined })[0];
}

// What the server has as the last statement of a session.
export const textOf = (pid) => ask('SELECT query FROM pg_stat_activity WHERE pid = $1', pid);

export function makePool(options) {
  return new pg.Pool({ user: 'shop', database: 'postgres', ...options });
}
