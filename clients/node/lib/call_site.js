'use strict';
// Which line of the application sent a statement: the first stack frame outside of Node.js, of node_modules, of the
// distribution's libraries and of this package.
//
// Capturing a stack costs about a microsecond for each frame. Most applications call the driver themselves, so the first
// attempt looks at one frame only. A site is built once for each place in the source and then found by its offset.

const path = require('node:path');
const { fileURLToPath } = require('node:url');
const nodeModule = require('node:module');

const kDepths = [1, 12, 40];
const kStackDepth = 12;
const kMaxSites = 10_000;
const kOwnDirectory = path.dirname(__dirname) + path.sep;
const kLibraries = /(^node:|^internal\/|[\\/]node_modules[\\/]|^\/usr\/(share|lib)\/nodejs\/)/;

let root = process.cwd();
let siteCount = 0;
const positionsOf = new Map(); // file name as V8 has it -> (offset -> site), or null for a library

function pathOf(file) {
  return file.startsWith('file:') ? fileURLToPath(file) : file;
}

function isApplication(file) {
  if (!file) return false; // eval(), native code
  const name = pathOf(file);
  return !kLibraries.test(name) && !name.startsWith(kOwnDirectory);
}

// TypeScript's source, if node runs with --enable-source-maps.
function sourceOf(name, line, column) {
  const entry = nodeModule.findSourceMap?.(name)?.findEntry(line - 1, column - 1);
  if (!entry?.originalSource) return [name, line];
  return [pathOf(entry.originalSource), entry.originalLine + 1];
}

// 'app/orders.js:42 listOrders'. The function of a method is its name only, as in other languages.
function describe(frame) {
  const [name, line] = sourceOf(pathOf(frame.getFileName()), frame.getLineNumber(), frame.getColumnNumber());
  const relative = path.isAbsolute(name) ? path.relative(root, name) : name;
  const shown = relative.startsWith('..') ? name : relative;
  const called = frame.getFunctionName()?.split('.').pop();
  return `${shown.split(path.sep).join('/')}:${line}${called && called !== '<anonymous>' ? ` ${called}` : ''}`;
}

// For Error.prepareStackTrace: a site, { code }, or undefined if no frame is the application's.
function pickSite(_, frames) {
  for (const frame of frames) {
    const file = frame.getFileName();
    let positions = positionsOf.get(file);
    if (positions === undefined) {
      positions = isApplication(file) ? new Map() : null;
      if (positionsOf.size < kMaxSites) positionsOf.set(file, positions);
    }
    if (positions === null) continue;
    const position = frame.getPosition();
    let site = positions.get(position);
    if (site === undefined) {
      site = { code: describe(frame) };
      if (siteCount++ < kMaxSites) positions.set(position, site);
    }
    return site;
  }
  return undefined;
}

// The site of the application's code that called `entrance`, a function of this package.
function callSite(entrance) {
  const limit = Error.stackTraceLimit;
  const prepare = Error.prepareStackTrace;
  try {
    Error.prepareStackTrace = pickSite;
    for (const depth of kDepths) {
      Error.stackTraceLimit = depth;
      const holder = {};
      Error.captureStackTrace(holder, entrance);
      const site = holder.stack;
      if (site !== undefined) return site;
    }
    return undefined;
  } finally {
    Error.prepareStackTrace = prepare;
    Error.stackTraceLimit = limit;
  }
}

// A stack for people. It is formatted when somebody reads it.
function captureStack(entrance) {
  const limit = Error.stackTraceLimit;
  const holder = {};
  try {
    Error.stackTraceLimit = kStackDepth;
    Error.captureStackTrace(holder, entrance);
  } finally {
    Error.stackTraceLimit = limit;
  }
  return holder;
}

// The lines of such a stack without those of libraries, or all of them if there are no others.
function linesOf(holder) {
  const lines = String(holder.stack).split('\n').filter((line) => /^\s+at /.test(line));
  const own = lines.filter((line) => isApplication(line.replace(/^\s+at (async )?(.*\()?/, '')));
  return own.length > 0 ? own : lines;
}

// Paths are shown relative to this directory.
function setRoot(directory) {
  root = path.resolve(directory);
}

module.exports = { callSite, captureStack, linesOf, setRoot };
