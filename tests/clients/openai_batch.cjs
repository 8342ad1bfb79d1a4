// openai_batch: upload FILE, score it as a batch, print its counts and output lines as one JSON value
//
//   node openai_batch.cjs BASE_URL FILE ENDPOINT
//
// CONVOY_API_KEY is the key, where the gateway asks for one; NODE_EXTRA_CA_CERTS its certificate.
const fs = require("node:fs");
const OpenAI = require("openai");

const ended = new Set(["completed", "failed", "cancelled", "expired"]);

async function main([baseURL, path, endpoint]) {
  const client = new OpenAI({ baseURL, apiKey: process.env.CONVOY_API_KEY ?? "none needed" });
  const file = await client.files.create({ file: fs.createReadStream(path), purpose: "batch" });
  let batch = await client.batches.create({ input_file_id: file.id, endpoint, completion_window: "24h" });
  while (!ended.has(batch.status)) {
    await new Promise((wake) => setTimeout(wake, 50)); // between two looks
    batch = await client.batches.retrieve(batch.id);
  }
  const listed = [];
  for await (const one of client.batches.list()) listed.push(one.id);
  if (!listed.includes(batch.id)) throw new Error(`${batch.id} is not in the list: ${listed}`);
  if (batch.status !== "completed") throw new Error(JSON.stringify(batch));
  const text = await (await client.files.content(batch.output_file_id)).text();
  const lines = text.trimEnd().split("\n").map((line) => JSON.parse(line));
  console.log(JSON.stringify({ request_counts: batch.request_counts, lines }));
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
