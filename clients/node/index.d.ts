// Types of pgleak-client. They describe what it needs of a pool, so they work with any version of @types/pg, and without it.

/** A pool of node-pg. */
export interface PoolLike {
  connect(...values: any[]): any;
  query(...values: any[]): any;
}

/** Keys and values of an sqlcommenter comment. undefined and '' are left out; a value is cut at 255 characters. */
export type Tags = Record<string, string | number | boolean | null | undefined>;

export interface WrapOptions {
  /** Paths are shown relative to this directory; by default, the one in which the process was started. */
  root?: string;
  /** Give a client that is lost while checked out back to the pool, and discard it. Off by default. */
  returnLost?: boolean;
  /** Gets each line for people; by default, console.warn(). */
  log?: (message: string) => void;
}

/** Where a client was taken that has not been released. */
export interface Checkout {
  /** Process id of its session; undefined with pg-native. */
  pid: number | undefined;
  since: Date;
  /** The application's frames, one a line. */
  stack: string;
}

/** What NOTIFY pgleak says; doc/views.md lists the members. */
export interface LeakEvent {
  event: 'opened' | 'blocking' | 'acted' | 'ended' | string;
  leak_id: number;
  kind?: string;
  pid: number;
  database: string;
  role: string;
  application_name: string;
  code?: string;
  [member: string]: unknown;
}

export interface WatchOptions {
  /** The database that contains pgleak, its setting pgleak.database; by default, postgres. */
  database?: string;
  /** Options of pg.Client that differ from the pool's, such as user and password. */
  connection?: object;
  /** Called after the log line, with the checkout and its client. */
  onLeak?: (event: LeakEvent, checkout: { pid: number; since: Date; client: unknown }) => void;
}

/**
 * Makes the pool's statements name the line of code that sent them, and the request, in a comment at their end; remembers where
 * each client was taken. Returns the same pool. Never throws.
 */
export function wrap<P extends PoolLike>(pool: P, options?: WrapOptions): P;

/** Listens on NOTIFY pgleak and logs, for a leak of one of the pool's connections, where it was taken. */
export function watch(pool: PoolLike, options?: WatchOptions): { close(): Promise<void> };

/** The clients that were taken and not released, for a debug page. */
export function checkouts(pool: PoolLike): Checkout[];

/** Makes the statements of a client name their line, for pools other than pg.Pool. Returns the client. */
export function tagClient<C extends { query(...values: any[]): any }>(client: C): C;

/** Runs `work`, whose statements have these tags, beside those of the caller. */
export function withTags<R>(tags: Tags, work: () => R): R;

/** Adds tags to the current request, within withTags() or middleware(). */
export function setTags(tags: Tags): void;

/** For Express: app.use(middleware()); for Fastify: app.addHook('onRequest', middleware()). Tags route and traceparent. */
export function middleware(): (request: any, response: any, next: (...values: any[]) => any) => any;
