// The panel of controls: it shows what the server says is set, and sends what a person changes.

import { language } from "./text.js";

const ANSWER_MS = 15000; // a camera that is asleep is woken first

const WORDS = {
  en: {
    title: "Camera controls", save: "Save", forget: "Forget", reset: (name) => `Reset: ${name}`,
    automatic: "Automatic", off: "Off",
    sides: ["Left", "Top", "Width", "Height"],
    hint: "Save keeps changes over restarts, Forget takes all of them back.",
    set: "Set", saved: "Saved", forgotten: "Forgotten", failed: "That was not set",
    names: {
      awb: "White balance", ev: "Exposure compensation", exposure: "Exposure profile", shutter: "Exposure time",
      roi: "Part of the picture", hdr: "High dynamic range", lens_position: "Lens position", denoise: "Noise reduction",
      autofocus_trigger: "Focus once", flicker_period: "Flicker period",
    },
  },
  ko: {
    title: "카메라 조절", save: "저장", forget: "지우기", reset: (name) => `기본값으로: ${name}`,
    automatic: "자동", off: "끔",
    sides: ["왼쪽", "위", "너비", "높이"],
    hint: "‘저장’하면 다시 시작해도 유지되고, ‘지우기’는 모두 되돌립니다.",
    set: "적용됨", saved: "저장됨", forgotten: "지웠습니다", failed: "적용하지 못했습니다",
    names: {
      awb: "화이트 밸런스", ev: "노출 보정", exposure: "노출 방식", shutter: "노출 시간", gain: "게인", metering: "측광",
      brightness: "밝기", contrast: "대비", saturation: "채도", sharpness: "선명도", denoise: "노이즈 감소",
      autofocus_mode: "자동 초점", autofocus_range: "초점 범위", autofocus_speed: "초점 속도", autofocus_window: "초점 영역",
      autofocus_trigger: "초점 한 번 맞추기", lens_position: "렌즈 위치", roi: "화면 영역", flicker_period: "깜빡임 주기", hdr: "HDR",
      white_balance_automatic: "자동 화이트 밸런스", white_balance_temperature: "색온도", power_line_frequency: "전원 주파수",
      auto_exposure: "자동 노출", exposure_time_absolute: "노출 시간",
    },
    choices: {
      auto: "자동", off: "끔", manual: "수동", continuous: "연속", normal: "보통", macro: "근접", full: "전체", fast: "빠르게",
      incandescent: "백열등", tungsten: "텅스텐", fluorescent: "형광등", indoor: "실내", daylight: "햇빛", cloudy: "흐림",
      centre: "중앙", spot: "한 점", average: "평균", sport: "빠른 움직임", long: "긴 노출",
    },
  },
};
const words = WORDS[language];
const $ = (id) => document.getElementById(id);
const panel = $("controls");

let rows = {}; // by name: what shows a control's new state
let shape = ""; // of the panel as it was built
let startsSeen = null;
let waiting = {}; // what was changed while an answer is awaited
let sending = false;

const label = (name) => words.names[name] || name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function say(what, detail = "") {
  $("controls-said").textContent = what;
  $("controls-detail").textContent = detail;
}

// What the server says: a table, or why there is none.
async function ask(path, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  const reply = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS), ...(body && post) });
  const told = await reply.text();
  return { ok: reply.ok, told, table: told.startsWith("{") ? JSON.parse(told) : null };
}

// One request at a time, with all that was changed meanwhile.
async function send(name, value) {
  waiting[name] = value;
  if (sending) return;
  sending = true;
  while (Object.keys(waiting).length) {
    const wanted = waiting;
    waiting = {};
    await change("controls", wanted, words.set);
  }
  sending = false;
}

async function change(path, wanted, done) {
  try {
    const { ok, told, table } = await ask(path, JSON.stringify(wanted));
    const errors = Object.entries(table?.errors || {}).map(([name, why]) => `${label(name)}: ${why}`);
    say(ok ? done : words.failed, table ? errors.join("\n") : told);
    if (table?.controls) show(table.controls);
    else if (!ok) await load();
  } catch {
    say(words.failed);
  }
}

async function load() {
  const { ok, table } = await ask("controls");
  if (ok) show(table.controls);
}

// ---- makers of a control's inputs, and of what shows its value in them

