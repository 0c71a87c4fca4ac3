// Calls of the API. The key is kept for as long as this tab is open, and is sent nowhere but here.

const NAME = "textmill.key";

export const key = {
  get: () => sessionStorage.getItem(NAME),
  set: (value) => sessionStorage.setItem(NAME, value),
  forget: () => sessionStorage.removeItem(NAME),
};

// What the API refused, with its status; or status 0: nobody answered.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function call(path, method = "GET") {
  let response;
  try {
    response = await fetch(`v1/${path}`, {
      method,
      headers: { Authorization: `Bearer ${key.get()}` },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(20000),
    });
  } catch {
    throw new Refused(0, "The server does not answer.");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) {
    throw new Refused(response.status, body?.detail ?? `The server answered ${response.status}.`);
  }
  return body;
}

// All items of a listing, at most so many.
export async function all(path, most) {
  const found = [];
  let after = null;
  do {
    const more = after === null ? "" : `&after=${encodeURIComponent(after)}`;
    const page = await call(`${path}?limit=100${more}`);
    found.push(...page.data);
    after = page.next_after;
  } while (after && found.length < most);
  return found;
}
