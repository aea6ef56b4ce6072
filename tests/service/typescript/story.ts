// A job from its request to its files, in the words of a client that a generator made: address, folder of a model.
import { createHash } from "node:crypto";
import * as layercut from "./generated";
import { client } from "./generated/client.gen";

async function main(address: string, model: string): Promise<void> {
  client.setConfig({ baseUrl: address, throwOnError: true });
  const prune: layercut.PruneSpec = { strategy: "top", drop: 2 };
  const asked = await layercut.createJob({
    body: { model, task: "none", prune, evaluation: { latency: { batch_sizes: [] } } },
    headers: { "Idempotency-Key": "story-1" },
  });
  const queued = asked.data as layercut.Job;
  console.log(JSON.stringify({ id: queued.id, kept: queued.resolved?.plan?.kept }));

  let job = queued;
  while (!["succeeded", "failed", "cancelled"].includes(job.status)) {
    job = (await layercut.getJob({ path: { job_id: job.id }, headers: { Prefer: "wait=10" } })).data as layercut.Job;
  }
  const report = (await layercut.getReport({ path: { job_id: job.id } })).data as layercut.Report;
  const files = (await layercut.listFiles({ path: { job_id: job.id } })).data as layercut.FileList;
  const tar = await layercut.download({ path: { job_id: job.id }, parseAs: "arrayBuffer" });
  const digest = createHash("sha256").update(Buffer.from(tar.data as unknown as ArrayBuffer)).digest("hex");
  console.log(
    JSON.stringify({
      status: job.status,
      retention: job.result?.retention,
      dropped: report.layers.dropped,
      files: files.data.map((file) => file.name),
      whole: tar.response?.headers.get("etag") === `"sha256-${digest}"`,
    }),
  );

  const refused = await layercut.createPlan({ body: { model, prune: { drop: 6 } }, throwOnError: false });
  const problem = refused.error as layercut.Problem;
  console.log(JSON.stringify({ code: problem.code, pointer: problem.errors?.[0]?.pointer }));
}

main(process.argv[2], process.argv[3]).catch((error) => {
  console.error(error);
  process.exit(1);
});
