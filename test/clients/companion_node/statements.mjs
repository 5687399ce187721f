// Each kind of statement that node-pg accepts, through the companion: what the server gets, and what the caller gets.
// Called by: companion.mjs.
// Must never: share a connection between kinds.

import { check, ask, errorOf, makePool, pg, pgleak, require, textOf, waitUntil } from './checks.mjs';

const own = 'statements.mjs';

// The comment that the line above sends, at the end of a text: code='FILE%3ALINE%20FUNCTION' and perhaps others.
const hasCode = (text, called) => new RegExp(`/\\*code='[^']*${own}%3A\\d+${called && `%20${called}`}'[^*]*\\*/$`).test(text);

async function testKinds(pool) {
  const client = await pool.connect();
  const pid = client.processID;
  const kinds = {
    text: async () => (await client.query('SELECT 1 AS n')).rows[0].n,
    parameters: async () => (await client.query('SELECT $1::integer AS n', [1])).rows[0].n,
    lineComment: async () => (await client.query('SELECT 1 AS n -- one')).rows[0].n,
    semicolon: async () => (await client.query('SELECT $1::integer AS n;', [1])).rows[0].n,
    config: async () => (await client.query({ text: 'SELECT $1::integer AS n', values: [1], rowMode: 'array' })).rows[0][0],
    frozen: async () => (await client.query(Object.freeze({ text: 'SELECT $1::integer AS n' }), [1])).rows[0].n,
    getter: async () => {
      class Statement { constructor() { this.values = [1]; } get text() { return 'SELECT $1::integer AS n'; } }
      return (await client.query(new Statement())).rows[0].n;
    },
    callback: () => new Promise((resolve, reject) => {
      client.query('SELECT $1::integer AS n', [1], (error, result) => (error ? reject(error) : resolve(result.rows[0].n)));
    }),
    several: async () => (await client.query('SELECT 0 AS n; SELECT 1 AS n'))[1].rows[0].n,
    own: async () => (await client.query("SELECT 1 AS n /*traceparent='00-1-2-03'*/")).rows[0].n,
    query: () => new Promise((resolve) => {
      client.query(new pg.Query('SELECT 1 AS n')).on('row', (row) => resolve(row.n ?? row));
    }),
    named: async () => (await client.query({ name: 'once', text: 'SELECT $1::integer AS n', values: [1] })).rows[0].n,
  };
  for (const [kind, run] of Object.entries(kinds)) {
    const result = await run();
    const text = await textOf(pid);
    // A function without a name has its line only.
    const called = kind === 'callback' || kind === 'query' ? '' : kind;
    check(result === 1 && hasCode(text, called), `${kind}: arrives with its line, and answers`, `${result} ${text}`);
  }
  await kinds.lineComment();
  check((await textOf(pid)).includes('-- one\n/*'), 'a comment does not become a part of a line comment', await textOf(pid));
  const plainPool = makePool({ max: 1 });
  const plain = await plainPool.connect();
  for (const nothing of ['', null, undefined, 1]) {
    const [mine, theirs] = [await errorOf(() => client.query(nothing)), await errorOf(() => plain.query(nothing))];
    check(mine?.message === theirs?.message, `query(${JSON.stringify(nothing)}) does what it does without the companion`,
      `${mine} ${theirs}`);
  }
  plain.release();
  client.release();
  await plainPool.end();
}

async function testNamed() {
  const pool = pgleak.wrap(makePool({ max: 2 }));
  const [first, second] = [await pool.connect(), await pool.connect()];
  const statement = (client, n, text = 'SELECT $1::integer AS n') => client.query({ name: 'find', text, values: [n] });
  for (let n = 0; n < 3; n++) {
    const route = `/route/${n}`;
    const { rows } = await pgleak.withTags({ route }, () => statement(first, n));
    check(rows[0].n === n, `a named statement works in request ${n}`, rows);
  }
  const text = await textOf(first.processID);
  check(hasCode(text, 'statement') && !text.includes('route'), 'its text has the line, and no request', text);

  async function elsewhere(client) {
    return (await client.query({ name: 'find', text: 'SELECT $1::integer AS n', values: [7] })).rows[0].n;
  }
  check((await elsewhere(first)) === 7, 'another place may use it in the same connection', '');
  check((await elsewhere(second)) === 7, 'and in another', '');
  check((await textOf(second.processID)) === 'SELECT $1::integer AS n', 'which blames neither place', await textOf(second.processID));
  const error = await errorOf(() => statement(first, 1, 'SELECT 2 AS n WHERE $1 > 0'));
  check(/Prepared statements must be unique/.test(error?.message), "another text under the same name is the driver's error", error);
  first.release();
  second.release();
  check((await pool.query({ name: 'of-pool', text: 'SELECT $1::integer AS n', values: [5] })).rows[0].n === 5, 'and through pool.query()');
  await pool.end();
}

