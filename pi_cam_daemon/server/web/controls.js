// The panel of controls: it shows what the camera says is set, and sends what a person changes.

import { ask, button, field, foot, forAdmins, make } from "./panel.js";
import { language } from "./text.js";

const FRESH_MS = 3000; // others change something, too
const GROUPS = ["exposure", "colour", "image", "focus", "framing"];
const english = {
  names: {
    awb: "White balance", ev: "Exposure compensation", exposure: "Exposure profile", shutter: "Exposure time",
    roi: "Part of the picture", hdr: "High dynamic range", denoise: "Noise reduction", autofocus_trigger: "Focus once",
  },
  choices: {}, units: {}, groups: ["Exposure", "Colour", "Image", "Focus", "Framing"],
  sides: ["Left", "Top", "Width", "Height"], draw: "Draw on the picture", automatic: "Automatic", off: "Off", reset: "Reset",
  unsaved: "Not saved", keep: "Keep", undo: "Undo", kept: "Saved", undone: "Undone",
  resetAll: "Reset all…", sure: "Reset all controls?", yes: "Reset all", no: "Cancel", wasReset: "All controls were reset",
  warning: "What was set and saved here is lost; the values of the configuration files count again.",
  failed: "That was not set.", unread: "The controls cannot be read.", none: "This camera has no controls.",
  range: (low, high) => `from ${low} to ${high}`,
};
const words = language === "ko" ? (await import("./controls-ko.js")).words : english;

const label = (name) => words.names[name] || name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());

