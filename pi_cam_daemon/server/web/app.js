// The viewer page. One chain of polls (`watch`) reads the state and tends the one stream connection.

import { followControls } from "./controls.js";
import { Live, delivers, moves, stale, standsIn, status } from "./live.js";
import { Refusal, request } from "./request.js";
import { language, text } from "./text.js";
import { zoomable } from "./zoom.js";

const POLL_MS = 1000;
const STATE_TIMEOUT_MS = 4000;
const SNAPSHOT_TIMEOUT_MS = 8000; // the server itself gives up after 4 s
const BRIEF_SECONDS = 2; // a start that is over by then moves nothing on the page
const FULL_SIZE_TIMEOUT_MS = 80000; // and after 75 s, with a camera that sleeps and takes a picture in 20 s

const query = () => new URLSearchParams(location.search);
const mode = () => (query().get("mode") === "snapshot" ? "snapshot" : "stream");
const $ = (id) => document.getElementById(id);
const still = $("still");

let state; // the newest answer of `state`; null: there was none; undefined: not asked yet
let refusal = null; // what the server answered in place of the state, if anything
let streamRefusal = 0; // the status that a stream was refused with
let lastFrame = { captured: null, at: null }; // `at`: when the camera took it, by this browser's clock
let refusedAt = 0; // when the files on disk were refused, by this browser's clock
let wake = () => {}; // ends the pause between two polls

// Written only when it differs, so that screen readers announce changes and nothing else.
function put(id, value) {
  if ($(id).textContent !== value) $(id).textContent = value;
}

function show(id, visible) {
  $(id).hidden = !visible;
}

function clock(date, timeStyle = "medium") {
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(language, { ...(today ? {} : { dateStyle: "medium" }), timeStyle, hourCycle: "h23" });
}

function duration(seconds) {
  const [value, unit] = seconds < 60 ? [seconds, "second"] : seconds < 3600 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  const digits = unit === "second" && value < 10 ? 1 : 0;
  return (seconds < 0.1 ? "< " : "") + new Intl.NumberFormat(language, {
    style: "unit", unit, unitDisplay: "short", minimumFractionDigits: digits, maximumFractionDigits: digits,
  }).format(Math.max(value, 0.1));
}

// ---- stream

const stream = new Live($("live"), "stream", {
  shown: () => render(),
  leaving: () => paint(stream.image, stream.image.naturalWidth, stream.image.naturalHeight),
  refused: askWhy,
});

// An <img> does not say why it gets nothing.
async function askWhy() {
  try {
    await request("stream", STATE_TIMEOUT_MS, () => null, "HEAD");
    streamRefusal = 0;
  } catch (error) {
    streamRefusal = error.status || 0;
  }
  wake();
}

// ---- snapshot

const shot = { taking: false, takenAt: null, failed: false, address: null };

function paint(picture, width, height) {
  still.width = width;
  still.height = height;
  still.getContext("2d").drawImage(picture, 0, 0);
}

async function takeSnapshot() {
  if (shot.taking) return;
  shot.taking = true;
  render();
  const rate = state?.frames.rate;
  const age = rate && rate < 0.5 ? "" : "?max_age_ms=0"; // a new one; of a slow camera it may come too late
  try {
    const jpeg = await request("snapshot" + age, SNAPSHOT_TIMEOUT_MS, (reply) => reply.blob());
    const picture = await createImageBitmap(jpeg);
    if (mode() === "snapshot") {
      paint(picture, picture.width, picture.height);
      shot.takenAt = new Date();
      if (shot.address) URL.revokeObjectURL(shot.address);
      shot.address = URL.createObjectURL(jpeg);
    }
    picture.close();
    shot.failed = false;
  } catch {
    shot.failed = true;
    wake(); // the state says why
  }
  shot.taking = false;
  render();
}

// ---- a picture of the sensor's full size

const fullSize = { taking: false, said: "", why: "" };

