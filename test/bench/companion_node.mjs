// What the companion for node-pg costs: a statement and a checkout with a pool that does nothing, with and without it.
// Called by: companion_rows.py, with pgleak-client in NODE_PATH. Prints a line of JSON: measure -> microseconds, one for each round.
// Must never: talk to a server. Its round trip would hide what is measured.

import { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';

const { withTags, wrap } = createRequire(import.meta.url)('pgleak-client');

class Client extends EventEmitter {
  processID = 1;
  query(text) { this.text = text; }
  release() {}
}

class Pool {
  constructor() { this.client = new Client(); }
  connect(callback) { this.client.release = () => {}; callback(undefined, this.client, this.client.release); }
  query(text) { this.client.query(text); }
}

const rounds = 21;
const depth = 20; // frames of an application between its server and its query

function deep(frames, work) {
  return frames === 0 ? work() : deep(frames - 1, work);
}

// Of processor time, so that a busy machine disturbs less.
function microseconds(work, times) {
  const began = process.cpuUsage();
  deep(depth, () => { for (let i = 0; i < times; i++) work(); });
  const { user, system } = process.cpuUsage(began);
  return (user + system) / times;
}

// The differences, round by round, of the same work with and without the companion.
function measure(make, times) {
  const [ours, theirs] = [make(wrap(new Pool())), make(new Pool())];
  const differences = [];
  for (let round = -3; round < rounds; round++) {
    const difference = microseconds(ours, times) - microseconds(theirs, times);
    if (round >= 0) differences.push(difference);
  }
  return differences;
}

function statement(query) {
  return (pool) => {
    let taken;
    pool.connect((error, client) => (taken = client));
    return () => taken.query(query);
  };
}

const result = withTags({ route: '/orders/:id' }, () => ({
  'a statement': measure(statement('SELECT quantity FROM stock WHERE product = 1'), 20_000),
  'a named statement': measure(statement({ name: 'one', text: 'SELECT quantity FROM stock WHERE product = $1' }), 20_000),
  'a checkout': measure((pool) => () => pool.connect((error, client, done) => done()), 5_000),
}));
console.log(JSON.stringify(result));
