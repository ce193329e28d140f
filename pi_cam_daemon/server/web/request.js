// Asking a camera, and understanding when it refuses.

// With a password in its address a page cannot fetch.
const bare = document.URL.replace(/^(\w+:..)[^/]+@/, "$1");
if (bare !== document.URL) location.replace(bare);

// An answer that is no success. Some statuses have several kinds.
export class Refusal extends Error {
  constructor(status, kind, reason) {
    super(`${status}: ${reason}`);
    Object.assign(this, { status, kind, reason });
  }
}

// At the door the answer is a page, whoever asks.
async function reasonOf(reply) {
  const said = await reply.text();
  if (!(reply.headers.get("Content-Type") || "").startsWith("text/html")) return said;
  const parts = new DOMParser().parseFromString(said, "text/html").querySelectorAll("body > :not([lang])");
  return [...parts].map((part) => part.textContent).join("\n\n");
}

// Rejects when the answer is not complete in time.
export async function request(path, milliseconds, read, method = "GET") {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), milliseconds);
  try {
    const reply = await fetch(path, { method, cache: "no-store", signal: abort.signal });
    if (!reply.ok) throw new Refusal(reply.status, reply.headers.get("X-Refused"), await reasonOf(reply));
    return await read(reply);
  } finally {
    clearTimeout(timer);
  }
}
