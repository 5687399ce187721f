'use strict';

const { wrap, checkouts } = require('./lib/pool.js');
const { middleware, setTags, withTags } = require('./lib/tags.js');
const { watch } = require('./lib/watch.js');

module.exports = { wrap, watch, checkouts, withTags, setTags, middleware };
