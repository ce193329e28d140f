// The panel of settings. They act when they are applied, for most of them restart the camera.

import { ask, button, field, foot, forAdmins, make } from "./panel.js";
import { language, put } from "./text.js";

const FRESH_MS = 5000;
const SIZE = ["video.width", "video.height"];
const TURNS = ["video.rotation", "video.hflip", "video.vflip"];
const SIZES = [[640, 480], [800, 600], [1280, 720], [1640, 1232], [1920, 1080]];
const words = {
  en: {
    title: "Camera", size: "Size", other: "Other", on: "on", off: "off", noName: "the machine's name",
    names: {
      "page.name": "Name", "video.width": "Width", "video.height": "Height", "video.rotation": "Turned clockwise",
      "video.hflip": "Mirror left and right", "video.vflip": "Mirror top and bottom", "video.masks": "Privacy masks",
    },
    draw: "Draw", drawOn: "Draw on the picture", none: "none", count: String, masks: "The masks do not turn with the picture. Check them afterwards.",
    restarts: "This restarts the camera: the picture stops for some seconds.", apply: "Apply", undo: "Undo",
    configured: "Configured:", back: "Back to that", applied: "Applied", failed: "That was not applied.",
    unread: "The settings cannot be read.",
  },
  ko: {
    title: "카메라", size: "해상도", other: "직접 입력", on: "켬", off: "끔", noName: "기기 이름",
    names: {
      "page.name": "이름", "video.width": "너비", "video.height": "높이", "video.rotation": "시계 방향 회전",
      "video.hflip": "좌우 반전", "video.vflip": "상하 반전", "video.masks": "가림 영역",
    },
    draw: "그리기", drawOn: "화면에 그리기", none: "없음", count: (n) => `${n}개`, masks: "가림 영역은 영상과 함께 돌지 않습니다. 적용한 뒤 확인해 주세요.",
    restarts: "적용하면 카메라가 다시 시작되어 영상이 몇 초 동안 멈춥니다.", apply: "적용", undo: "되돌리기",
    configured: "설정 파일:", back: "이 값으로 되돌리기", applied: "적용했습니다", failed: "적용하지 못했습니다.",
    unread: "설정을 읽지 못했습니다.",
  },
}[language];

