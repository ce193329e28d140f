// The viewer page: asks for the state, shows one stream or holds one picture, and says what the viewer sees.

import { judge, refusalKey } from "./judge.js";
import { Live } from "./live.js";
import { Refusal, newest, request } from "./request.js";
import { followScreen } from "./screen.js";
import { LATE_POLLS, choose, count, isPhone, remember, remembered } from "./size.js";
import { clock, duration, kept, language, number, put, putSentence, text, translate } from "./text.js";
import { zoomable } from "./zoom.js";

const POLL_MS = 1000;
const LOGIN_MS = 30000; // between two polls of a camera that refuses the password
const RENDER_MS = 500;
const STATE_TIMEOUT_MS = 4000;
const SNAPSHOT_TIMEOUT_MS = 8000; // the server itself gives up after 4 s

const $ = (id) => document.getElementById(id);
const query = () => new URLSearchParams(location.search);
const holds = () => query().get("mode") === "snapshot";
const app = $("app");
const sizes = document.querySelectorAll("[data-size]"); // buttons

let state = null; // the newest answer of /state
let answeredAt = null; // when it came, in ms since 1970
let clockAhead = null; // of the server's clock before this one, in seconds
let refusal = null; // what the server answered in place of the state, if anything
let openedAt = Date.now(); // since when a picture is wanted
let taking = false; // a single picture
let failed = false; // the last attempt to take one
let explain; // of the texts in Korean, once they are needed
let drawer; // the modules, once they were opened
let photos;
let chosen = remembered(); // a size, by the person
let picked = false; // on this page
let late = 0; // polls in a row in which few of the big pictures came
let slow = false; // there were too many of them, and no size was picked since
let played = false; // a recording is shown in place of the live picture
let wake = () => {}; // ends the pause between two polls

const live = new Live($("picture"), "stream?raw=1", () => {
  render();
  if (!live.open) wake(); // the state says why
});

const show = (id, visible) => { $(id).hidden = !visible; };
const moves = () => ["live", "test-picture"].includes(app.dataset.key);
const size = () => choose({ asked: query().get("size"), chosen, phone: isPhone(), saveData: navigator.connection?.saveData, slow });

// ---- what the viewer is told

function render() {
  const now = Date.now();
  const held = holds();
  const { key, cause, tone, dim, since, values } = judge({ now, state, answeredAt, refusal, held, failed, stream: live, openedAt, played });
  const name = state?.name || $("name").textContent;
  const [badge] = text.told[key];
  const [, headline = "", advice = ""] = text.told[cause];
  const worded = (part) => (typeof part === "function" ? part({ ...values, since: since && clock(since) }) : part);

  const changed = app.dataset.key !== key;
  Object.assign(app.dataset, { key, tone });
  document.title = ["live", "held"].includes(key) ? name : `${badge} · ${name}`;
  put($("name"), name);
  put($("badge"), badge);
  $("stage").classList.toggle("dim", dim);
  $("picture").setAttribute("aria-label", key === "held" ? text.stillPicture(name) : key === "test-picture" ? badge : text.livePicture(name));

  const refused = live.refusal || refusal;
  const told = worded(headline);
  put($("headline"), key === "held" && live.taken ? text.taken(clock(1000 * live.taken)) : key === cause ? told : text.standsIn(told));
  putSentence($("advice"), language === "en" && state?.hint && state.cause === cause ? state.hint : worded(advice));
  const [detail, tongue] = refusalKey(refused) === key ? [key === "lockout" ? "" : refused.reason, "en"] : detailOf(cause);
  putSentence($("detail"), detail.startsWith(`${told}: `) ? detail.slice(told.length + 2) : detail);
  $("detail").lang = tongue;
  if (changed) renderAct(key);

  const moving = moves();
  put($("rate"), moving && live.rate ? text.fps(number(live.rate)) : "");
  put($("age"), moving && clockAhead !== null ? text.old(duration(Math.max(0, now / 1000 + clockAhead - live.taken))) : "");
  put($("viewers"), state && key !== "offline" ? text.viewers(state.viewers) : "");
  show("wall", state?.wall_cameras > 0);
  if (state?.recordings) show("tab-recordings", true);
  for (const id of ["menu", "tab-info"]) { // the drawer's Info says what is wrong with the files
    $(id).classList.toggle("marked", Boolean(state?.config_refused));
    $(id).title = state?.config_refused ? text.filesRefused : "";
  }
  put($("slow"), slow && moving ? text.tooSlow : "");
  show("slow-size", slow && moving);
  for (const one of sizes) one.setAttribute("aria-pressed", String(one.dataset.size === live.size));
  show("again", holds());
  $("again").setAttribute("aria-busy", String(taking));
  $("photo").disabled = !live.jpeg;
}

// Names and numbers that go with the *cause*, and their language.
function detailOf(cause) {
  if (!state || state.cause !== cause) return ["", language];
  const known = Object.keys(state.values).length > 0;
  if (language === "en" || !known) return [known || cause !== "starting" ? state.detail : "", "en"];
  if (!explain) import("./causes-ko.js").then((module) => { ({ explain } = module); });
  return [explain ? explain(state.values) : "", language];
}

// What the viewer can do about it.
function renderAct(key) {
  const link = document.createElement("a");
  Object.assign(link, { href: location.href, textContent: text.login, className: "button" });
  $("act").replaceChildren(...(key === "password" ? [link] : []));
}

