// peer.mjs <system>: a case of six durable steps on another system, for t/bench/loop.pl.
// Reads lines "<cases at once> <cases>" and answers each with one line of JSON: what
// it took. The steps do nothing; a case is over when its last step is durable.
// Submitter and workers share this process, which is to the peer's advantage.
import { createInterface } from 'node:readline';

const system = process.argv[2];
const { start } = await import(`./${system}.mjs`);
const peer = await start(process.argv[3]);
let made = 0;

async function cases(conc, total) {
  const took = [];
  let left = total;
  const began = performance.now();
  await Promise.all(Array.from({ length: conc }, async () => {
    while (left-- > 0) {
      const at = performance.now();
      await peer.run(`case-${process.pid}-${++made}`);
      took.push(performance.now() - at);
    }
  }));
  const secs = (performance.now() - began) / 1000;
  took.sort((a, b) => a - b);
  return { conc, cases_s: total / secs, p50_ms: took[took.length >> 1], p99_ms: took[Math.floor(took.length * 0.99)], secs };
}

console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const [conc, total] = line.split(' ').map(Number);
  console.log(JSON.stringify(await cases(conc, total)));
}
process.exit(0);