function worded(name, value) {
  if (Array.isArray(value)) return value.length ? words.count(value.length) : words.none;
  if (typeof value === "boolean") return value ? words.on : words.off;
  return name === "video.rotation" ? `${value}°` : String(value) || words.noName;
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export function mount(node, page) {
  node.append(make("h2", { textContent: words.title }));
  return settingsForm(node, page, { names: words.names, has: (name) => !name.startsWith("motion.") });
}

// A form for the settings for which `has` is true; *names* are their names for people.
export function settingsForm(node, page, { names: titles, has }) {
  const titled = (name) => titles[name] || name;
  let settings = null; // as the server told them last
  let fields = {};
  let rows = []; // what shows where a row differs from the configuration
  let askedAt = -Infinity;
  let busy = false;
  let drawing = false;
  let viewer = false;

  const only = forAdmins();
  const list = make("div");
  const warning = make("p", { textContent: words.restarts });
  const apply = make("button", { className: "primary", textContent: words.apply });
  const undo = button(words.undo, () => { fill("value"); render(); });
  const { node: end, say, complain } = foot(titled, apply, undo);
  const form = make("form", { noValidate: true }, list, warning, end);
  node.append(only, form);

  const changed = () => Object.keys(fields).filter((name) => !same(fields[name].read(), settings[name].value));

  function fill(which, names = Object.keys(fields)) {
    for (const name of names) fields[name].show(settings[name][which]);
  }

  function row(title, names, beside, ...below) {
    const text = make("span");
    const back = button(words.back, () => { fill("configured", names); render(); }, `${words.back}: ${title}`);
    const configured = make("p", { className: "muted below" }, text, " ", back);
    rows.push(() => {
      configured.hidden = names.every((name) => same(fields[name].read(), settings[name].configured));
      put(text, `${words.configured} ${names.map((name) => worded(name, settings[name].configured)).join(" × ")}`);
    });
    const name = beside.labels ? make("label", { htmlFor: beside.id, textContent: title }) : make("span", { textContent: title });
    return make("div", { className: "control" }, name, beside, ...below, configured);
  }

  function build() {
    fields = {};
    rows = [];
    for (const [name, about] of Object.entries(settings)) {
      fields[name] = about.kind === "rectangles" ? rectangles(name, about) : field(`setting-${name}`, about, (value) => worded(name, value));
    }
    const others = Object.keys(fields).filter((name) => !SIZE.includes(name));
    list.replaceChildren(...(SIZE[0] in fields ? [sizes()] : []), ...others.map((name) => row(titled(name), [name], fields[name].node)));
  }

  // A list of rectangles, in fractions of the picture on which they are drawn.
  function rectangles(name, { maximum }) {
    let now = [];
    const count = make("span");
    const show = (value) => {
      now = value;
      put(count, worded(name, now));
    };
    const open = button(words.draw, async () => {
      if (drawing) return;
      drawing = true;
      const { edit, toSensor } = await import("./rectangles.js");
      const drawn = await edit(page, { label: titled(name), rectangles: now, most: maximum });
      drawing = false;
      if (!drawn) return;
      show(drawn.map((one) => toSensor(one, { rotation: 0 })));
      say("");
      render();
    }, `${words.drawOn}: ${titled(name)}`);
    return { node: make("span", {}, count, " ", open), read: () => now, show };
  }

  function sizes() {
    const own = ["value", "configured"].map((which) => SIZE.map((name) => settings[name][which]));
    const known = [...SIZES, ...own].sort(([width], [other]) => width - other).map((size) => size.join(" × "));
    const options = [...new Set(known), ""].map((value) => make("option", { value, textContent: value || words.other }));
    const select = make("select", { id: "setting-size" }, ...options);
    select.addEventListener("input", () => select.value.split(" × ").forEach((side, at) => side && fields[SIZE[at]].show(side)));
    rows.push(() => {
      const now = SIZE.map((name) => fields[name].read()).join(" × ");
      select.value = known.includes(now) ? now : "";
    });
    const sides = SIZE.map((name) => make("label", {}, titled(name), fields[name].node));
    return row(words.size, SIZE, select, make("div", { className: "sides below" }, ...sides));
  }

  function render() {
    for (const one of rows) one();
    const names = changed();
    only.hidden = !viewer;
    node.classList.toggle("viewing", viewer);
    warning.hidden = !names.some((name) => /^(video|motion)\./.test(name));
    const turns = names.some((name) => TURNS.includes(name)) && !names.includes("video.masks") && settings["video.masks"]?.value.length;
    put(warning, turns ? `${words.restarts} ${words.masks}` : words.restarts);
    apply.hidden = undo.hidden = !names.length;
    for (const input of form.querySelectorAll("input, select, button")) input.disabled = viewer || busy;
  }

  function take(table) {
    const own = Object.fromEntries(Object.entries(table.settings).filter(([name]) => has(name)));
    if (!same(own, settings)) {
      settings = own;
      build();
    }
    fill("value");
    render();
  }

  async function load() {
    askedAt = performance.now();
    const reply = await ask("settings");
    if (busy || drawing || (settings && changed().length)) return;
    if (!reply.ok) complain(words.unread, reply);
    else if (!settings) say("");
    if (reply.ok) take(reply.table);
  }

  form.addEventListener("input", () => { say(""); render(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wanted = changed().map((name) => [name, fields[name].read()]);
    const body = wanted.map(([name, value]) => [name, same(value, settings[name].configured) ? null : value]);
    busy = true;
    render();
    const reply = await ask("settings", Object.fromEntries(body));
    busy = false;
    if (reply.ok) {
      take(reply.table);
      say(words.applied);
    } else {
      render();
      complain(words.failed, reply);
    }
  });

  return {
    update(state) {
      if (state) viewer = state.role === "viewer";
      if (!busy && performance.now() - askedAt > FRESH_MS) load();
    },
  };
}
