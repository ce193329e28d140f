// Looking closer at *view*, which fills *stage*: wheel, pinch, double click, drag and keys.

const MOST = 8;
const STEP = 1.5;
const NUDGE = 0.15;
const SCROLL_MS = 300; // a wheel that has just scrolled the page goes on doing so

const within = (value, low, high) => Math.min(Math.max(value, low), high);

// *changed* hears the factor whenever it may have changed.
export function zoomable(stage, view, changed) {
  let [scale, left, top] = [1, 0, 0]; // where the corner is, in sizes of the stage: it stays right when that changes
  let scrolledAt = -Infinity;
  const fingers = new Map();

  function show(newScale, newLeft, newTop) {
    scale = newScale < 1.02 ? 1 : Math.min(newScale, MOST);
    left = within(newLeft, 1 - scale, 0);
    top = within(newTop, 1 - scale, 0);
    view.style.transform = scale === 1 ? "" : `translate(${left * 100}%, ${top * 100}%) scale(${scale})`;
    stage.classList.toggle("zoomed", scale > 1);
    changed(scale);
  }

  const move = (dx, dy) => show(scale, left + dx, top + dy);

  // *at* is the point that stays where it is.
  function zoom(factor, at = { x: 0.5, y: 0.5 }) {
    const real = within(scale * factor, 1, MOST) / scale;
    show(scale * real, at.x - (at.x - left) * real, at.y - (at.y - top) * real);
  }

  const all = () => show(1, 0, 0);

  function point(event) {
    const box = stage.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  }

  addEventListener("scroll", (event) => { scrolledAt = event.timeStamp; }, { passive: true });
  view.addEventListener("wheel", (event) => {
    const pagesTurn = scrollY > 0 || event.timeStamp - scrolledAt < SCROLL_MS;
    if (scale === 1 && !event.ctrlKey && (event.deltaY > 0 || pagesTurn)) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1);
    zoom(Math.exp(-within(pixels, -240, 240) * (event.ctrlKey ? 0.01 : 0.002)), point(event));
  }, { passive: false });
  view.addEventListener("dblclick", (event) => (scale > 1 ? all() : zoom(2.5, point(event))));

  view.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") fingers.clear(); // it may have been released where nobody saw it
    fingers.set(event.pointerId, point(event));
    if (scale > 1 || fingers.size > 1) view.setPointerCapture(event.pointerId);
  });
  view.addEventListener("pointermove", (event) => {
    if (!event.buttons) fingers.delete(event.pointerId);
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = point(event);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    fingers.set(event.pointerId, now);
    if (!other) {
      if (scale > 1) move(now.x - before.x, now.y - before.y);
      return;
    }
    const box = stage.getBoundingClientRect();
    const apart = (one) => Math.hypot((one.x - other.x) * box.width, (one.y - other.y) * box.height);
    const middle = { x: (before.x + other.x) / 2, y: (before.y + other.y) / 2 };
    zoom(apart(now) / Math.max(apart(before), 1), middle);
    move((now.x - before.x) / 2, (now.y - before.y) / 2);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) view.addEventListener(end, (event) => fingers.delete(event.pointerId));

  // Safari's own events for two fingers on a trackpad
  let pinched = 1;
  view.addEventListener("gesturestart", (event) => {
    event.preventDefault();
    pinched = 1;
  });
  view.addEventListener("gesturechange", (event) => {
    event.preventDefault();
    if (!fingers.size) zoom(event.scale / pinched, point(event)); // on a touch screen the fingers say it
    pinched = event.scale;
  });

  const keys = {
    "+": () => zoom(STEP), "=": () => zoom(STEP), "-": () => zoom(1 / STEP), 0: all,
    ArrowLeft: () => move(NUDGE, 0), ArrowRight: () => move(-NUDGE, 0),
    ArrowUp: () => move(0, NUDGE), ArrowDown: () => move(0, -NUDGE),
  };
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    if (scale === 1 && event.key.startsWith("Arrow")) return; // these scroll the page
    event.preventDefault();
    keys[event.key]();
  });

  show(1, 0, 0);
  return { closer: () => zoom(STEP), wider: () => zoom(1 / STEP), all };
}
