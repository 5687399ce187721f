// Types of pgleak-client/test.

import { PoolLike } from './index';

export interface OpenTransactionOptions {
  /** A pool, or a connected client, of the database that contains pgleak; not one that the tests use. */
  client: { query(text: string, values: unknown[]): Promise<{ rows: any[] }> };
  /** Sessions with this name belong to the code under test; without it, all sessions do that the role may see. */
  applicationName?: string;
  /** Wrapped pools of the code under test, for the stack of the checkout. */
  pools?: PoolLike[];
  /** How long a transaction may take to end after its test, in milliseconds; 500 by default. */
  patience?: number;
}

/** For afterEach() of node:test: fails a test that leaves a transaction open on the server, with its code and trail. */
export function noOpenTransactions(options: OpenTransactionOptions): () => Promise<void>;
