'use strict';
// Listens on NOTIFY pgleak. When pgleak reports a leak of one of the pool's own connections, the log gets the stack of its
// checkout: the server knows the statement, only the application knows who took the connection.

const { reportOnce } = require('./report.js');
const { states, takenAt } = require('./pool.js');

const kFirstPause = 1000; // milliseconds
const kLongestPause = 30_000;

class Watcher {
  constructor(pool, options) {
    this.pool = pool;
    this.options = options;
    this.state = states.get(pool);
    this.pause = kFirstPause;
    this.isClosed = false;
    this.client = undefined;
    this.timer = undefined;
    this.told = new Map(); // leak_id -> event told last
  }

  // The pool's own way to connect, but to the database that contains pgleak, and outside of the pool.
  async start() {
    const { connection = {}, database = 'postgres' } = this.options;
    const client = new this.pool.Client({
      ...this.pool.options,
      password: this.pool.options.password,
      application_name: 'pgleak-client',
      database,
      ...connection,
    });
    this.client = client;
    client.on('error', (error) => this.restart(client, error));
    client.on('end', () => this.restart(client));
    client.on('notification', (notification) => this.onNotification(client, notification));
    try {
      await client.connect();
      // Any role can send a notification. A genuine one comes from the recorder, if this role may see which process that is.
      const { rows } = await client.query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgleak recorder'");
      client.recorder = rows[0]?.pid;
      await client.query('LISTEN pgleak');
      // It must not keep the process alive.
      client.unref?.();
      this.pause = kFirstPause;
    } catch (error) {
      this.restart(client, error);
    }
  }

  restart(client, error) {
    if (client !== this.client || this.isClosed) return;
    if (error !== undefined) reportOnce('watch()', error);
    this.client = undefined;
    client.end().catch(() => {});
    this.timer = setTimeout(() => this.start().catch((cause) => reportOnce('watch()', cause)), this.pause);
    this.timer.unref();
    this.pause = Math.min(this.pause * 2, kLongestPause);
  }

  onNotification(client, notification) {
    try {
      if (notification.channel !== 'pgleak') return;
      if (client.recorder !== undefined && notification.processId !== client.recorder) return;
      this.onEvent(JSON.parse(notification.payload));
    } catch (error) {
      reportOnce('a notification', error);
    }
  }

  onEvent(event) {
    if (event.kind !== undefined && event.kind !== 'session') return;
    for (const [client, checkout] of this.state.taken) {
      if (client.processID !== event.pid) continue;
      this.state.tell(`pgleak: leak ${event.leak_id}, connection ${event.pid} of ${event.application_name}: ${wordsOf(event)}`
        + takenAt(checkout));
      this.options.onLeak?.(event, { pid: client.processID, since: new Date(checkout.since), client });
    }
  }

  async close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    await this.client?.end().catch(() => {});
  }
}

function wordsOf(event) {
  switch (event.event) {
    case 'opened':
      return `past its limit of ${event.leak_after} s on the ${event.clock} clock${event.code ? `, at ${event.code}` : ''}`;
    case 'blocking': return `blocks ${event.blocked} others`;
    case 'acted': return `${event.action}: ${event.result}`;
    case 'ended': return `ended, ${event.outcome}`;
    default: return String(event.event);
  }
}

function watch(pool, options = {}) {
  if (!states.has(pool)) throw new TypeError('watch() needs a pool that wrap() has returned');
  const watcher = new Watcher(pool, options);
  watcher.start().catch((error) => reportOnce('watch()', error));
  return { close: () => watcher.close() };
}

module.exports = { watch };
