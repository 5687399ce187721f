'use strict';

const { checkouts, tagClient, wrap } = require('./lib/pool.js');
const { middleware, setTags, withTags } = require('./lib/tags.js');
const { watch } = require('./lib/watch.js');

module.exports = { wrap, watch, checkouts, tagClient, withTags, setTags, middleware };
