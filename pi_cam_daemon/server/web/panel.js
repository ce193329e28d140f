// What the panels of the drawer share.

import { language, put, putSentence } from "./text.js";

const ANSWER_MS = 15000; // a camera that is asleep is woken first

const words = {
  en: {
    admins: "Only an admin may change these values.",
    failures: {
      0: "The camera server does not answer.", 401: "Only an admin may do that.", 403: "Only an admin may do that.",
      503: "The camera is not running.", 504: "The camera did not answer in time.",
    },
  },
  ko: {
    admins: "이 값은 관리자만 바꿀 수 있습니다.",
    failures: {
      0: "카메라 서버가 응답하지 않습니다.", 401: "관리자만 바꿀 수 있습니다.", 403: "관리자만 바꿀 수 있습니다.",
      503: "카메라가 켜져 있지 않습니다.", 504: "카메라가 제때 응답하지 않았습니다.",
    },
  },
}[language];

export function make(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

export function button(textContent, press, label, className = "") {
  const node = make("button", { type: "button", textContent, className });
  if (label) node.setAttribute("aria-label", label);
  node.addEventListener("click", press);
  return node;
}

export const forAdmins = () => make("p", { className: "muted", hidden: true, textContent: words.admins });

// An answer is { ok, table, told }: `table` is its JSON, or null.
export async function ask(path, body) {
  const post = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    const reply = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS), ...post });
    const told = await reply.text();
    const table = told.startsWith("{") ? JSON.parse(told) : null;
    return { ok: reply.ok && table !== null, table, told: table ? "" : told.trim(), why: words.failures[reply.status] };
  } catch {
    return { ok: false, table: null, told: "", why: words.failures[0] };
  }
}

// The foot of a panel: what was done or what failed, in the page's language and in the server's, beside *buttons*.
// While nothing else is to be said, it is what `rest` was told.
export function foot(label, ...buttons) {
  const [said, english] = [make("span"), make("span", { className: "muted", lang: "en" })];
  const node = make("div", { className: "foot" }, make("p", { role: "status" }, said, " ", english), ...buttons);
  let [now, resting] = ["", ""];
  const say = (what, detail = "") => {
    now = what;
    put(said, now || resting);
    putSentence(english, detail);
  };
  const rest = (what) => {
    resting = what;
    if (!now) say("");
  };
  const complain = (what, { table, told, why }) => {
    const errors = Object.entries(table?.errors || {}).map(([name, error]) => `${label(name)}: ${error}`);
    say(why ? `${what} ${why}` : what, errors.join("\n") || (why ? "" : told));
  };
  return { node, say, rest, complain };
}

document.head.append(make("link", { rel: "stylesheet", href: "panels.css" }));

// An input for a value as the server describes it: { node, read, show }.
export function field(id, { kind, choices, minimum, maximum, step }, word = String) {
  const node = choices
    ? make("select", { id }, ...choices.map((value) => make("option", { value, textContent: word(value) })))
    : make("input", { id, type: { boolean: "checkbox", text: "text" }[kind] || "number" });
  if (node.type === "number") Object.assign(node, { min: minimum, max: maximum, step: kind === "number" ? "any" : step || 1 });
  const read = () => {
    if (kind === "boolean") return node.checked;
    if (choices) return choices.find((value) => String(value) === node.value);
    return kind === "text" ? node.value.trim() : node.value === "" ? null : Number(node.value);
  };
  const show = (value) => {
    if (kind === "boolean") node.checked = value;
    else node.value = value ?? "";
  };
  return { node, read, show };
}