async function testSubmittable(pool) {
  const client = await pool.connect();
  const Cursor = require('pg-cursor');
  const cursor = client.query(new Cursor('SELECT generate_series(1, $1) AS n', [5]));
  const rows = [...(await cursor.read(2)), ...(await cursor.read(10))];
  check(rows.length === 5 && hasCode(await textOf(client.processID), 'testSubmittable'), 'pg-cursor', await textOf(client.processID));
  await cursor.close();

  const QueryStream = require('pg-query-stream');
  let sum = 0;
  for await (const row of client.query(new QueryStream('SELECT generate_series(1, $1) AS n', [100]))) sum += row.n;
  check(sum === 5050 && hasCode(await textOf(client.processID), 'testSubmittable'), 'pg-query-stream', `${sum} ${await textOf(client.processID)}`);

  let copy;
  try {
    copy = require('pg-copy-streams');
  } catch {
    console.log('skipped - node: pg-copy-streams is not installed');
  }
  if (copy !== undefined) {
    const { pipeline } = require('node:stream/promises');
    const { Readable } = require('node:stream');
    await client.query('CREATE TEMPORARY TABLE copied (n integer)');
    await pipeline(Readable.from(['1\n2\n']), client.query(copy.from('COPY copied FROM STDIN')));
    check((await client.query('SELECT sum(n)::integer AS n FROM copied')).rows[0].n === 3, 'pg-copy-streams');
  }
  client.release();
}

async function testPool(pool) {
  async function direct() { return (await pool.query('SELECT pg_backend_pid() AS pid, $1::integer AS n', [1])).rows[0]; }
  const row = await direct();
  const text = await textOf(row.pid);
  check(row.n === 1 && hasCode(text, 'direct') && !text.includes('code=', text.indexOf('code=') + 1), 'pool.query() has its line, once', text);
  const answered = await new Promise((resolve) => {
    pool.query({ text: 'SELECT 1 AS n' }, (error, result) => resolve(result.rows[0].n));
  });
  check(answered === 1, 'pool.query() calls back');
  const taken = await new Promise((resolve) => {
    pool.connect((error, client, done) => client.query('SELECT 1 AS n', (failure, result) => { done(); resolve(result.rows[0].n); }));
  });
  check(taken === 1 && pgleak.checkouts(pool).length === 0, 'pool.connect() calls back, and its done() gives back', pgleak.checkouts(pool));
  check((await errorOf(() => pool.query('SELECT 1/0')))?.code === '22012', 'errors are those of the driver');

  const client = await pool.connect();
  client.release();
  check(/called on client which has already been released/.test((await errorOf(() => client.release()))?.message),
    "releasing twice is the driver's error");

  const refused = pgleak.wrap(makePool({ port: 1 }));
  check((await errorOf(() => refused.connect())) !== undefined && (await errorOf(() => refused.query('SELECT 1'))) !== undefined,
    'a connection that fails fails');
  check(pgleak.wrap(pool) === pool, 'wrapping twice does it once');
}

// Knex and Sequelize have pools of their own, which hand out clients like this one.
async function testClient() {
  const client = pgleak.tagClient(pgleak.tagClient(new pg.Client({ user: 'shop', database: 'postgres' })));
  await client.connect();
  const { rows } = await client.query('SELECT current_query() AS text');
  check(hasCode(rows[0].text, 'testClient') && rows[0].text.match(/code=/g).length === 1, 'tagClient() tags a client without a pool', rows);
  await client.end();
}

