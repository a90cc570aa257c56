// dbos.mjs: DBOS Transact: one workflow of six steps in this process, its id the
// idempotency key; the SDK's own settings.
import { DBOS } from '@dbos-inc/dbos-sdk';

export async function start(url) {
  DBOS.setConfig({ name: 'bench', systemDatabaseUrl: url, logLevel: 'error' });
  const flow = DBOS.registerWorkflow(async (id) => {
    let last;
    for (let step = 0; step < 6; step++) {
      last = await DBOS.runStep(async () => ({ id, step, ok: true }), { name: `step${step}` });
    }
    return last;
  }, { name: 'case' });
  await DBOS.launch();
  return { run: async (id) => (await DBOS.startWorkflow(flow, { workflowID: id })(id)).getResult() };
}
