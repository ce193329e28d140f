// The panel of events: what happened, the newest first, live while it is shown.

import { ask, button, make } from "./panel.js";
import { clock, duration, language, put, putSentence, text } from "./text.js";

const AGAIN_MS = 10000;
const MOST = 100;
const words = {
  en: {
    kinds: {
      motion: "Motion", "camera-lost": "Camera lost", "camera-back": "Camera back", "reload-refused": "Configuration refused",
      snapshot: "Picture",
    },
    none: "Nothing has happened yet.", unread: "The events cannot be read.", goesOn: "goes on", enlarge: "Enlarge", close: "Close",
  },
  ko: {
    kinds: {
      motion: "움직임", "camera-lost": "카메라 끊김", "camera-back": "카메라 복구", "reload-refused": "설정 거부됨", snapshot: "사진",
    },
    none: "아직 아무 일도 없었습니다.", unread: "이벤트를 읽지 못했습니다.", goesOn: "진행 중", enlarge: "크게 보기", close: "닫기",
  },
}[language];

// A camera that was never there is not lost.
const named = ({ kind, cause }) => (cause === "missing" ? text.told.missing[0] : words.kinds[kind] || kind);

// Why the camera was lost, and the language of that.
async function reason({ cause, values, text: english }) {
  if (!cause || language === "en") return [english, "en"];
  const headline = text.told[cause === "stalled" ? "frozen" : cause]?.[1] || "";
  const { explain } = await import("./causes-ko.js");
  return [[typeof headline === "function" ? headline(values) : headline, explain(values)].filter(Boolean).join("\n"), language];
}

export function mount(node) {
  const rows = new Map(); // by id: what shows an event
  let changed = 0; // the last change that was told
  let source = null;
  let timer;
  let shown = false;

  const said = make("p", { role: "status", className: "muted" });
  const list = make("ol", { className: "events" });
  const large = make("img");
  const dialog = make("dialog", { className: "large" }, large, button(words.close, () => dialog.close()));
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Escape closes it, and no more
  dialog.addEventListener("click", ({ target }) => { if (target === dialog) dialog.close(); });
  node.append(said, list, dialog);

  function row(id) {
    const [kind, moment, lasted, why] = [make("strong"), make("time"), make("span"), make("p", { className: "muted" })];
    const thumb = make("img", { alt: "", onerror: () => { enlarge.hidden = true; } });
    const enlarge = button("", () => {
      Object.assign(large, { src: thumb.src, alt: enlarge.getAttribute("aria-label") });
      dialog.setAttribute("aria-label", `${kind.textContent}, ${moment.textContent}`);
      dialog.showModal();
    });
    enlarge.append(thumb);
    const item = make("li", {}, enlarge, make("div", {}, kind, make("p", { className: "muted" }, moment, " ", lasted), why));
    const after = [...rows.keys()].filter((other) => other < id).sort((one, other) => other - one)[0];
    list.insertBefore(item, rows.get(after)?.item || null);
    return {
      item,
      show(event) {
        put(kind, named(event));
        put(moment, clock(1000 * event.began));
        moment.dateTime = new Date(1000 * event.began).toISOString();
        put(lasted, event.kind !== "motion" ? "" : `· ${event.ended ? duration(event.ended - event.began) : words.goesOn}`);
        enlarge.hidden = !event.picture;
        enlarge.setAttribute("aria-label", `${words.enlarge}: ${kind.textContent}, ${moment.textContent}`);
        if (event.picture && !thumb.src) thumb.src = event.picture;
        if (event.kind !== "camera-lost" && event.kind !== "reload-refused") return;
        reason(event).then(([told, tongue]) => { putSentence(why, told); why.lang = tongue; });
      },
    };
  }

  function show(event) {
    changed = Math.max(changed, event.changed);
    if (!rows.has(event.id)) rows.set(event.id, row(event.id));
    rows.get(event.id).show(event);
    const [oldest] = [...rows.keys()].sort((one, other) => one - other);
    if (rows.size > MOST) {
      rows.get(oldest).item.remove();
      rows.delete(oldest);
    }
  }

  async function load() {
    const reply = await ask("events");
    if (!shown || source) return;
    if (reply.ok) reply.table.events.forEach(show);
    put(said, reply.ok ? (rows.size ? "" : words.none) : `${words.unread} ${reply.why || reply.told}`);
    source = new EventSource(`events?after=${changed}`);
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      const isNew = !rows.has(event.id);
      show(event);
      if (isNew) put(said, `${named(event)}, ${clock(1000 * event.began)}`);
    };
    source.onerror = () => { // while it tries again by itself, it is not closed
      if (source?.readyState === EventSource.CLOSED) again(AGAIN_MS);
    };
  }

  function again(milliseconds) {
    source?.close();
    source = null;
    clearTimeout(timer);
    if (shown && !document.hidden) timer = setTimeout(load, milliseconds);
  }

  document.addEventListener("visibilitychange", () => again(0));

  return {
    update() {},
    show(whether) {
      if (shown === whether) return;
      shown = whether;
      again(0);
    },
  };
}
