// An editor for rectangles on the picture, by mouse, touch and keyboard. A rectangle is [x, y, width, height] in fractions.

import { button, make } from "./panel.js";
import { language } from "./text.js";

const words = {
  en: {
    take: "Use it", cancel: "Cancel", at: (x, y, width, height) => `${width} × ${height} % at ${x}, ${y} %`,
    keys: "Arrow keys move it, with Shift they resize it, Enter takes it, Escape cancels.",
    add: "Add", remove: "Remove", removes: "Delete removes it.", none: "Drag on the picture",
  },
  ko: {
    take: "확인", cancel: "취소", at: (x, y, width, height) => `${width} × ${height} %, 위치 ${x}, ${y} %`,
    keys: "화살표 키로 옮기고, Shift와 함께 크기를 바꾸고, Enter로 확인하고, Esc로 취소합니다.",
    add: "추가", remove: "삭제", removes: "Delete로 지웁니다.", none: "영상 위에 끌어서 그리세요",
  },
}[language];
const LEAST = 0.03;
const STEP = 0.01;
const RADIUS = 13; // of a handle, in pixels
const ARROWS = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };

const within = (value, low, high) => Math.min(Math.max(value, low), high);

// ---- from the sensor's picture to the page's: a part of it (`crop`), mirrored, then turned clockwise; and back

function turned([x, y, width, height], degrees) {
  if (degrees === 90) return [1 - y - height, x, height, width];
  if (degrees === 180) return [1 - x - width, 1 - y - height, width, height];
  if (degrees === 270) return [y, 1 - x - width, height, width];
  return [x, y, width, height];
}

const mirrored = ([x, y, width, height], { hflip, vflip }) =>
  [hflip ? 1 - x - width : x, vflip ? 1 - y - height : y, width, height];

// Only what the page shows of it; null if that is nothing.
export function toPicture([x, y, width, height], view) {
  const [left, top, wide, high] = view.crop || [0, 0, 1, 1];
  const side = (value) => within(value, 0, 1);
  const [a, b] = [side((x - left) / wide), side((y - top) / high)];
  const [c, d] = [side((x + width - left) / wide), side((y + height - top) / high)];
  return c > a && d > b ? turned(mirrored([a, b, c - a, d - b], view), view.rotation) : null;
}

export function toSensor(rectangle, view) {
  const [left, top, wide, high] = view.crop || [0, 0, 1, 1];
  const [x, y, width, height] = mirrored(turned(rectangle, 360 - view.rotation), view);
  const round = (value) => Math.round(value * 1e4) / 1e4;
  const [a, b] = [round(left + x * wide), round(top + y * high)];
  return [a, b, round(Math.min(width * wide, 1 - a)), round(Math.min(height * high, 1 - b))];
}

// ---- what a hand does. A `square` one is as many hundredths wide as high, so that its content keeps its shape.

export const moved = ([x, y, width, height], dx, dy) =>
  [within(x + dx, 0, 1 - width), within(y + dy, 0, 1 - height), width, height];

// Between a corner that stays and a point.
export function spanned([x, y], [toX, toY], square) {
  const [left, up] = [toX < x, toY < y];
  const [roomX, roomY] = [left ? x : 1 - x, up ? y : 1 - y];
  let [width, height] = [within(Math.abs(toX - x), LEAST, roomX), within(Math.abs(toY - y), LEAST, roomY)];
  if (square) width = height = Math.min(Math.max(width, height), roomX, roomY);
  return [left ? x - width : x, up ? y - height : y, width, height];
}

export function resized([x, y, width, height], dx, dy, square) {
  const [right, down] = square ? [dx + dy, dx + dy] : [dx, dy];
  return spanned([x, y], [Math.max(x, x + width + right), Math.max(y, y + height + down)], square);
}

// The box of a picture that is contained in *box*.
export function contained(box, width, height) {
  const scale = Math.min(box.width / width, box.height / height);
  const [wide, high] = [width * scale, height * scale];
  return { left: box.left + (box.width - wide) / 2, top: box.top + (box.height - high) / 2, width: wide, height: high };
}

// ---- the editor

function draw(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(node, attributes);
  node.append(...children);
  return node;
}

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

const percent = (value) => `${value * 100}%`;
const inside = (value) => `clamp(${RADIUS}px, ${percent(value)}, 100% - ${RADIUS}px)`; // a handle is never half hidden
const corners = ([x, y, width, height]) => [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];

