'use strict';
// The companion's own failures. None of them reaches the application: a statement, a checkout or a release goes through
// untouched, and the first failure of each kind is reported once.

const reported = new Set();

function reportOnce(what, error) {
  if (reported.has(what)) return;
  reported.add(what);
  try {
    process.emitWarning(`pgleak-client: ${what} failed, and the application goes on without it: ${error?.message ?? error}`);
  } catch {
    // Nothing is left to say it with.
  }
}

module.exports = { reportOnce };
