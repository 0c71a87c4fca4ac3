// The page: a list of schedules, or one of them with its runs, as the part of the address behind # says.

import { Refused, all, call, key } from "./calls.js";
import { dot, make, meaning, moment, note, shown, state, timing } from "./parts.js";

const POLL_MS = 5000;
const RUNS_MS = 20000; // how old a list's row of runs may grow, unless one of them is open
const DOTS = 12;
const MOST = 1000; // schedules that are listed
const RUNS = 20; // runs of a page of history

const at = (id) => document.getElementById(id);
const main = at("main");
const lately = new Map(); // runs of schedules in the list, by id: {runs, at}
const jobs = new Map(); // jobs that have ended, by id
let drawn = null; // what was drawn last, so that nothing that stayed the same is drawn anew
let pages = []; // where the pages of history before the one that is shown begin
let timer = null;
let round = 0;

const chosen = () => decodeURIComponent(location.hash.slice(1));

function tell(error) {
  at("trouble").hidden = !error;
  at("trouble").textContent = error ?? "";
}

function draw(content, ...children) {
  const seen = JSON.stringify(content);
  if (seen === drawn) return;
  const focused = document.activeElement?.dataset?.focus;
  const unfolded = main.querySelector("details")?.open ?? false;
  drawn = seen;
  main.replaceChildren(...children.filter((child) => child !== null));
  if (unfolded) main.querySelector("details")?.setAttribute("open", "");
  if (focused) main.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
}

// --- the list ----------------------------------------------------------------------------------------

function card(schedule) {
  const zone = schedule.timezone;
  const next = schedule.next_fire_times[0];
  const runs = lately.get(schedule.id)?.runs ?? null;
  const dots = (runs ?? []).toReversed().map((run) => make("li", {}, dot(run, zone)));
  const row = runs === null ? "Runs: \u2026" : runs.length === 0 ? "No runs yet" : "Runs, the newest last: ";
  return make(
    "li",
    { class: "card" },
    make("h2", {}, make("a", { href: `#${encodeURIComponent(schedule.id)}`, "data-focus": schedule.id },
      schedule.name || schedule.id)),
    make("div", { class: "when" },
      make("p", {}, timing(schedule)),
      next ? make("p", { class: "faint" }, "next ", moment(next, zone)) : null),
    state(schedule),
    make("div", { class: "runs" },
      note(schedule),
      make("p", { class: "faint" }, row, dots.length ? make("ol", { class: "dots" }, ...dots) : null)),
  );
}

function drawList(schedules) {
  const runs = schedules.map((one) => lately.get(one.id)?.runs ?? null);
  if (schedules.length === 0) {
    const command = make("code", {}, "textmill schedules create");
    draw([], make("p", {}, "There are no schedules yet: ", command, " makes one."));
    return;
  }
  draw([schedules, runs], make("ul", { class: "cards" }, ...schedules.map(card)));
}

async function list(mine) {
  const schedules = await all("schedules", MOST);
  if (mine !== round) return;
  drawList(schedules);
  for (const one of schedules.filter(({ id }) => isOld(lately.get(id))).slice(0, 20)) {
    const page = await call(`schedules/${encodeURIComponent(one.id)}/runs?limit=${DOTS}`).catch(gone);
    if (mine !== round) return;
    lately.set(one.id, { runs: page.data, at: Date.now() });
  }
  drawList(schedules);
}

function isOld(known) {
  if (known === undefined) return true;
  return Date.now() - known.at > (known.runs.some((run) => run.status === "open") ? POLL_MS : RUNS_MS);
}

// Whoever was deleted meanwhile has no runs.
function gone(error) {
  if (error.status === 404) return { data: [], next_after: null };
  throw error;
}

// --- one schedule ------------------------------------------------------------------------------------

const DONE = new Set(["completed", "failed", "expired", "cancelled"]);

async function jobOf(run) {
  if (run.job === null) return null;
  if (run.ended_at !== null && jobs.has(run.job)) return jobs.get(run.job);
  const job = await call(`jobs/${encodeURIComponent(run.job)}`).catch((error) => {
    if (error.status === 404) return null; // deleted, or not yet submitted
    throw error;
  });
  if (job !== null && DONE.has(job.status)) jobs.set(run.job, job);
  return job;
}

function counts(job) {
  if (job === null) return "";
  const { total, completed, failed } = job.request_counts;
  const state = DONE.has(job.status) ? "" : `${job.status}: `;
  return `${state}${completed} of ${total ?? "?"} rows done, ${failed} failed`;
}

// What became of the corpus of an incremental run.
function corpus(run) {
  if (run.corpus === null) return "";
  const told = [["new", "new"], ["changed", "changed"], ["carried", "carried over"], ["gone", "gone"]]
    .filter(([name]) => run.corpus[name] > 0)
    .map(([name, words]) => `${run.corpus[name]} ${words}`);
  return [`${run.corpus.computed} rows computed`, ...told].join(", ");
}

// The jobs that followed the first.
function steps(run) {
  return run.jobs.filter((job) => job.step !== null).map((job) => make(
    "div", {}, `${job.step}: ${job.status}${job.reason ? ` (${job.reason})` : ""} `, make("code", {}, job.job)));
}

function work(run, job) {
  if (run.removed_at !== null) return ["removed"];
  const lines = [counts(job), corpus(run)].filter(Boolean).map((line) => make("div", {}, line));
  return [run.job ? make("code", {}, run.job) : "none", ...lines, ...steps(run)];
}

