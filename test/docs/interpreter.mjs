// A Node.js that runs blocks one after the other, with what they declared, as its REPL does with what is typed.
// Called by: sessions.py, as interpreter.mjs END: a line END on its input ends a block, and is printed after its output.
// Must never: end because a block fails.

import repl from 'node:repl';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';

const end = process.argv[2];
const said = new PassThrough();
const server = repl.start({ prompt: '', input: new PassThrough(), output: said, useGlobal: true });
let finish = () => {};

// What a block throws at once the REPL tells only on its own output.
said.on('data', (text) => {
  if (!/^Uncaught /m.test(text)) return;
  process.stdout.write(String(text));
  finish();
});

function run(text) {
  return new Promise((resolve) => {
    finish = resolve;
    server.eval(text, server.context, 'block', (error) => {
      if (error) console.log('Uncaught', error);
      resolve();
    });
  });
}

let block = '';
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== end) {
    block += `${line}\n`;
    continue;
  }
  await run(block);
  block = '';
  console.log(end);
}
process.exit();