function slider(name, control) {
  const integer = control.kind === "integer";
  // 1, where most defaults are, is a step of 0.05 from any limit that cameras have
  const limits = { min: control.minimum, max: control.maximum };
  const range = make("input", { type: "range", ...limits, step: control.step || (integer ? 1 : 0.05), id: `control-${name}` });
  const exact = make("input", { type: "number", ...limits, step: integer ? 1 : "any" });
  exact.setAttribute("aria-label", label(name));
  range.addEventListener("input", () => { exact.value = range.value; send(name, Number(range.value)); });
  exact.addEventListener("change", () => send(name, exact.value === "" ? null : Number(exact.value)));
  const idle = control.zero || (control.default === null ? "automatic" : "");
  if (!idle) return { inputs: [range, exact], put: (value) => { range.value = exact.value = value; } };
  const none = control.zero ? 0 : null;
  const box = make("input", { type: "checkbox" });
  box.addEventListener("change", () => send(name, box.checked ? none : Number(range.value)));
  const put = (value) => {
    box.checked = value === none;
    exact.value = value === none ? "" : value;
    range.value = value === none ? range.min : value;
  };
  return { inputs: [range, exact], extra: make("label", { className: "check" }, box, words[idle]), put };
}

function toggle(name) {
  const box = make("input", { type: "checkbox", id: `control-${name}` });
  box.addEventListener("change", () => send(name, box.checked));
  return { inputs: [box], put: (value) => { box.checked = value; } };
}

function choice(name, control) {
  const options = control.choices.map((word) => make("option", { value: word, textContent: (words.choices || {})[word] || word }));
  const select = make("select", { id: `control-${name}` }, ...options);
  select.addEventListener("change", () => send(name, select.value));
  return { inputs: [select], put: (value) => { select.value = value; } };
}

function rectangle(name) {
  const inputs = words.sides.map((side, number) => {
    const input = make("input", { type: "number", min: 0, max: 1, step: "any", placeholder: side });
    if (!number) input.id = `control-${name}`;
    input.setAttribute("aria-label", `${label(name)}: ${side}`);
    input.addEventListener("change", () => {
      if (inputs.every(({ value }) => value !== "")) send(name, inputs.map(({ value }) => Number(value)));
    });
    return input;
  });
  return { inputs, put: (value) => inputs.forEach((input, number) => { input.value = value ? value[number] : ""; }) };
}

function action(name) {
  const button = make("button", { type: "button", textContent: label(name), id: `control-${name}` });
  button.addEventListener("click", () => send(name, true));
  return { inputs: [button], put: () => {} };
}

const MAKERS = { number: slider, integer: slider, boolean: toggle, choice, rectangle, action };

function row(name, control) {
  const { inputs, extra, put } = MAKERS[control.kind](name, control);
  const title = control.kind === "action" ? "" : label(name) + (control.unit ? ` (${control.unit})` : "");
  const named = make(title ? "label" : "span", { htmlFor: `control-${name}`, textContent: title });
  const node = make("div", { className: `control ${control.kind}` }, named, make("div", { className: "inputs" }, ...inputs), extra || "");
  const reset = make("button", { type: "button", textContent: "↺" });
  reset.setAttribute("aria-label", words.reset(label(name)));
  reset.addEventListener("click", () => send(name, null));
  if (control.kind !== "action") node.append(reset);
  let typing = false;
  node.addEventListener("input", ({ target }) => { typing = target.type === "number"; });
  for (const end of ["change", "focusout"]) node.addEventListener(end, () => { typing = false; }, true);
  rows[name] = (now) => {
    // what a person is typing or dragging is not taken out of their hands
    if (!typing && !(name in waiting)) put(now.value);
    for (const input of node.querySelectorAll("input, select, .inputs button")) input.disabled = Boolean(now.inactive);
    reset.disabled = JSON.stringify(now.value) === JSON.stringify(now.default);
  };
  return node;
}

function show(controls) {
  const names = Object.keys(controls);
  panel.hidden = names.length === 0;
  const fixed = names.map((name) => ({ ...controls[name], name, value: 0, inactive: 0 }));
  if (JSON.stringify(fixed) !== shape) {
    shape = JSON.stringify(fixed);
    rows = {};
    $("controls-list").replaceChildren(...names.map((name) => row(name, controls[name])));
  }
  for (const name of names) rows[name](controls[name]);
}

for (const word of ["title", "hint", "save", "forget"]) $(`controls-${word}`).textContent = words[word];
$("controls-save").addEventListener("click", () => change("controls/save", {}, words.saved));
$("controls-forget").addEventListener("click", () => change("controls/forget", {}, words.forgotten));
panel.addEventListener("toggle", () => { if (panel.open) load().catch(() => {}); });

// Another camera process may be another camera.
export function followControls(state) {
  if (!state || !state.frames.captured || state.camera_process.starts === startsSeen) return;
  startsSeen = state.camera_process.starts;
  load().catch(() => { startsSeen = null; });
}