function why(run, job) {
  const error = run.error ?? job?.error;
  const said = error ? `${error.code}: ${error.message}` : run.reason;
  const kind = [run.manual && "triggered", run.late && "made up for", run.full && "full"].filter(Boolean).join(", ");
  return [said, kind ? `(${kind})` : null].filter(Boolean).join(" ");
}

function history(runs, records, zone) {
  const rows = runs.map((run, place) => make(
    "tr", {},
    make("td", {}, moment(run.fire_at, zone)),
    make("td", {}, make("span", { "aria-hidden": "true" }, dot(run, zone)), meaning(run)),
    make("td", { "data-name": "Job" }, ...work(run, records[place])),
    make("td", { "data-name": "Why" }, why(run, records[place])),
    make("td", { "data-name": "Ended" }, run.ended_at ? moment(run.ended_at, zone) : ""),
  ));
  const names = ["For", "Status", "Job", "Why", "Ended"].map((name) => make("th", { scope: "col" }, name));
  return make("div", { class: "scroll" }, make("table", {},
    make("caption", {}, `Runs, the newest first; times in ${zone}`),
    make("thead", {}, make("tr", {}, ...names)),
    make("tbody", {}, ...rows)));
}

function button(label, action) {
  return make("button", { type: "button", "data-focus": label, onclick: action }, label);
}

function drawOne(schedule, page, records) {
  const { id, timezone: zone } = schedule;
  const name = schedule.name || id;
  const named = `\u201c\u2068${name}\u2069\u201d`; // whichever way its letters run, what follows does not
  const act = (verb, question) => () => ask(question).then((yes) => yes && change(id, verb));
  const next = schedule.next_fire_times.map((time) => make("li", {}, moment(time, zone)));
  const turn = (begin) => () => { pages = begin; refresh(); };
  draw(
    [schedule, page, records],
    make("p", {}, make("a", { href: "#", "data-focus": "all" }, "\u2190 All schedules")),
    make("div", { class: "head" },
      make("h2", {}, name), make("p", { class: "faint" }, make("code", {}, id)),
      state(schedule), note(schedule), make("p", {}, timing(schedule))),
    make("div", { class: "actions" },
      schedule.paused
        ? button("Resume", act("resume", `Let ${named} fire again?`))
        : button("Pause", act("pause", `Pause ${named}? Runs that are open go on.`)),
      button("Trigger", act("trigger", `Make a run of ${named} now?`))),
    make("h3", {}, `Fires next (${zone})`),
    next.length ? make("ol", {}, ...next) : make("p", { class: "faint" }, "Not at all."),
    make("h3", {}, "History"),
    page.data.length ? history(page.data, records, zone) : make("p", { class: "faint" }, "No runs."),
    make("div", { class: "actions" },
      pages.length ? button("Newest", turn([])) : null,
      page.next_after ? button("Older", turn([...pages, page.next_after])) : null),
    make("details", {}, make("summary", {}, "The jobs that it submits"),
      make("pre", { tabindex: "0" }, JSON.stringify([schedule.job, ...(schedule.then ?? [])], null, 2))),
  );
}

async function one(id, mine) {
  const path = `schedules/${encodeURIComponent(id)}`;
  const after = pages.length ? `&after=${encodeURIComponent(pages.at(-1))}` : "";
  const [schedule, page] = await Promise.all([call(path), call(`${path}/runs?limit=${RUNS}${after}`)]);
  const records = [];
  for (const run of page.data) records.push(mine === round ? await jobOf(run) : null);
  if (mine === round) drawOne(schedule, page, records);
}

function ask(question) {
  const dialog = at("confirm");
  at("confirm-text").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function change(id, verb) {
  for (const one of main.querySelectorAll("button")) one.disabled = true;
  let trouble = null;
  try {
    await call(`schedules/${encodeURIComponent(id)}/${verb}`, "POST");
  } catch (error) {
    trouble = error.message;
  }
  drawn = null;
  lately.delete(id);
  await refresh();
  if (trouble !== null) tell(trouble);
}

// --- when to look --------------------------------------------------------------------------------------

function wantKey(message) {
  key.forget();
  jobs.clear();
  lately.clear();
  drawn = null;
  main.replaceChildren();
  at("forget").hidden = true;
  at("updated").textContent = "";
  at("key-form").hidden = false;
  at("key").focus();
  tell(message);
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++round;
  if (key.get() === null) {
    wantKey(null);
    return;
  }
  at("key-form").hidden = true;
  at("forget").hidden = false;
  try {
    const id = chosen();
    await (id ? one(id, mine) : list(mine));
    if (mine !== round) return;
    tell(null);
    at("updated").textContent = `as of ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    if (mine !== round) return;
    if (error.status === 401) {
      wantKey("The key is not valid.");
      return;
    }
    tell(error instanceof Refused ? error.message : `This page failed: ${error.message}`);
    if (error.status === 404) {
      drawn = null;
      main.replaceChildren(make("p", {}, make("a", { href: "#" }, "\u2190 All schedules")));
    }
  }
  if (document.visibilityState === "visible") timer = setTimeout(refresh, POLL_MS);
}

at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(at("key").value.trim());
  at("key").value = "";
  refresh();
});
at("forget").addEventListener("click", () => {
  round += 1;
  clearTimeout(timer);
  wantKey(null);
});
addEventListener("hashchange", () => {
  pages = [];
  drawn = null;
  main.replaceChildren();
  main.focus();
  refresh();
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") refresh();
});
refresh();
