// Plays a recording in the place of the live picture. The server sends its pictures when they are due.

import { button, make } from "./panel.js";
import { readParts } from "./reader.js";
import { open } from "./request.js";
import { clock, duration, language, number, put } from "./text.js";

const SPEEDS = [0.5, 1, 4, 16];
const words = {
  en: {
    picture: (when) => `Recording of ${when}`, player: "Player", play: "Play", pause: "Pause", before: "Picture before", after: "Next picture",
    speed: "Speed", position: "Position", live: "Back to live",
  },
  ko: {
    picture: (when) => `${when}의 녹화`, player: "재생기", play: "재생", pause: "일시 정지", before: "이전 장면", after: "다음 장면",
    speed: "속도", position: "위치", live: "실시간으로",
  },
}[language];

const icon = (path) => {
  const svg = make("template", { innerHTML: `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}"/></svg>` });
  return svg.content.firstChild;
};

// *page* is that of the drawer. *failed* is told why a picture does not come. Returns { clip, close, pause }.
export function play(page, clip, failed) {
  let at = 0; // of the picture that is shown, in seconds
  let run = null; // aborts what is being fetched
  let playing = false;
  let waiting = null; // the newest picture that is not drawn
  let drawing = false;

  const canvas = make("canvas", { className: "recorded", width: 640, height: 480 });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words.picture(clock(1000 * clip.began)));
  const screen = canvas.getContext("bitmaprenderer");
  const toggle = button("", () => (playing ? pause() : start()), words.play);
  const speed = make("select", { ariaLabel: words.speed, onchange: () => { if (playing) start(at); } },
    ...SPEEDS.map((value) => make("option", { value, textContent: `${value === 0.5 ? "½" : value}×`, selected: value === 1 })));
  const position = make("input", { type: "range", min: 0, step: 0.001, value: 0, ariaLabel: words.position });
  const [moment, passed] = [make("span", { className: "moment" }), make("span", { className: "passed" })];
  const steps = [[words.before, -1, "M15 6l-7 6 7 6M6 6v12"], [words.after, 1, "M9 6l7 6-7 6M18 6v12"]].map(([label, step, path]) => {
    const node = button("", () => still(`at=${at}&step=${step}`), label);
    node.append(icon(path));
    return node;
  });
  const bar = make("div", { className: "player", role: "group", ariaLabel: words.player },
    position, passed, steps[0], toggle, steps[1], speed, moment, button(words.live, () => close()));
  page.picture.after(canvas);
  page.stage.append(bar);
  bar.addEventListener("keydown", (event) => { if (event.key !== "Escape") event.stopPropagation(); }); // arrows would move the picture

  function show() {
    toggle.setAttribute("aria-label", playing ? words.pause : words.play);
    toggle.replaceChildren(icon(playing ? "M9 5v14M15 5v14" : "M8 5l11 7-11 7z"));
    position.max = Math.max(clip.seconds || 0, at, 0.001);
    position.value = at;
    position.setAttribute("aria-valuetext", duration(at));
    put(passed, `${number(at)} / ${duration(clip.seconds || at)}`);
    put(moment, clock(1000 * (clip.began + at)));
  }

  async function draw() {
    drawing = true;
    while (waiting) {
      const { jpeg, taken } = waiting;
      waiting = null;
      try {
        const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
        Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
        screen.transferFromImageBitmap(bitmap);
        at = Math.max(0, Math.round(1000 * (taken - clip.began)) / 1000);
        show();
      } catch {
        // a picture that this browser cannot decode is as good as none
      }
    }
    drawing = false;
  }

  function take(part) {
    waiting = part;
    if (!drawing) draw();
  }

  function stop() {
    run?.abort();
    run = null;
    playing = false;
  }

  // Runs *fetching* unless something else begins meanwhile, and says why it failed.
  async function fetched(path, read) {
    const own = run = new AbortController();
    try {
      await read(await open(`${clip.stream.replace(/\/stream$/, "")}${path}`, { signal: own.signal }), () => run === own);
    } catch (error) {
      if (run === own) failed(error.reason || "");
    }
    return run === own;
  }

  async function start(from = at >= (clip.seconds || 0) ? 0 : at) {
    stop();
    playing = true;
    show();
    const ended = await fetched(`/stream?raw=1&speed=${speed.value}&from=${from}`, ({ body }, wanted) => (
      readParts(body, (part) => { if (wanted()) take(part); }, () => {})));
    if (!ended) return;
    stop();
    show();
  }

  function pause() {
    stop();
    show();
  }

  async function still(query) {
    stop();
    show();
    await fetched(`.jpg?${query}`, async (reply, wanted) => {
      const jpeg = await reply.arrayBuffer();
      if (wanted()) take({ jpeg, taken: Number(reply.headers.get("X-Timestamp")) });
    });
  }

  let resumes = false; // after the position was moved
  position.addEventListener("input", () => {
    resumes ||= playing;
    at = Number(position.value);
    still(`at=${at}`);
  });
  position.addEventListener("change", () => {
    if (resumes) start(at);
    resumes = false;
  });
  const hidden = () => { if (document.hidden && playing) pause(); };
  document.addEventListener("visibilitychange", hidden);

  function close() {
    stop();
    document.removeEventListener("visibilitychange", hidden);
    const inside = bar.contains(document.activeElement);
    canvas.remove();
    bar.remove();
    if (inside) document.getElementById("view").focus();
    page.played(false);
  }

  page.played(true);
  start(0);
  toggle.focus();
  return { close };
}
