// The companion for node-pg: whether each kind of statement arrives with its line, whether the leaks of an application name
// theirs, and whether the application goes on when anything about it fails.
// Called by: test/clients/run companion_node, with PGHOST and PGPORT of a throw-away cluster, and node-pg and pgleak-client in NODE_PATH.
//   Prints "ok - ..." and "not ok - ..."; exit status is the truth.
// Must never: use the driver in a way that applications do not.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { admin, ask, check, pgleak, require, results, waitUntil } from './checks.mjs';
import { testStatements } from './statements.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));

// 'shop.mjs:17', the line with this mark.
function lineOf(file, mark) {
  const lines = readFileSync(path.join(here, file), 'utf8').split('\n');
  return `${file}:${lines.findIndex((line) => line.endsWith(`// ${mark}`)) + 1}`;
}

function start(argv, env = {}) {
  const child = spawn(process.execPath, argv, { cwd: here, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  child.said = '';
  child.stderr.on('data', (text) => (child.said += text));
  return child;
}

async function testShop() {
  const shop = start(['shop.mjs']);
  const [port] = await once(createInterface({ input: shop.stdout }), 'line');
  const get = async (route) => (await fetch(`http://127.0.0.1:${port}${route}`)).text();

  const bugs = { forgotten: 'forgotten', background: 'report', global: 'globalSession', error: 'errorPath' };
  for (const route of Object.keys(bugs)) await get(`/${route}`);
  const inUse = setInterval(() => get('/global').catch(() => {}), 100); // the global session is never idle for long
  for (const [bug, called] of Object.entries(bugs)) {
    const expected = `${lineOf('shop.mjs', `code: ${bug}`)} ${called}`;
    const leak = await waitUntil(() => ask(`SELECT to_jsonb(l) FROM pgleak.leaks l WHERE application_name = 'shop-node'
      AND code = $1 AND tags->>'route' = $2`, expected, `/${bug}`));
    check(leak !== undefined, `${bug}: the leak names ${expected}`,
      await ask("SELECT jsonb_agg(jsonb_build_object('tags', tags, 'query', query)) FROM pgleak.leaks"));
    const taken = lineOf('shop.mjs', `taken: ${bug}`);
    const pattern = new RegExp(`pgleak: leak ${leak?.leak_id}, connection ${leak?.pid} of shop-node: past its limit.*\\n(.*\\n)*?.*${taken}`);
    check(await waitUntil(() => pattern.test(shop.said)), `${bug}: and the log the stack of the checkout at ${taken}`, shop.said);
  }
  clearInterval(inUse);

  const before = JSON.parse(await get('/pool'));
  check(before.total - before.idle === 4 && before.checkouts.length === 4, 'four connections are lost to the pool', before);
  await ask("SELECT count(pgleak.terminate(pid)) FROM pgleak.leaks WHERE application_name = 'shop-node'");
  const after = await waitUntil(async () => {
    const pool = JSON.parse(await get('/pool'));
    return pool.total === pool.idle && pool.checkouts.length === 0 && pool;
  });
  check(after !== undefined, 'after a terminate, the pool has their places back', await get('/pool'));
  check(/connection \d+ of shop-node is lost \(terminating connection due to pgleak/.test(shop.said), 'and the log says why', shop.said);
  check(/^\d+$/.test(await get('/healthy')), 'and the process is alive', shop.said);
  shop.kill();
  await once(shop, 'exit');
  for (const [bug, called] of Object.entries(bugs)) await testRecords(bug, `${lineOf('shop.mjs', `code: ${bug}`)} ${called}`);
}

// What stays when the leak is over.
async function testRecords(bug, code) {
  const records = await waitUntil(() => ask(`SELECT jsonb_build_object('code', min(code), 'offender', (SELECT min(code) FROM pgleak.offenders
    WHERE code = $1)) FROM pgleak.history WHERE application_name = 'shop-node' AND code = $1 AND outcome = 'terminated' HAVING count(*) > 0`, code));
  check(records?.code === code && records?.offender === code, `${bug}: history and offenders name it`, records);
  check(readFileSync(process.env.SERVER_LOG, 'utf8').includes(`code="${code}"`), `${bug}: so does the server's log`, code);
  const page = await ask("SELECT pgleak.report('1 day')");
  check(page.includes(code) || page.includes(encodeURIComponent(code)), `${bug}: and the report`, code);
}

async function testHelper() {
  const child = start(['--test', '--test-reporter=tap', 'shop.test.mjs']);
  let output = '';
  child.stdout.on('data', (text) => (output += text));
  const [status] = await once(child, 'close');
  const line = lineOf('shop.test.mjs', 'code: test');
  check(status !== 0, 'node:test: a test that leaves a transaction open fails', output);
  check(/\bok \d - sells and commits/.test(output) && !/not ok \d - sells and commits/.test(output)
    && /not ok \d - leaves a transaction open/.test(output) && !/not ok \d - comes after it/.test(output),
    'node:test: and no other', output);
  check(output.includes(`${line} reserve, route /reserve: idle in transaction`), `node:test: with ${line}`, output);
  check(/BEGIN[^]*UPDATE stock/.test(output) && /the connection was taken\s+at reserve/.test(output),
    'node:test: with trail and checkout', output);
}

// In a process of its own, because it breaks what the companion stands on.
async function testOwnFailures() {
  for (const [what, breakage] of [
    ['stack traces cannot be had', "Object.defineProperty(Error, 'prepareStackTrace', { get() { throw new Error('no'); } });"],
    ['Error is frozen', 'Object.freeze(Error);'],
    ['a tag cannot be read', ''],
    ['the log fails', ''],
  ]) {
    const program = `${breakage}
      const pg = require('pg');
      const { wrap, withTags, setTags, middleware } = require('pgleak-client');
      const pool = wrap(new pg.Pool({ user: 'shop', database: 'postgres' }), { log() { throw new Error('no'); }, returnLost: true });
      const bad = new Proxy({}, { get() { throw new Error('no'); }, ownKeys() { throw new Error('no'); } });
      const badValue = { route: { toString() { throw new Error('no'); } } };
      (async () => {
        let sum = 0;
        const one = async () => {
          const client = await pool.connect();
          sum += (await client.query('SELECT $1::integer AS n', [1])).rows[0].n;
          sum += (await pool.query('SELECT 1 AS n')).rows[0].n;
          client.release();
        };
        await one();
        await withTags(bad, one);
        await withTags(badValue, one);
        await withTags({ a: 1 }, async () => { setTags(bad); await one(); });
        await new Promise((resolve) => middleware()(bad, {}, () => one().then(resolve)));
        await pool.end();
        console.log(sum);
      })();`;
    const child = start(['--unhandled-rejections=strict', '-e', program]);
    let output = '';
    child.stdout.on('data', (text) => (output += text));
    const [status] = await once(child, 'close');
    check(status === 0 && output.trim() === '10', `the application goes on when ${what}`, output + child.said);
    const warnings = child.said.match(/pgleak-client: .* failed/g) ?? [];
    check(warnings.length > 0 && warnings.length === new Set(warnings).size, 'and each failure is reported once', child.said);
  }
}

// As `import` has it; NODE_PATH is for require() only.
async function testModules() {
  for (const [name, loaded] of [['index', pgleak], ['test', require('pgleak-client/test')]]) {
    const { default: all, ...named } = await import(new URL(`../../../clients/node/${name}.mjs`, import.meta.url));
    check(all === loaded && Object.keys(named).sort().join() === Object.keys(loaded).sort().join(), `${name} can be imported`, named);
  }
}

await testModules();
await testStatements();
await testShop();
await testHelper();
await testOwnFailures();
await admin.end();
process.exitCode = results.failed > 0 ? 1 : 0;
