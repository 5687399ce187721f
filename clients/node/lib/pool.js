'use strict';
// Wraps a pool: its statements say where they come from, and it remembers where each of its clients was taken.

const { callSite, captureStack, linesOf, setRoot } = require('./call_site.js');
const { reportOnce } = require('./report.js');
const { NamedStatements, hasOrigin, tagForClient, tagForPool } = require('./statement.js');
const { keepTags } = require('./tags.js');

const states = new WeakMap(); // pool -> State
const tagged = new WeakSet(); // clients
const named = new NamedStatements();

// The client's statements get their comment. For clients that come from another pool than pg.Pool. Returns the client.
function tagClient(client) {
  if (tagged.has(client)) return client;
  tagged.add(client);
  const query = client.query;
  client.query = function pgleakQuery(...values) {
    try {
      values[0] = tagForClient(values[0], client, named, hasOrigin(values[0]) ? undefined : callSite(pgleakQuery));
    } catch (error) {
      reportOnce('the comment of a statement', error);
    }
    return query.apply(client, values);
  };
  return client;
}

class State {
  constructor(pool, options) {
    this.pool = pool;
    this.taken = new Map(); // client -> { stack, since, isReturned }
    this.returnLost = options.returnLost === true;
    this.log = options.log ?? ((message) => console.warn(message));
    this.isInsideQuery = false;
  }

  // The client now belongs to the application, until it calls release().
  take(client, stack) {
    const checkout = { stack, since: Date.now(), isReturned: false };
    this.taken.set(client, checkout);
    const release = client.release;
    const forget = () => {
      if (this.taken.get(client) === checkout) this.taken.delete(client);
      if (this.returnLost) client.removeListener('error', onLoss).removeListener('end', onLoss);
    };
    const onLoss = (error) => {
      if (checkout.isReturned) return;
      checkout.isReturned = true;
      this.tell(`pgleak: connection ${describe(client)} is lost (${error?.message ?? 'it was closed'}) and goes back to the pool`
        + `${takenAt(checkout)}`);
      forget();
      release.call(client, true);
    };
    client.release = function pgleakRelease(...values) {
      if (checkout.isReturned) return undefined; // by onLoss
      forget();
      return release.apply(client, values);
    };
    if (this.returnLost) client.on('error', onLoss).on('end', onLoss);
    return client.release;
  }

  tell(message) {
    try {
      this.log(message);
    } catch (error) {
      reportOnce('the log', error);
    }
  }

  // Called with each client that the pool hands out. `stack` is undefined for pool.query(), which gives it back itself.
  onCheckout(client, stack) {
    try {
      tagClient(client);
      return stack === undefined ? undefined : this.take(client, stack);
    } catch (error) {
      reportOnce('the record of a checkout', error);
      return undefined;
    }
  }
}

function describe(client) {
  const name = client.connectionParameters?.application_name;
  return `${client.processID ?? 'without a process id'}${name ? ` of ${name}` : ''}`;
}

function takenAt(checkout) {
  return `; it was taken ${Math.round((Date.now() - checkout.since) / 100) / 10} s ago:\n${linesOf(checkout.stack).join('\n')}`;
}

function stackOf(entrance) {
  try {
    return captureStack(entrance);
  } catch (error) {
    reportOnce('the stack of a checkout', error);
    return {};
  }
}

function patchConnect(state) {
  const { pool } = state;
  const connect = pool.connect;
  pool.connect = function pgleakConnect(callback) {
    const stack = state.isInsideQuery ? undefined : stackOf(pgleakConnect);
    if (typeof callback !== 'function') {
      return connect.call(pool).then((client) => {
        state.onCheckout(client, stack);
        return client;
      });
    }
    // The pool calls back in the context of whoever released the client.
    const inContext = keepTags(callback);
    return connect.call(pool, (error, client, done) => {
      const release = client ? state.onCheckout(client, stack) : undefined;
      inContext(error, client, release ?? done);
    });
  };
}

function patchQuery(state) {
  const { pool } = state;
  const query = pool.query;
  pool.query = function pgleakPoolQuery(...values) {
    try {
      values[0] = tagForPool(values[0], callSite(pgleakPoolQuery));
    } catch (error) {
      reportOnce('the comment of a statement', error);
    }
    // pg-pool calls connect() before query() returns.
    state.isInsideQuery = true;
    try {
      return query.apply(pool, values);
    } finally {
      state.isInsideQuery = false;
    }
  };
}

function wrap(pool, options = {}) {
  if (states.has(pool)) return pool;
  try {
    if (options.root !== undefined) setRoot(options.root);
    const state = new State(pool, options);
    patchConnect(state);
    patchQuery(state);
    states.set(pool, state);
  } catch (error) {
    reportOnce('wrap()', error);
  }
  return pool;
}

// The clients that the application has taken and not released: { pid, since, stack }.
function checkouts(pool) {
  const state = states.get(pool);
  if (state === undefined) return [];
  return [...state.taken].map(([client, checkout]) => ({
    pid: client.processID,
    since: new Date(checkout.since),
    stack: linesOf(checkout.stack).join('\n'),
  }));
}

module.exports = { checkouts, states, tagClient, takenAt, wrap };
