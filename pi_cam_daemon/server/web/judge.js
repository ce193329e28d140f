// What a viewer is told: one judgement for the page and for each tile of the wall. No clock and no page in here.

const FRESH_MS = 3000; // a picture may be so old at least
const ANSWER_MS = 6000; // without an answer for so long, the server is gone
const CONNECT_MS = 4000;

// Reasons of refusals. A proxy in between knows only the status.
const REFUSALS = {
  network: "network", proxy: "network", host: "host", password: "password", lockout: "lockout", logins: "taken", tls: "tls",
  max_viewers: "full", max_tls_viewers: "full", max_viewers_per_address: "crowded",
  max_connections: "taken", max_connections_per_address: "taken", threads: "taken",
  401: "password", 403: "network", 421: "host", 429: "taken", 502: "offline", 504: "offline",
};

const TONES = {
  live: "good", held: "rest", played: "rest", asleep: "rest", connecting: "rest", still: "wait", starting: "wait", failed: "wait", "test-picture": "wait",
  full: "wait", crowded: "wait", taken: "wait", password: "wait", lockout: "wait",
};

// The key of a refusal; "" for one that says nothing of its own.
export const refusalKey = (refusal) => (refusal && (REFUSALS[refusal.kind] || REFUSALS[refusal.status])) || "";

// How long a picture counts as live, in milliseconds, if the camera takes one each *period* seconds and *rate* a second come here.
export const freshFor = (period, rate) => Math.max(FRESH_MS, 3000 * (period || 0), 3000 / (rate || Infinity));

const causeKey = (cause) => (cause === "stalled" ? "frozen" : cause);

// Returns { key, cause, tone, dim, since, values }: a key of the texts, the key of the reason, which is another one for a test
// picture, a tone of the colours, whether the picture is dimmed, the time in ms since 1970 that the text names.
//
// now: ms since 1970. state: the newest answer of /state, or null. answeredAt: when it came. refusal: of /state.
// held: a single picture is shown on purpose, and failed: the last one could not be taken. stream: a Live; openedAt: when the page began to show it.
// played: a recording is shown in its place.
export function judge({ now, state, answeredAt, refusal, held, failed, stream, openedAt, played }) {
  const told = (key, since = stream.pictureAt) => {
    const tone = TONES[key] || "bad";
    const seconds = (stream.refusal || refusal)?.seconds || 0;
    const cause = key === "test-picture" ? causeKey(state.cause) || "missing" : key;
    return { key, cause, tone, dim: !["live", "test-picture", "held", "played"].includes(key), since, values: { ...state?.values, seconds } };
  };
  const frames = state?.frames;
  const fresh = freshFor(frames?.period_seconds, stream.rate);
  if (played) return told("played");
  if (held && !failed && stream.jpeg) return told("held");
  // a stream that is opened again shows its last picture meanwhile
  if (!stream.cause && stream.pictureAt !== null && now - stream.pictureAt < (stream.open ? fresh : FRESH_MS))
    return told(state?.source.stand_in ? "test-picture" : "live");

  const refused = refusalKey(stream.refusal) || refusalKey(refusal);
  if (refused) return told(refused, answeredAt);
  if (answeredAt === null ? now - openedAt > ANSWER_MS : now - answeredAt > ANSWER_MS) return told("offline", answeredAt);
  if (!state) return told(answeredAt === null || now - openedAt < CONNECT_MS ? "connecting" : "unknown");
  if (!state.ok && !state.source.stand_in) return told(causeKey(state.cause) || "starting");
  if (state.state === "idle") return told("asleep");
  if (stream.cause) return told(causeKey(stream.cause));
  if (frames.age_seconds !== null && 1000 * frames.age_seconds > fresh) return told("frozen", answeredAt - 1000 * frames.age_seconds);
  if (held) return told(failed ? "failed" : "connecting");
  const waits = now - Math.max(stream.pictureAt ?? 0, openedAt) < CONNECT_MS || now - answeredAt > FRESH_MS;
  return told(waits ? "connecting" : "link");
}