async function takeFullSize() {
  if (fullSize.taking) return;
  Object.assign(fullSize, { taking: true, said: text.takingFull, why: "" });
  render();
  try {
    const jpeg = await request("still.jpg", FULL_SIZE_TIMEOUT_MS, (reply) => reply.blob());
    const picture = await createImageBitmap(jpeg);
    fullSize.said = text.tookFull(`${picture.width} × ${picture.height}`);
    picture.close();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(jpeg);
    link.download = fileName(new Date(), "-full");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000); // by then the browser has it
  } catch (error) {
    Object.assign(fullSize, { said: text.notFull, why: error instanceof Refusal ? error.reason.trim() : "" });
  }
  fullSize.taking = false;
  render();
}

const fileName = (date, kind = "") => `${state.name}-${date.toISOString().slice(0, 19).replaceAll(":", "-")}${kind}.jpg`;

// ---- what the state means for the page

const offline = () => !state;

const delivering = () => !offline() && delivers(state);
const serving = () => !offline() && (state.ok || standsIn(state));

// A camera that sleeps because nobody watches is well; only a stream has to show that it does not move.
function frozen() {
  if (!serving()) return true;
  if (mode() === "stream") return stale(state) || !stream.shows;
  return shot.failed || (stale(state) && state.state !== "idle");
}

const REFUSALS = { lockout: "lockedOut", 403: "forbidden", 421: "misnamed", 429: "taken", 503: "taken" };
const STREAM_REFUSALS = { 429: "crowded", 503: "full" };

function trouble() {
  if (offline()) return (refusal && (REFUSALS[refusal.kind] || REFUSALS[refusal.status])) || "offline";
  if (state.state === "starting" && state.since_seconds < BRIEF_SECONDS) return null;
  return state.ok ? noPlace() : state.cause || state.state;
}

// Pictures there are, but not for us.
function noPlace() {
  return (serving() && stream.refused && mode() === "stream" && STREAM_REFUSALS[streamRefusal]) || null;
}

function render() {
  renderMode();
  if (state !== undefined) renderState();
}

function renderMode() {
  const snapshots = mode() === "snapshot";
  for (const one of ["stream", "snapshot"]) {
    if (mode() === one) $(`to-${one}`).setAttribute("aria-current", "page");
    else $(`to-${one}`).removeAttribute("aria-current");
  }
  stream.image.hidden = snapshots;
  still.setAttribute("aria-hidden", String(!snapshots));
  show("take", snapshots);
  $("take").setAttribute("aria-busy", String(shot.taking));
  show("taken", snapshots);
  put("taken", shot.taking ? text.taking : shot.failed ? text.notTaken : shot.takenAt ? text.taken(clock(shot.takenAt)) : "");
  const ready = delivering() || (!offline() && state.state === "idle");
  show("save", snapshots ? shot.address !== null : ready);
  $("save").href = (snapshots && shot.address) || "snapshot";
  show("full-size", ready && state.ok); // a test picture in place of a camera has no full size
  $("full-size").setAttribute("aria-busy", String(fullSize.taking));
  put("full-size-said", fullSize.said);
  put("full-size-why", fullSize.why);
}

function renderState() {
  const name = state ? state.name : $("name").textContent;
  const snapshots = mode() === "snapshot";
  const now = offline() ? (refusal ? "refused" : "offline") : status(state);

  document.title = offline() || !state.ok ? `${text.states[now] || now} · ${name}` : name;
  put("name", name);
  put("badge", text.states[now] || now);
  $("status").dataset.state = now;
  show("status", true);

  $("stage").classList.toggle("frozen", frozen());
  stream.image.alt = now === "stand-in" ? text.states[now] : text.livePicture(name);
  still.setAttribute("aria-label", text.stillPicture(name));
  const connecting = delivering() || now === "idle"; // the camera is well, only the picture is not here yet
  const cause = trouble();
  put("since", !frozen() || (snapshots && connecting) ? "" : noPlace() ? text.causes[noPlace()][0]
    : connecting ? text.connecting : lastFrame.at ? text.since(clock(lastFrame.at)) : text.noneYet);

  show("notice", cause !== null);
  $("notice").dataset.state = cause === noPlace() ? "waiting" : now;
  if (cause) {
    const { detail, hint } = offline() ? { detail: refusal ? refusal.reason : "", hint: "" }
      : state.ok ? { detail: "", hint: "" } : state;
    const [headline, advice] = text.causes[cause] || [text.states[now] || now, hint];
    put("headline", headline);
    const own = language === "en" && hint; // the server knows more than a word, but English only
    put("hint", own || advice);
    put("detail", [detail === headline ? "" : detail, own ? "" : hint].filter(Boolean).join(" – "));
  }
  renderRefusedFiles();
  renderNumbers();
  if (state) renderFacts();
}

