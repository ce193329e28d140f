// Asks a camera, and understands its refusals.

// A page whose address holds a password may not fetch.
const bare = document.URL.replace(/^(\w+:..)[^/]+@/, "$1");
if (bare !== document.URL) location.replace(bare);

// An answer that is no success. *kind* is the server's word for the reason; *seconds* is the time until another attempt makes sense.
export class Refusal extends Error {
  constructor(reply, reason) {
    super(`${reply.status}: ${reason}`);
    const kind = reply.headers.get("X-Refused") || "";
    Object.assign(this, { status: reply.status, kind, reason, seconds: Number(reply.headers.get("Retry-After")) || 0 });
  }
}

// Returns the English reason. Before a request is read the answer is a page in two languages, whoever asks.
async function reasonOf(reply) {
  const said = await reply.text();
  if (!(reply.headers.get("Content-Type") || "").startsWith("text/html")) return said.trim();
  const page = new DOMParser().parseFromString(said, "text/html");
  const part = page.querySelector("section[lang=en]") || page.querySelector("main") || page.body;
  const parts = part.querySelectorAll(":scope > :not(nav, section)");
  return [...parts].map((part) => part.textContent).join("\n\n").trim();
}

// The address of the newest picture. A camera that is slow has no newer one in time.
export const newest = (state) => `snapshot${state?.frames.period_seconds > 2 ? "" : "?max_age_ms=0"}`;

// Returns the reply if it is a success. Throws Refusal.
export async function open(path, options) {
  const own = new URL(path, document.baseURI).origin === location.origin;
  // without this field the browser opens its dialog for a password, and closes it at the end of each poll
  const headers = own ? { "X-Requested-With": "fetch" } : {};
  const reply = await fetch(path, { cache: "no-store", headers, ...options });
  if (!reply.ok) throw new Refusal(reply, await reasonOf(reply));
  return reply;
}

// Returns what *read* makes of the reply. Throws when that is not complete in time.
export async function request(path, milliseconds, read) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), milliseconds);
  try {
    return await read(await open(path, { signal: abort.signal }));
  } finally {
    clearTimeout(timer);
  }
}
