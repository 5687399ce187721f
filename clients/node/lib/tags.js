'use strict';
// The tags of the request that runs now: what withTags() and setTags() say, and what middleware() finds in the request.
// They follow the request through await and callbacks.

const { AsyncLocalStorage } = require('node:async_hooks');
const { encodePairs } = require('./comment.js');
const { reportOnce } = require('./report.js');

const storage = new AsyncLocalStorage();
const kTraceparent = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

// The route as the application declared it, such as /orders/:id, never the path of the URL: that names each order.
// Express knows it once it has matched the request, Fastify from the start.
function routeOf(request) {
  if (request.route?.path !== undefined) return `${request.baseUrl ?? ''}${request.route.path}`;
  return request.routeOptions?.url ?? request.routerPath;
}

function withTags(tags, work) {
  let context;
  try {
    const outer = storage.getStore();
    context = { tags: { ...outer?.tags, ...tags }, request: outer?.request, route: undefined, pairs: undefined };
  } catch (error) {
    reportOnce('withTags()', error);
    return work();
  }
  return storage.run(context, work);
}

// Adds to the tags of the current request; without one, does nothing.
function setTags(tags) {
  try {
    const context = storage.getStore();
    if (context === undefined) return;
    Object.assign(context.tags, tags);
    context.pairs = undefined;
  } catch (error) {
    reportOnce('setTags()', error);
  }
}

// For Express, app.use(middleware()); for Fastify, app.addHook('onRequest', middleware()).
function middleware() {
  return function pgleakTags(request, response, next) {
    let context;
    try {
      const traceparent = request.headers?.traceparent;
      context = { tags: kTraceparent.test(traceparent) ? { traceparent } : {}, request, route: undefined, pairs: undefined };
    } catch (error) {
      reportOnce('middleware()', error);
      return next();
    }
    return storage.run(context, next);
  };
}

// The encoded tags of the current request, '' without any.
function currentPairs() {
  const context = storage.getStore();
  if (context === undefined) return '';
  const route = context.request === undefined ? undefined : routeOf(context.request);
  if (context.pairs === undefined || route !== context.route) {
    context.route = route;
    context.pairs = encodePairs(route === undefined ? context.tags : { route, ...context.tags });
  }
  return context.pairs;
}

// A callback that runs with the tags of now.
function keepTags(callback) {
  const context = storage.getStore();
  return (...values) => storage.run(context, callback, ...values);
}

module.exports = { currentPairs, keepTags, middleware, setTags, withTags };