// The files on disk that the daemon does not use.
function renderRefusedFiles() {
  const refused = state && state.config_refused;
  show("files", Boolean(refused));
  if (!refused) return;
  const at = Date.now() - 1000 * refused.since_seconds;
  if (Math.abs(at - refusedAt) > 2000) refusedAt = at;
  put("files-headline", text.filesRefused(clock(new Date(refusedAt), "short")));
  put("files-problems", refused.problems.join("\n"));
}

function renderNumbers() {
  const { rate, age_seconds: age } = state && !standsIn(state) ? state.frames : { rate: 0, age_seconds: null };
  const number = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
  put("rate", rate ? text.fps(number.format(rate)) : "");
  put("age", age === null ? "" : text.old(duration(age)));
  put("viewers", state ? text.viewers(state.viewers) : "");
}

function renderFacts() {
  const { camera, source } = state;
  put("size", camera ? `${camera.width} × ${camera.height}` : "–");
  if (camera) $("stage").style.aspectRatio = `${camera.width} / ${camera.height}`;
  put("camera", camera ? camera.name : "–");
  put("encoder", camera ? [camera.encoder, camera.pixel_format].filter(Boolean).join(" · ") : "–");
  put("kind", text.kinds[source.kind] || source.kind || "–");
  put("reason", source.reason || "");
  put("version", text.version(state.name, state.version));
  $("save").download = fileName((mode() === "snapshot" && shot.takenAt) || new Date());
  show("wall", state.wall_cameras > 0);
  renderAddresses();
}

// ---- the chain

const visible = () => new Promise((done) => {
  if (!document.hidden) done();
  else document.addEventListener("visibilitychange", () => done(visible()), { once: true });
});

const pause = (milliseconds) => new Promise((done) => {
  wake = done;
  setTimeout(done, milliseconds);
});

async function watch() {
  for (;;) {
    await visible();
    try {
      state = await request("state", STATE_TIMEOUT_MS, (reply) => reply.json());
      refusal = null;
    } catch (error) {
      if (document.hidden) continue;
      state = null;
      refusal = error instanceof Refusal ? error : null;
    }
    if (state && state.frames.captured !== lastFrame.captured && state.frames.age_seconds !== null)
      lastFrame = { captured: state.frames.captured, at: new Date(Date.now() - 1000 * state.frames.age_seconds) };
    if (!document.hidden && !offline() && mode() === "stream") stream.tend(moves(state));
    if (mode() === "snapshot" && shot.failed && delivering()) takeSnapshot();
    followControls(state);
    render();
    await pause(POLL_MS);
  }
}

// ---- addresses, ready to be copied

const address = (path) => new URL(path, document.baseURI).href;
let usesOf = null; // the camera that the addresses were written for

