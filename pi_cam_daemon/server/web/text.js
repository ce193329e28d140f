// The language of the page: the address', the owner's, the browser's.

const LANGUAGES = ["en", "ko"];
const asked = new URLSearchParams(location.search).get("lang");
const wished = [asked, document.documentElement.dataset.language, ...navigator.languages];

export const language = wished.map((tag) => (tag || "").slice(0, 2).toLowerCase()).find((tag) => LANGUAGES.includes(tag)) || "en";
export const { text } = await import(language === "ko" ? "./text-ko.js" : "./text-en.js");

// The query that keeps a language that was asked for.
export const kept = asked === language ? `?lang=${language}` : "";

document.documentElement.lang = language;

export const number = (value, digits = 1) => new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);

// A moment, with its day unless that is today.
export function clock(moment) {
  const date = new Date(moment);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(language, { ...(today ? {} : { dateStyle: "medium" }), timeStyle: "medium", hourCycle: "h23" });
}

export function duration(seconds) {
  const [value, unit] = seconds < 60 ? [seconds, "second"] : seconds < 3600 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  const digits = unit === "second" && value < 10 ? 1 : 0;
  return (seconds < 0.1 ? "< " : "") + new Intl.NumberFormat(language, {
    style: "unit", unit, unitDisplay: "short", minimumFractionDigits: digits, maximumFractionDigits: digits,
  }).format(Math.max(value, 0.1));
}

// Writes into *node* only what differs, so that screen readers say changes and nothing else.
export function put(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

// The same for a sentence, in which commands and names stand between backticks.
export function putSentence(node, value) {
  const parts = value.split(/`([^`]+)`/); // every other one is code
  if (node.textContent === parts.join("")) return;
  node.replaceChildren(...parts.map((part, at) => {
    return at % 2 ? Object.assign(document.createElement("code"), { textContent: part }) : part;
  }).filter(Boolean));
}

// Fills in the texts of all nodes in *part*.
export function translate(part) {
  for (const node of part.querySelectorAll("[data-text]")) node.textContent = text[node.dataset.text];
  for (const node of part.querySelectorAll("[data-label]")) node.setAttribute("aria-label", text[node.dataset.label]);
}
