'use strict';
// The protocol of spec/14-conformance.md, BC-CNF-08 and 09: a request on a line of the standard input, an answer on a line
// of the standard output.

const readline = require('node:readline');
const { verify } = require('./verify');

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = verify(request);
    } catch (error) {
      process.stderr.write(`${request.case}: ${error.stack}\n`);
      answer = { fault: `${error.message}`.slice(0, 1000) || 'unknown' };
    }
    process.stdout.write(`${JSON.stringify({ case: request.case, ...answer })}\n`);
  }
}

main();