function renderAddresses() {
  const { camera } = state;
  const known = [state.name, camera && camera.width, camera && camera.height].join();
  if (usesOf === known) return;
  usesOf = known;
  const label = state.name.replace(/[^A-Za-z0-9_-]/g, "_");
  const frigate = `cameras:
  ${label}:
    ffmpeg:
      inputs:
        - path: ${address("stream")}
          input_args: preset-http-mjpeg-generic
          roles:
            - detect
    detect:
      enabled: true
${camera ? `      width: ${camera.width}\n      height: ${camera.height}\n` : ""}      fps: 5
`;
  const opencv = `import cv2

camera = cv2.VideoCapture("${address("stream")}")
ok, picture = camera.read()
`;
  const streamed = [text.stream, address("stream")];
  const taken = [text.snapshot, address("snapshot")];
  const uses = [
    ["Home Assistant", [["MJPEG URL", streamed[1]], ["Still image URL", taken[1]]]],
    ["OctoPrint", [["Stream URL", streamed[1]], ["Snapshot URL", taken[1]]]],
    ["VLC", [streamed]],
    ["OpenCV", [["Python", opencv]]],
    ["Frigate", [["config.yml", frigate]]],
  ];
  const opened = [...document.querySelectorAll("details[open] > summary")].map((summary) => summary.textContent);
  $("addresses").replaceChildren(...[streamed, taken].map(snippet), ...uses.map(([program, snippets]) => {
    const use = $("use").content.firstElementChild.cloneNode(true);
    use.open = opened.includes(program);
    use.firstElementChild.textContent = program;
    use.lastElementChild.textContent = text.uses[program];
    use.append(...snippets.map(snippet));
    return use;
  }));
}

function snippet([name, content]) {
  const node = $("snippet").content.firstElementChild.cloneNode(true);
  const [label, pre, button] = node.children;
  label.textContent = name;
  pre.firstChild.textContent = content;
  button.textContent = text.copy;
  button.setAttribute("aria-label", text.copyOf(name));
  button.addEventListener("click", () => copy(button, pre.firstChild));
  return node;
}

function copy(button, node) {
  const selection = getSelection();
  selection.selectAllChildren(node);
  document.execCommand("copy"); // navigator.clipboard does not exist on plain http
  selection.removeAllRanges();
  button.textContent = text.copied;
  setTimeout(() => { button.textContent = text.copy; }, 2000);
}

// ---- what the person does

function enterMode() {
  stream.forgive();
  if (mode() === "stream" && !document.hidden) stream.start();
  else stream.close();
  if (mode() === "snapshot") takeSnapshot();
  render();
}

const full = () => $("app").classList.contains("full");

function fill(whether) {
  $("app").classList.toggle("full", whether);
  $("fullscreen").setAttribute("aria-pressed", String(whether));
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (document.fullscreenEnabled) $("app").requestFullscreen();
  else fill(!full()); // an iPhone gives its whole screen to videos only
}

function renderZoom(scale) {
  const factor = new Intl.NumberFormat(language, { maximumFractionDigits: 1 }).format(scale);
  put("all", `${factor}×`);
  $("all").setAttribute("aria-label", text.all(factor));
  const leaves = scale === 1 && [$("wider"), $("all")].includes(document.activeElement);
  show("wider", scale > 1);
  show("all", scale > 1);
  if (leaves) $("closer").focus();
}

document.documentElement.lang = language;
for (const node of document.querySelectorAll("[data-text]")) node.textContent = text[node.dataset.text];
for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", text[node.dataset.label]);
for (const one of ["stream", "snapshot"]) {
  const link = $(`to-${one}`);
  const target = query();
  target.set("mode", one);
  link.href = `${location.pathname}?${target}`; // not by <base>: the page keeps the address it was opened at
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (mode() === one) return;
    history.pushState(null, "", link.href);
    enterMode();
  });
}
const zoom = zoomable($("stage"), $("view"), renderZoom);
for (const how of ["wider", "all", "closer"]) $(how).addEventListener("click", zoom[how]);
$("take").addEventListener("click", takeSnapshot);
$("full-size").addEventListener("click", takeFullSize);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target === document.body && mode() === "snapshot") takeSnapshot();
});
$("fullscreen").addEventListener("click", toggleFull);
document.addEventListener("fullscreenchange", () => fill(document.fullscreenElement !== null));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && full()) fill(false);
});
addEventListener("popstate", enterMode);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) stream.close();
  else if (mode() === "stream") stream.start();
  wake();
});

show("app", true);
enterMode();
watch();