async function testLost() {
  const said = [];
  const pool = pgleak.wrap(makePool({ max: 1 }), { returnLost: true, log: (line) => said.push(line) });
  const client = await pool.connect();
  await client.query('BEGIN');
  await ask('SELECT pg_terminate_backend($1)', client.processID);
  const row = await pool.query('SELECT 1 AS n'); // waits for the place
  check(row.rows[0].n === 1, 'a client that is lost gives its place back, and the process goes on', row);
  check(said.length === 1 && /connection \d+ is lost/.test(said[0]) && said[0].includes('at testLost'), 'which the log says once', said);
  check((await errorOf(() => client.release())) === undefined && pool.totalCount === 1, 'releasing it later does nothing', pool.totalCount);
  check((await errorOf(() => client.query('SELECT 1'))) !== undefined, 'using it later is an error');
  await pool.end();
}

// A pool runs what waits for a client in the context of whoever releases one.
async function testContext() {
  const pool = pgleak.wrap(makePool({ max: 1 }));
  const holder = await pool.connect();
  const texts = ['/a', '/b', '/c'].map((route) => pgleak.withTags({ route },
    async () => (await pool.query('SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()')).rows[0].query));
  const called = ['/d', '/e'].map((route) => pgleak.withTags({ route }, () => new Promise((resolve) => {
    pool.connect(async (error, client, done) => {
      const { rows } = await client.query('SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()');
      done();
      resolve(rows[0].query);
    });
  })));
  pgleak.withTags({ route: '/other' }, () => holder.release());
  const routes = (await Promise.all([...texts, ...called])).map((text) => decodeURIComponent(/route='([^']*)'/.exec(text)?.[1]));
  check(routes.join() === '/a,/b,/c,/d,/e', 'each request that waited for a client keeps its own route', routes);
  await pool.end();
}

async function testMiddleware(pool) {
  const traceparent = '00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01';
  const text = async () => (await pool.query('SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()')).rows[0].query;
  const run = (request) => new Promise((resolve) => pgleak.middleware()(request, {}, () => resolve(text())));
  const express = { headers: { traceparent }, baseUrl: '/shop', route: { path: '/orders/:id' } };
  const said = await run(express);
  check(said.endsWith(`,route='%2Fshop%2Forders%2F%3Aid',traceparent='${traceparent}'*/`), 'middleware(): Express', said);
  const fastify = await run({ headers: {}, routeOptions: { url: '/orders/:id' } });
  check(fastify.endsWith(",route='%2Forders%2F%3Aid'*/"), 'middleware(): Fastify', fastify);
  const forged = await run({ headers: { traceparent: "00'*/; DROP TABLE stock" } });
  check(!forged.includes('traceparent'), 'middleware(): a header that is no traceparent is left out', forged);
}

async function testHostile() {
  const values = ["/it's", '*/ SELECT 1; /*', '/a\nb\r\tc', "';--", '$1 ? :x %s %', '/\u{1f600}\u00e9', '\\', '/x'.repeat(500), '\u0000'];
  const pool = pgleak.wrap(makePool({ max: values.length + 1, application_name: 'hostile' }));
  const clients = await Promise.all(values.map((route) => pgleak.withTags({ route, "k'*/=,": route, action: route }, async () => {
    const client = await pool.connect();
    await client.query('BEGIN');
    await client.query('SELECT $1::integer AS n', [1]);
    return client;
  })));
  const broken = await pgleak.withTags({ route: '\ud800' }, async () => (await pool.query('SELECT 1 AS n').catch((error) => error)).rows);
  check(broken === undefined || broken[0].n === 1, 'half of a surrogate pair breaks nothing', broken);
  for (const [place, route] of values.entries()) {
    const expected = route === '\u0000' ? '%00' : route.slice(0, 255);
    const found = await waitUntil(async () => {
      const tags = await ask('SELECT tags FROM pgleak.leaks WHERE pid = $1', clients[place].processID);
      return tags && { route: tags.route };
    });
    check(found?.route === expected, `the server decodes ${JSON.stringify(route).slice(0, 30)}`, found);
  }
  clients.forEach((client) => client.release(true));
  await pool.end();
}

export async function testStatements() {
  const pool = pgleak.wrap(makePool({ max: 2 }));
  await testKinds(pool);
  await testNamed();
  await testSubmittable(pool);
  await testPool(pool);
  await testClient();
  await testLost();
  await testContext();
  await testMiddleware(pool);
  await testHostile();
  await pool.end();
}
