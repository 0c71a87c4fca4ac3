// Pieces of the page. All text is set as text: names, reasons and errors are whatever somebody wrote.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function formatter(zone) {
  const options = { dateStyle: "medium", timeStyle: "short" };
  try {
    return new Intl.DateTimeFormat(undefined, { ...options, timeZone: zone });
  } catch {
    return new Intl.DateTimeFormat(undefined, { ...options, timeZone: "UTC" }); // a zone that this browser does not know
  }
}

const formatters = new Map();

// A time of the API on the clock of a zone.
export function shown(time, zone) {
  if (!formatters.has(zone)) formatters.set(zone, formatter(zone));
  return formatters.get(zone).format(new Date(time));
}

export function moment(time, zone) {
  return make("time", { datetime: time, title: time }, shown(time, zone));
}

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

// When a schedule fires, in words.
export function timing(schedule) {
  if (schedule.cron) return `${schedule.cron} (${schedule.timezone})`;
  const [unit, size] = UNITS.find(([, length]) => schedule.every % length === 0);
  const count = schedule.every / size;
  return count === 1 ? `every ${unit}` : `every ${count} ${unit}s`;
}

// Colour, sign and meaning of a run's status: never a colour alone.
const STATUSES = {
  completed: ["good", "\u2713", "completed"],
  failed: ["bad", "\u2715", "failed"],
  refused: ["bad", "\u2715", "refused"],
  expired: ["warn", "!", "expired"],
  cancelled: ["hollow", "\u2013", "cancelled"],
  deleted: ["hollow", "\u2013", "deleted"],
  missed: ["hollow", "\u00d7", "missed"],
  overlap: ["hollow", "=", "left out: an earlier run went on"],
  open: ["busy", "\u2026", "open"],
};

export function meaning(run) {
  return STATUSES[run.status]?.[2] ?? run.status;
}

export function dot(run, zone) {
  const [colour, sign] = STATUSES[run.status] ?? ["hollow", "?"];
  const label = `${meaning(run)}, ${shown(run.fire_at, zone)}`;
  return make("span", { class: `dot ${colour}`, role: "img", "aria-label": label, title: label }, sign);
}

export function state(schedule) {
  if (schedule.paused) return make("p", { class: "state warn" }, "paused");
  if (schedule.late_since) return make("p", { class: "state bad" }, "late");
  return make("p", { class: "state good" }, schedule.next_fire_times.length ? "on" : "ended");
}

export function note(schedule) {
  const zone = schedule.timezone;
  const notes = [];
  if (schedule.paused) {
    notes.push(`Paused since ${shown(schedule.paused.at, zone)}: ${schedule.paused.message}.`);
  }
  if (schedule.late_since) {
    notes.push(`A run should have completed by ${shown(schedule.late_since, zone)} and has not.`);
  }
  return notes.length ? make("p", { class: "note" }, notes.join(" ")) : null;
}