// ---- the chain of polls

const visible = () => new Promise((done) => {
  if (!document.hidden) done();
  else document.addEventListener("visibilitychange", () => done(visible()), { once: true });
});

// Shows a stream while it is wanted, and while no password is refused: to check one takes a Zero most of a second.
function tend() {
  live.turn(size());
  if (document.hidden || played || holds() || refusal?.status === 401) live.stop();
  else live.start();
}

async function ask() {
  const asked = Date.now();
  try {
    state = await request("state", STATE_TIMEOUT_MS, (reply) => reply.json());
    if (refusal || asked - answeredAt > STATE_TIMEOUT_MS) { // it is back
      openedAt = Date.now();
      live.hurry();
    }
    answeredAt = Date.now();
    clockAhead = state.time - (asked + answeredAt) / 2000;
    refusal = null;
    heed();
  } catch (error) {
    refusal = error instanceof Refusal ? error : null;
  }
}

// Notices a connection that is too slow for the big pictures.
function heed() {
  late = moves() && live.shown === "big" ? count(late, live.rate, state.frames.period_seconds) : 0;
  if (late >= LATE_POLLS && !picked) slow = true;
}

async function watch() {
  for (;;) {
    await visible();
    let woken = false;
    const pause = new Promise((done) => { wake = () => { woken = true; done(); }; });
    await ask();
    if (holds() && failed && state?.ok) take();
    tend();
    render();
    drawer?.update(state);
    photos?.offer(live, state);
    if (!woken) setTimeout(wake, refusal?.status === 401 ? LOGIN_MS : POLL_MS);
    await pause;
  }
}

// ---- one picture, held

async function take() {
  if (taking) return;
  taking = true;
  render();
  try {
    await request(newest(state), SNAPSHOT_TIMEOUT_MS, async (reply) => {
      const jpeg = await reply.blob();
      const bitmap = await createImageBitmap(jpeg);
      if (holds()) live.show(bitmap, jpeg, Number(reply.headers.get("X-Timestamp")));
    });
    failed = false;
    live.refusal = null;
  } catch (error) {
    failed = true;
    live.refusal = error instanceof Refusal ? error : null;
    wake(); // the state says why
  }
  taking = false;
  render();
}

// ---- what the person does

// Follows the address: a stream, or one picture.
function enter() {
  openedAt = Date.now();
  failed = false;
  if (holds() && (!moves() || live.shown === "small")) take(); // a held picture is a big one
  tend();
  offerHold();
  put($("hold-name"), holds() ? text.resume : text.hold);
  $("hold-sign").setAttribute("d", holds() ? "M8 5l11 7-11 7z" : "M9 5v14M15 5v14");
  render();
}

function offerHold() {
  const target = query();
  if (holds()) target.delete("mode");
  else target.set("mode", "snapshot");
  $("hold").href = `${location.pathname}?${target}`; // not by <base>: the page keeps the address it was opened at
}

// Shows pictures of the size that the person picked by *button*, now and later, whatever the address says.
function pick(button) {
  const target = query();
  target.delete("size");
  history.replaceState(null, "", `${location.pathname}?${target}`.replace(/\?$/, ""));
  chosen = button.dataset.size;
  remember(chosen);
  picked = true;
  slow = false;
  tend();
  offerHold();
  render();
  if (button.closest("[hidden]")) $("view").focus();
}

// Makes room for a recording, or goes back to the live picture.
function play(whether) {
  played = whether;
  enter();
}

async function withDrawer(act) {
  const { mount } = await import("./drawer.js");
  drawer ||= mount({ text, language, stage: $("stage"), picture: $("picture"), state: () => state, zoom, played: play });
  act(drawer);
}

function renderZoom(scale) {
  const factor = number(scale);
  put($("all"), `${factor}×`);
  $("all").setAttribute("aria-label", text.all(factor));
  const leaves = scale === 1 && [$("wider"), $("all")].includes(document.activeElement);
  show("wider", scale > 1);
  show("all", scale > 1);
  if (leaves) $("closer").focus();
}

translate(document);
$("wall").href += kept;
const zoom = zoomable($("stage"), $("view"), renderZoom);
for (const how of ["wider", "all", "closer"]) $(how).addEventListener("click", zoom[how]);
$("hold").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", $("hold").href);
  enter();
});
$("again").addEventListener("click", take);
for (const one of sizes) one.addEventListener("click", () => pick(one));
$("photos").addEventListener("beforetoggle", async (event) => {
  if (event.newState === "open") photos = await import("./photo.js");
  photos?.offer(live, state);
});
$("menu").addEventListener("click", () => withDrawer((one) => one.toggle()));
for (const tab of ["picture", "info", "events", "recordings"]) $(`tab-${tab}`).addEventListener("click", () => withDrawer((one) => one.open(tab)));
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target === document.body && holds()) take();
});
addEventListener("popstate", enter);
function sleepOrWake() {
  openedAt = Date.now();
  tend();
  wake();
}
document.addEventListener("visibilitychange", sleepOrWake);
addEventListener("pagehide", () => live.stop());
addEventListener("pageshow", ({ persisted }) => { if (persisted) sleepOrWake(); });
followScreen(app, $("view"), $("fullscreen"));

if (query().get("view") === "simple") app.classList.add("simple");
show("plain", false);
show("app", true);
enter();
watch();
setInterval(() => { if (!document.hidden) render(); }, RENDER_MS);
