// Full screen: the picture alone, with a bar that a tap or a move of the mouse shows. The screen stays on where browsers allow it.

const IDLE_MS = 3000;

export function followScreen(app, view, button) {
  let idle;
  let lock = null;
  const full = () => app.classList.contains("full");

  function rest() {
    clearTimeout(idle);
    app.classList.remove("bare");
    if (full()) idle = setTimeout(() => app.classList.toggle("bare", full() && !app.querySelector(".bar :focus-visible")), IDLE_MS);
  }

  async function keepAwake() {
    lock?.release();
    lock = null;
    if (!full() || document.hidden) return;
    lock = await navigator.wakeLock?.request("screen").catch(() => null); // https only
  }

  function fill(whether) {
    app.classList.toggle("full", whether);
    button.setAttribute("aria-pressed", String(whether));
    rest();
    keepAwake();
  }

  async function toggle() {
    if (document.fullscreenElement) return document.exitFullscreen();
    try {
      if (!full()) await document.documentElement.requestFullscreen();
    } catch {
      // an iPhone gives its whole screen to videos only, and a frame may not ask
    }
    if (!document.fullscreenElement) fill(!full());
  }

  let down;
  view.addEventListener("pointerdown", (event) => { down = event; });
  view.addEventListener("click", ({ clientX, clientY }) => {
    const drag = Math.hypot(clientX - down.clientX, clientY - down.clientY) > 8;
    if (down.pointerType !== "mouse" && !drag) app.classList.toggle("bare"); // the style sheet knows where the bar may go
  });
  app.addEventListener("pointermove", ({ pointerType }) => { if (pointerType === "mouse" && full()) rest(); });
  app.addEventListener("focusin", rest);
  button.addEventListener("click", toggle);
  document.addEventListener("fullscreenchange", () => fill(document.fullscreenElement !== null));
  document.addEventListener("visibilitychange", keepAwake); // a hidden tab loses it
  document.addEventListener("keydown", ({ key }) => { if (key === "Escape" && full() && !document.fullscreenElement) fill(false); });
}