export function mount(node, page) {
  let table = { controls: {} }; // the newest answer
  let rows = {}; // by name: what shows a control's new state
  let shape = ""; // of the panel as it was built
  let waiting = {}; // what was changed while an answer is awaited
  let sending = false;
  let dragging = false;
  let unread = false;
  let viewer = false;
  let askedAt = -Infinity;

  const only = forAdmins();
  const none = make("p", { className: "muted", hidden: true, textContent: words.none });
  const list = make("div");
  const keep = button(words.keep, () => act("controls/save", words.kept), "", "primary");
  const undo = button(words.undo, () => act("controls", words.undone, table.unsaved));
  const { node: end, say, rest, complain } = foot(label, keep, undo);
  const resetAll = button(words.resetAll, () => dialog.showModal());
  const close = (sure) => {
    dialog.close();
    if (sure) act("controls/forget", words.wasReset);
  };
  const dialog = make("dialog", { ariaLabel: words.sure }, make("h2", { textContent: words.sure }), make("p", { textContent: words.warning }),
    button(words.yes, () => close(true), "", "primary"), button(words.no, () => close(false)));
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Escape closes it, and no more
  node.append(only, none, list, resetAll, end, dialog);
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { dragging = false; });

  // One request at a time, with all that was changed meanwhile.
  async function send(name, value) {
    waiting[name] = value;
    if (sending) return;
    sending = true;
    say("");
    let reply;
    while (Object.keys(waiting).length) {
      const wanted = waiting;
      waiting = {};
      reply = await ask("controls", wanted);
      if (reply.table?.controls) show({ ...table, ...reply.table });
    }
    sending = false;
    await load();
    if (!reply.ok) complain(words.failed, reply);
  }

  async function act(path, done, body = {}) {
    const reply = await ask(path, body);
    await load();
    if (reply.ok) say(done);
    else complain(words.failed, reply);
  }

  async function load(byItself) {
    askedAt = performance.now();
    const reply = await ask("controls");
    if (sending || (byItself && dragging)) return; // somebody has begun to change something
    if (reply.ok) show(reply.table);
    if (!reply.ok) complain(words.unread, reply);
    else if (unread) say("");
    unread = !reply.ok;
  }

  // ---- makers of a control's inputs: one beside its name, others below, and what shows its value in them

  function input(name, control) {
    const { node: beside, read, show } = field(`control-${name}`, control, (choice) => words.choices[choice] || choice);
    beside.addEventListener("change", () => {
      const value = read();
      const low = value < control.minimum && value !== null && !(control.zero && value === 0);
      if (!low && !(value > control.maximum) && !beside.validity.badInput) return send(name, value);
      rows[name](table.controls[name]);
      return say(`${words.failed} ${label(name)}: ${words.range(control.minimum, control.maximum)}`);
    });
    return { beside, show };
  }

  function slider(name, control) {
    const { beside, show } = input(name, control);
    // 1, where most defaults are, is a step of 0.05 from any limit that cameras have
    const step = control.step || (control.kind === "integer" ? 1 : 0.05);
    const range = make("input", { type: "range", min: control.minimum, max: control.maximum, step, ariaLabel: label(name) });
    range.addEventListener("pointerdown", () => { dragging = true; });
    range.addEventListener("input", () => { show(range.value); send(name, Number(range.value)); });
    const idle = control.zero || (control.default === null ? "automatic" : "");
    const nothing = control.zero ? 0 : null;
    const box = make("input", { type: "checkbox", ariaLabel: `${words[idle]}: ${label(name)}` });
    box.addEventListener("change", () => send(name, box.checked ? nothing : Number(range.value)));
    const below = make("div", { className: "below" }, range);
    if (idle) below.append(make("label", { className: "check" }, box, words[idle]));
    return { beside, below: [below], show: (value) => {
      box.checked = Boolean(idle) && value === nothing;
      show(box.checked ? null : value);
      range.value = box.checked ? control.minimum : value;
    } };
  }

  // Fractions, in percent. What nobody changed keeps all its digits.
  function rectangle(name) {
    const shown = (side) => Math.round(side * 1000) / 10;
    let now = null;
    const sides = words.sides.map((side) => ({ side, ...field("", { kind: "number", minimum: 0, maximum: 100 }) }));
    for (const { node: one, side } of sides) {
      one.ariaLabel = `${label(name)}: ${side} %`;
      one.addEventListener("change", () => {
        const values = sides.map(({ read }) => read());
        if (!values.includes(null)) send(name, values.map((value, at) => (now && value === shown(now[at]) ? now[at] : value / 100)));
      });
    }
    const fields = make("div", { className: "sides" }, ...sides.map(({ side, node: one }) => make("label", {}, `${side} %`, one)));
    return { below: [fields, button(words.draw, () => draw(name), `${words.draw}: ${label(name)}`)], show: (value) => {
      now = value;
      sides.forEach(({ show }, at) => show(value && shown(value[at])));
    } };
  }

  const action = (name) => ({ below: [button(label(name), () => send(name, true))], show: () => {} });

  let drawing = false;
  const MAKERS = { number: slider, integer: slider, boolean: input, choice: input, rectangle, action };

  // A part of the picture is drawn on all of it.
  async function draw(name) {
    if (drawing) return;
    drawing = true;
    const [{ edit, toPicture, toSensor }, { table: asked }] = await Promise.all([import("./rectangles.js"), ask("settings")]);
    const [rotation, hflip, vflip] = ["rotation", "hflip", "vflip"].map((key) => asked?.settings?.[`video.${key}`].value || 0);
    const { [name]: { value: own }, roi } = table.controls;
    const whole = name === "roi";
    const view = { rotation, hflip, vflip, crop: whole ? roi.default : roi?.value };
    if (whole) await send(name, null);
    const seen = own && toPicture(own, view);
    const now = seen && Math.min(seen[2], seen[3]) < 1 ? seen : [0.25, 0.25, 0.5, 0.5];
    const drawn = await edit(page, { label: label(name), rectangles: [now], square: whole });
    drawing = false;
    if (drawn) send(name, toSensor(drawn[0], view));
    else if (whole) send(name, own);
  }

  function row(name, control) {
    const { beside, below = [], show: put } = MAKERS[control.kind](name, control);
    const reset = button("↺", () => send(name, null), `${words.reset}: ${label(name)}`, "reset");
    const unit = control.unit ? ` (${words.units[control.unit] || control.unit})` : "";
    const title = make(beside ? "label" : "span", { textContent: label(name) + unit });
    if (beside) title.htmlFor = beside.id;
    const line = make("div", { className: `control${control.under ? " under" : ""}` });
    line.append(...(control.kind === "action" ? below : [title, beside || "", reset, ...below]));
    let typing = false;
    line.addEventListener("input", ({ target }) => { typing = target.type === "number"; });
    for (const end of ["change", "focusout"]) line.addEventListener(end, () => { typing = false; }, true);
    rows[name] = ({ value, inactive }) => {
      // what a person is typing is not taken out of their hands
      if (!typing && !(name in waiting)) put(value);
      for (const one of line.querySelectorAll("input, select, button")) one.disabled = viewer || Boolean(inactive);
      reset.disabled ||= JSON.stringify(value) === JSON.stringify(control.default);
    };
    return line;
  }

  // Controls stand below the one that decides about them.
  function build(controls) {
    rows = {};
    const names = Object.keys(controls);
    const family = (name) => [name, ...names.filter((other) => controls[other].under === name)];
    list.replaceChildren(...GROUPS.flatMap((group, number) => {
      const heads = names.filter((name) => controls[name].group === group && !(controls[name].under in controls));
      const lines = heads.flatMap(family).map((name) => row(name, controls[name]));
      return lines.length ? [make("fieldset", {}, make("legend", { textContent: words.groups[number] }), ...lines)] : [];
    }));
  }

  function show(newest) {
    table = newest;
    const { controls, saved, unsaved } = table;
    const fixed = JSON.stringify(Object.entries(controls).map(([name, control]) => ({ ...control, name, value: 0, inactive: 0 })));
    if (fixed !== shape) build(controls);
    shape = fixed;
    for (const [name, show] of Object.entries(rows)) show(controls[name]);
    none.hidden = list.childElementCount > 0;
    only.hidden = !viewer || !none.hidden;
    node.classList.toggle("viewing", viewer);
    const differs = !viewer && Object.keys(unsaved || {}).length > 0;
    keep.hidden = undo.hidden = !differs;
    rest(differs ? words.unsaved : "");
    resetAll.hidden = !none.hidden;
    resetAll.disabled = !differs && !Object.keys(saved || {}).length;
  }

  return {
    update(state) {
      if (state) viewer = state.role === "viewer";
      if (!sending && !dragging && performance.now() - askedAt > FRESH_MS) load(true);
    },
  };
}
