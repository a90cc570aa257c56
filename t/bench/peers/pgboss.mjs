// pgboss.mjs: pg-boss: a chain of six jobs whose ids come out of the case's, so that a
// job that runs twice queues its successor once; batches of 64, woken by NOTIFY. The
// last batch closes its cases with one statement.
import { createHash } from 'node:crypto';
import pg from 'pg';
import { PgBoss } from 'pg-boss';

const QUEUE = 'step', LAST = 5;

function job(id, step) {
  const h = createHash('sha256').update(`${id}:${step}`).digest('hex');
  return { id: `${h.slice(0, 8)}-${h.slice(8, 12)}-5${h.slice(13, 16)}-8${h.slice(17, 20)}-${h.slice(20, 32)}`, data: { id, step } };
}

export async function start(url) {
  const pool = new pg.Pool({ connectionString: url, max: 24 });
  const boss = new PgBoss({ connectionString: url, max: 20, schedule: false, useListenNotify: true });
  const waits = new Map();
  boss.on('error', (e) => console.error(e.message));
  await boss.start();
  await boss.createQueue(QUEUE, { notify: true });
  await pool.query('CREATE TABLE the_case (id text PRIMARY KEY, state text NOT NULL, result jsonb)');
  await boss.work(QUEUE, { batchSize: 64, burstWhenBatchFull: true, localConcurrency: 2,
    pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 }, async (jobs) => {
    const next = jobs.filter((j) => j.data.step < LAST).map((j) => job(j.data.id, j.data.step + 1));
    const over = jobs.filter((j) => j.data.step === LAST).map((j) => j.data.id);
    if (next.length) await boss.insert(QUEUE, next);
    if (over.length) {
      await pool.query(`UPDATE the_case SET state = 'CLOSED', result = '{"ok": true}' WHERE id = ANY ($1)`, [over]);
      for (const id of over) {
        waits.get(id)?.();
        waits.delete(id);
      }
    }
  });
  return {
    async run(id) {
      const over = new Promise((resolve) => waits.set(id, resolve));
      await pool.query({ name: 'new', text: `INSERT INTO the_case (id, state) VALUES ($1, 'NEW')`, values: [id] });
      const first = job(id, 0);
      await boss.send(QUEUE, first.data, { id: first.id });
      await over;
    },
  };
}