// Resolves to the rectangles, in fractions of the picture on the page, or to null. With *most*, they can be added, up to
// so many, and removed; else their number stays.
export function edit({ stage, picture }, { label, rectangles, square = false, most = 0 }) {
  const found = [];
  const groups = [];
  let active = 0;
  let drag = null; // what a moved pointer makes of the active rectangle
  let resolve;
  let frame;
  const before = document.activeElement;

  const shade = draw("path", { class: "shade", "fill-rule": "evenodd" });
  const svg = draw("svg", { class: "rectangles" }, draw("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none" }, shade));
  const numbers = make("output");
  const more = button(words.add, () => { add([0.375, 0.375, 0.25, 0.25]); show(); });
  const fewer = button(words.remove, remove);
  const bar = make("div", { className: "rectangles-bar" }, numbers, ...(most ? [more, fewer] : []),
    button(words.take, () => finish(true), "", "primary"), button(words.cancel, () => finish(false)));

  function add(rectangle) {
    const handles = [0, 1, 2, 3].map((corner) => draw("circle", { class: "handle", r: RADIUS, "data-corner": corner }));
    const group = draw("g", { tabindex: 0, role: "application" }, draw("rect", { class: "area" }), ...handles);
    group.addEventListener("focus", () => { active = groups.indexOf(group); show(); });
    active = found.push(rectangle) - 1;
    groups.push(group);
    svg.append(group);
    group.focus({ preventScroll: true });
  }

  function remove() {
    if (!most || !found.length) return;
    found.splice(active, 1);
    groups.splice(active, 1)[0].remove();
    active = Math.max(0, active - 1);
    show();
    (groups[active] || more).focus({ preventScroll: true });
  }

  function show() {
    more.disabled = found.length >= most;
    fewer.disabled = !found.length;
    found.forEach((rectangle, number) => {
      const [x, y, width, height] = rectangle.map(percent);
      const [area, ...handles] = groups[number].children;
      set(area, { x, y, width, height });
      corners(rectangle).forEach(([x, y], corner) => Object.assign(handles[corner].style, { cx: inside(x), cy: inside(y) }));
      const [name, keys] = most ? [`${label} ${number + 1}`, `${words.keys} ${words.removes}`] : [label, words.keys];
      set(groups[number], { "aria-label": `${name}: ${told(rectangle)}. ${keys}` });
    });
    set(shade, { d: `M0 0h1v1h-1z${found.map(([x, y, width, height]) => `M${x} ${y}h${width}v${height}h${-width}z`).join("")}` });
    numbers.textContent = found.length ? told(found[active]) : words.none;
  }

  const told = (rectangle) => words.at(...rectangle.map((side) => Math.round(side * 100)));

  function put(rectangle) {
    if (!rectangle) return;
    found[active] = rectangle;
    show();
  }

  // It follows the picture, which may be zoomed; the buttons leave the half where somebody works.
  function follow() {
    const outer = stage.getBoundingClientRect();
    const box = contained(picture.getBoundingClientRect(), picture.width, picture.height);
    const at = { left: box.left - outer.left, top: box.top - outer.top, width: box.width, height: box.height };
    for (const [side, length] of Object.entries(at)) svg.style[side] = `${length}px`;
    const [, y, , height] = found[active] || [0, 0, 0, 0];
    if (!drag) bar.classList.toggle("above", y + height / 2 > 0.5);
    frame = requestAnimationFrame(follow);
  }

  function point(event) {
    const box = svg.getBoundingClientRect();
    return [within((event.clientX - box.left) / box.width, 0, 1), within((event.clientY - box.top) / box.height, 0, 1)];
  }

  // A corner resizes, the inside moves, and a drag beside it draws it anew, or another one.
  svg.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return;
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    const from = point(event);
    const group = event.target.closest("[role]");
    if (group) active = groups.indexOf(group);
    const start = found[active];
    const corner = event.target.dataset.corner;
    const near = (to) => Math.hypot(to[0] - from[0], to[1] - from[1]) < LEAST;
    if (corner) drag = (to) => spanned(corners(start)[(Number(corner) + 2) % 4], to, square);
    else if (group) drag = ([x, y]) => moved(start, x - from[0], y - from[1]);
    else if (!most) drag = (to) => (near(to) ? start : spanned(from, to, square));
    else if (found.length < most) {
      let begun = false;
      drag = (to) => {
        if (!begun && near(to)) return null;
        const rectangle = spanned(from, to, square);
        if (!begun) add(rectangle);
        begun = true;
        return rectangle;
      };
    }
    groups[active]?.focus({ preventScroll: true });
  });
  svg.addEventListener("pointermove", (event) => { if (drag && event.isPrimary) put(drag(point(event))); });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { drag = null; });

  function press(event) {
    const change = event.target.closest("button") ? null : ARROWS[event.key];
    event.stopPropagation();
    if (change && found.length) put((event.shiftKey ? resized : moved)(found[active], ...change, square));
    else if (event.key === "Escape") finish(false);
    else if (event.key === "Delete") remove();
    else if (event.key === "Enter" && !event.target.closest("button")) finish(true);
    else return;
    event.preventDefault();
  }
  for (const node of [svg, bar]) {
    node.addEventListener("keydown", press);
    // the picture's own are not meant
    for (const kind of ["pointerdown", "click", "dblclick"]) node.addEventListener(kind, (event) => event.stopPropagation());
  }

  function finish(take) {
    cancelAnimationFrame(frame);
    svg.remove();
    bar.remove();
    before.focus({ preventScroll: true });
    resolve(take ? found : null);
  }

  stage.append(svg, bar);
  rectangles.forEach(add);
  show();
  follow();
  (groups[0] || more).focus();
  return new Promise((done) => { resolve = done; });
}
