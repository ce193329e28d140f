// The drawer beside the picture: its tabs, and the panels in them, which are loaded when a tab is opened.

const $ = (id) => document.getElementById(id);
const TABS = {
  picture: ["controls", "settings", "motion"], info: ["info", "addresses"], events: ["events"], recordings: ["recordings"],
};

// *page* is what the panels may use: text, stage, picture, zoom, state().
export function mount(page) {
  const mounted = {}; // by tab: its panels
  let shown = "";

  async function load(tab) {
    const nodes = TABS[tab].map(() => document.createElement("section"));
    $(`panel-${tab}`).append(...nodes);
    const modules = await Promise.all(TABS[tab].map((name) => import(`./${name}.js`)));
    mounted[tab] = modules.map((module, number) => module.mount(nodes[number], page));
    attend();
    update(page.state());
  }

  // Shows the tab *wanted*, or closes the drawer for "".
  function open(wanted) {
    const inside = $("drawer").contains(document.activeElement); // what is hidden loses the focus
    for (const one of Object.keys(TABS)) {
      $(`panel-${one}`).hidden = one !== wanted;
      $(`tab-${one}`).setAttribute("aria-selected", String(one === wanted));
      $(`tab-${one}`).tabIndex = one === wanted || !wanted ? 0 : -1;
    }
    $("app").classList.toggle("opened", wanted !== "");
    $("menu").setAttribute("aria-expanded", String(wanted !== ""));
    if (wanted && !mounted[wanted]) {
      mounted[wanted] = [];
      load(wanted);
    }
    if (!wanted && inside) $("menu").focus();
    shown = wanted;
    attend();
  }

  // Lets panels know whether they are shown.
  function attend() {
    for (const [tab, panels] of Object.entries(mounted)) for (const panel of panels) panel.show?.(tab === shown);
  }

  function update(state) {
    for (const panel of mounted[shown] || []) panel.update(state);
  }

  // Without a recorder there may be recordings, from before.
  if (!page.state()?.recordings) {
    import("./panel.js").then(({ ask }) => ask("recordings")).then(({ table }) => {
      if (table?.clips) $("tab-recordings").hidden = false;
    });
  }

  $("drawer").addEventListener("keydown", (event) => {
    const names = Object.keys(TABS).filter((tab) => !$(`tab-${tab}`).hidden);
    const at = names.indexOf(event.target.id?.slice(4));
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.target.role === "tab" && step) {
      const next = names[(at + step + names.length) % names.length];
      open(next);
      $(`tab-${next}`).focus();
    } else if (event.key === "Escape" && !event.defaultPrevented) open("");
  });
  $("close").addEventListener("click", () => open(""));
  function toggle() {
    open(shown ? "" : "picture");
    if (shown) $(`tab-${shown}`).focus();
  }

  return { open, update, toggle };
}
