// The types of the companion for node-pg, as an application in TypeScript uses them.
// Called by: test/clients/run companion_node, through tsc where there is one. It is compiled, not run.
// Must never: need @types/pg.

import { checkouts, middleware, setTags, watch, withTags, wrap } from '../../../clients/node/index';
import { noOpenTransactions } from '../../../clients/node/test';

class Pool {
  totalCount = 0;
  connect(): Promise<object> { return Promise.resolve({}); }
  query(text: string, values: unknown[] = []): Promise<{ rows: any[] }> { return Promise.resolve({ rows: [text, values] }); }
}

const pool: Pool = wrap(new Pool(), { root: '/srv', returnLost: true, log: (message: string) => message.length });
const watcher = watch(pool, { connection: { user: 'monitor' }, onLeak: (event, checkout) => event.leak_id + checkout.pid });
const rows: Promise<any[]> = withTags({ route: '/orders/:id', attempt: 2 }, async () => (await pool.query('SELECT 1')).rows);
setTags({ job: undefined });
middleware()({}, {}, () => rows);
const stacks: string[] = checkouts(pool).map(({ stack }) => stack);
const hook: () => Promise<void> = noOpenTransactions({ client: pool, applicationName: 'shop', pools: [pool] });
export { hook, stacks, watcher };
