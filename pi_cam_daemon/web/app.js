// The viewer page. One chain of polls (`watch`) reads the state and tends the one stream connection.

const TEXT = {
  en: {
    stream: "Stream", snapshot: "Snapshot", modes: "View",
    take: "Take another", save: "Save picture", fullscreen: "Full screen",
    rate: "Frame rate", age: "Age of picture", viewers: "Viewers", size: "Size",
    camera: "Camera", source: "Source", encoder: "Encoder",
    addresses: "Addresses", copy: "Copy", copied: "Copied", download: "Download a snapshot",
    fps: (n) => `${n} fps`,
    of: (n, most) => `${n} of ${most}`,
    since: (time) => `No picture since ${time}`,
    noneYet: "No picture yet", connecting: "Connecting…",
    taking: "Taking a picture…", taken: (time) => `Taken at ${time}`, notTaken: "No snapshot could be taken",
    livePicture: (name) => `Live picture from ${name}`, stillPicture: (name) => `Snapshot from ${name}`,
    version: (name, version) => `${name} · pi-cam-daemon ${version}`,
    states: {
      starting: "Starting", streaming: "Live", idle: "Asleep", "no-camera": "No camera",
      stalled: "Frozen", wedged: "Stuck", offline: "Offline",
    },
    kinds: { csi: "CSI camera", usb: "USB camera", upstream: "Network camera", pattern: "Test picture" },
    causes: {
      starting: ["The camera is starting", "The first picture can take half a minute."],
      missing: ["No camera found", "Switch the Raspberry Pi off, seat the camera's cable again at both ends and switch it on."],
      busy: ["Another program uses the camera", "Close that program; the picture comes by itself."],
      permission: ["The camera may not be opened", "Check that the service's user is in the group “video”."],
      settings: ["The camera refuses its settings", "Choose another size or frame rate in the configuration."],
      lost: ["The camera was lost", "Check its cable; the picture comes back by itself."],
      crashed: ["The camera program ended unexpectedly", "It is being started again. If this repeats, the service's log says why."],
      stalled: ["The camera sends no new pictures", "It is being started again. If this repeats, check the cable and the power supply."],
      wedged: ["The camera does not respond", "Restart the Raspberry Pi."],
      offline: ["The camera server does not answer", "Is the Raspberry Pi on and in this network? This page keeps trying."],
      full: ["The camera has all the viewers it can take", "The picture comes as soon as somebody leaves."],
    },
  },
  ko: {
    stream: "스트림", snapshot: "스냅샷", modes: "보기",
    take: "다시 찍기", save: "사진 저장", fullscreen: "전체 화면",
    rate: "프레임 속도", age: "마지막 화면", viewers: "시청자", size: "해상도",
    camera: "카메라", source: "영상 소스", encoder: "인코더",
    addresses: "주소", copy: "복사", copied: "복사됨", download: "스냅샷 내려받기",
    fps: (n) => `초당 ${n}장`,
    of: (n, most) => `${n} / ${most}`,
    since: (time) => `${time} 이후 영상이 없습니다`,
    noneYet: "아직 영상이 없습니다", connecting: "연결하는 중…",
    taking: "찍는 중…", taken: (time) => `${time}에 찍음`, notTaken: "스냅샷을 찍지 못했습니다",
    livePicture: (name) => `${name}의 실시간 영상`, stillPicture: (name) => `${name}의 스냅샷`,
    version: (name, version) => `${name} · pi-cam-daemon ${version}`,
    states: {
      starting: "시작 중", streaming: "실시간", idle: "대기 중", "no-camera": "카메라 없음",
      stalled: "멈춤", wedged: "응답 없음", offline: "연결 끊김",
    },
    kinds: { csi: "CSI 카메라", usb: "USB 카메라", upstream: "네트워크 카메라", pattern: "테스트 영상" },
    causes: {
      starting: ["카메라를 시작하고 있습니다", "첫 화면이 나올 때까지 30초쯤 걸릴 수 있습니다."],
      missing: ["카메라를 찾을 수 없습니다", "라즈베리 파이의 전원을 끄고 카메라 케이블 양쪽을 다시 끼운 뒤 켜 주세요."],
      busy: ["다른 프로그램이 카메라를 쓰고 있습니다", "그 프로그램을 닫으면 영상이 저절로 나옵니다."],
      permission: ["카메라를 열 권한이 없습니다", "서비스 사용자가 ‘video’ 그룹에 있는지 확인해 주세요."],
      settings: ["카메라가 이 설정을 받아들이지 않습니다", "설정에서 해상도나 프레임 속도를 바꿔 주세요."],
      lost: ["카메라와 연결이 끊겼습니다", "케이블을 확인해 주세요. 연결되면 영상이 저절로 이어집니다."],
      crashed: ["카메라 프로그램이 갑자기 끝났습니다", "다시 시작하고 있습니다. 되풀이되면 서비스 로그를 확인해 주세요."],
      stalled: ["카메라가 새 화면을 보내지 않습니다", "다시 시작하고 있습니다. 되풀이되면 케이블과 전원을 확인해 주세요."],
      wedged: ["카메라가 응답하지 않습니다", "라즈베리 파이를 다시 시작해 주세요."],
      offline: ["카메라 서버가 응답하지 않습니다", "라즈베리 파이가 켜져 있고 같은 네트워크에 있는지 확인해 주세요. 계속 다시 시도합니다."],
      full: ["더 이상 시청자를 받을 수 없습니다", "누군가 나가면 바로 영상이 나옵니다."],
    },
  },
};

const POLL_MS = 1000;
const STATE_TIMEOUT_MS = 4000;
const SNAPSHOT_TIMEOUT_MS = 8000; // the server itself gives up after 4 s
const FRESH_SECONDS = 3;
const STUCK_MS = 5000; // a stream that shows nothing new for so long while the camera delivers is opened again
const LONGEST_WAIT = 16; // upper end of the back-off, as a factor

const query = () => new URLSearchParams(location.search);
const language = [query().get("lang"), ...navigator.languages]
  .map((tag) => (tag || "").slice(0, 2).toLowerCase()).find((tag) => ["en", "ko"].includes(tag)) || "en";
const text = TEXT[language];
const mode = () => (query().get("mode") === "snapshot" ? "snapshot" : "stream");
const $ = (id) => document.getElementById(id);
const live = $("live");
const still = $("still");

let state; // the newest answer of `state`; null: the server does not answer; undefined: not asked yet
let lastFrame = { captured: null, at: null }; // `at`: when the camera took it, by this browser's clock
let wake = () => {}; // ends the pause between two polls

// Written only when it differs, so that screen readers announce changes and nothing else.
function put(id, value) {
  if ($(id).textContent !== value) $(id).textContent = value;
}

function show(id, visible) {
  $(id).hidden = !visible;
}

function clock(date) {
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(language, { ...(today ? {} : { dateStyle: "medium" }), timeStyle: "medium", hourCycle: "h23" });
}

function duration(seconds) {
  const [value, unit] = seconds < 60 ? [seconds, "second"] : seconds < 3600 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  const digits = unit === "second" && value < 10 ? 1 : 0;
  return (seconds < 0.1 ? "< " : "") + new Intl.NumberFormat(language, {
    style: "unit", unit, unitDisplay: "short", minimumFractionDigits: digits, maximumFractionDigits: digits,
  }).format(Math.max(value, 0.1));
}

// Rejects when the answer is not complete in time.
async function request(path, milliseconds, read) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), milliseconds);
  try {
    const reply = await fetch(path, { cache: "no-store", signal: abort.signal });
    if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
    return await read(reply);
  } finally {
    clearTimeout(timer);
  }
}

// ---- stream: one <img>, one connection

const stream = { wait: 1, reopenAt: 0, movedAt: 0, print: null, refused: false };
const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
probe.canvas.width = 64;
probe.canvas.height = 48;
probe.imageSmoothingEnabled = false; // picks single pixels: averaging would hide the noise that tells a still scene from a dead stream

const streamOpen = () => live.hasAttribute("src");
const streamShows = () => streamOpen() && live.naturalWidth > 0;

function openStream() {
  closeStream();
  stream.movedAt = performance.now();
  // Without an address of its own, Chromium answers a second opening from its list of images and never connects.
  live.src = `stream?t=${Date.now()}`;
}

function closeStream() {
  if (streamShows()) paint(live, live.naturalWidth, live.naturalHeight);
  live.removeAttribute("src");
}

function backOff() {
  stream.reopenAt = performance.now() + POLL_MS * stream.wait;
  stream.wait = Math.min(stream.wait * 2, LONGEST_WAIT);
}

live.addEventListener("error", () => {
  if (!streamOpen()) return;
  stream.refused = true;
  closeStream();
  backOff();
});

function fingerprint() {
  const { width, height } = probe.canvas;
  probe.drawImage(live, 0, 0, width, height);
  return probe.getImageData(0, 0, width, height).data.reduce((hash, byte) => (hash * 31 + byte) | 0, 0);
}

// Browsers say nothing when a stream that once had a picture ends: only the picture itself tells.
function tendStream(delivering) {
  const now = performance.now();
  if (!streamOpen()) {
    if (now >= stream.reopenAt) openStream();
    return;
  }
  const print = streamShows() ? fingerprint() : stream.print;
  if (print !== stream.print) Object.assign(stream, { print, movedAt: now, wait: 1, refused: false });
  else if (!delivering) stream.movedAt = now;
  else if (now - stream.movedAt > STUCK_MS * stream.wait) {
    backOff();
    openStream();
  }
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
  try {
    const jpeg = await request("snapshot", SNAPSHOT_TIMEOUT_MS, (reply) => reply.blob());
    const picture = await createImageBitmap(jpeg);
    if (mode() === "snapshot") {
      paint(picture, picture.width, picture.height);
      shot.takenAt = new Date();
      if (shot.address) URL.revokeObjectURL(shot.address);
      shot.address = $("save").href = URL.createObjectURL(jpeg);
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

// ---- what the state means for the page

const offline = () => state === null;

function stale() {
  const frameSeconds = state.camera && state.camera.framerate > 0 ? 1 / state.camera.framerate : 0;
  return state.frames.age_seconds === null || state.frames.age_seconds > Math.max(FRESH_SECONDS, 3 * frameSeconds);
}

function delivering() {
  return !offline() && state.ok && !stale();
}

// A camera that sleeps because nobody watches is well; only a stream has to show that it does not move.
function frozen() {
  if (offline() || !state.ok) return true;
  if (mode() === "stream") return stale() || !streamShows();
  return shot.failed || (stale() && state.state !== "idle");
}

function trouble() {
  if (offline()) return "offline";
  if (!state.ok) return state.cause || state.state;
  return stream.refused && mode() === "stream" && state.viewers >= state.max_viewers ? "full" : null;
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
  live.hidden = snapshots;
  still.setAttribute("aria-hidden", String(!snapshots));
  show("take", snapshots);
  $("take").setAttribute("aria-busy", String(shot.taking));
  show("taken", snapshots);
  put("taken", shot.taking ? text.taking : shot.failed ? text.notTaken : shot.takenAt ? text.taken(clock(shot.takenAt)) : "");
  show("save", snapshots && shot.address !== null);
}

function renderState() {
  const name = state ? state.name : $("name").textContent;
  const snapshots = mode() === "snapshot";
  const status = offline() ? "offline" : state.state === "streaming" && stale() ? "stalled" : state.state;

  document.title = offline() || !state.ok ? `${text.states[status] || status} · ${name}` : name;
  put("name", name);
  put("badge", text.states[status] || status);
  $("badge").dataset.state = status;

  $("stage").classList.toggle("frozen", frozen());
  live.alt = text.livePicture(name);
  still.setAttribute("aria-label", text.stillPicture(name));
  const connecting = delivering() || status === "idle"; // the camera is well, only the picture is not here yet
  put("since", !frozen() || (snapshots && connecting) ? "" : connecting ? text.connecting
    : lastFrame.at ? text.since(clock(lastFrame.at)) : text.noneYet);

  const cause = trouble();
  show("notice", cause !== null);
  $("notice").dataset.state = status;
  if (cause) {
    const { detail, hint } = offline() || state.ok ? { detail: "", hint: "" } : state;
    const [headline, advice] = text.causes[cause] || [text.states[status] || status, hint];
    put("headline", headline);
    const own = language === "en" && hint; // the server knows more than a word, but English only
    put("hint", own || advice);
    put("detail", [detail === headline ? "" : detail, own ? "" : hint].filter(Boolean).join(" – "));
  }
  if (state) renderNumbers();
}

function renderNumbers() {
  const { frames, camera, source } = state;
  const number = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
  put("rate", frames.rate ? text.fps(number.format(frames.rate)) : "–");
  put("age", frames.age_seconds === null ? "–" : duration(frames.age_seconds));
  put("viewers", text.of(state.viewers, state.max_viewers));
  put("size", camera ? `${camera.width} × ${camera.height}` : "–");
  if (camera) $("stage").style.aspectRatio = `${camera.width} / ${camera.height}`;
  put("camera", camera ? camera.name : "–");
  put("encoder", camera ? [camera.encoder, camera.pixel_format].filter(Boolean).join(" · ") : "–");
  put("kind", text.kinds[source.kind] || source.kind || "–");
  put("reason", source.reason || "");
  put("version", text.version(state.name, state.version));
  const time = (shot.takenAt || new Date()).toISOString().slice(0, 19).replaceAll(":", "-");
  $("save").download = `${state.name}-${time}.jpg`;
  $("download").download = `${state.name}.jpg`;
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
    } catch {
      if (document.hidden) continue;
      state = null;
    }
    if (state && state.frames.captured !== lastFrame.captured && state.frames.age_seconds !== null)
      lastFrame = { captured: state.frames.captured, at: new Date(Date.now() - 1000 * state.frames.age_seconds) };
    if (!document.hidden && !offline() && mode() === "stream") tendStream(delivering());
    if (mode() === "snapshot" && shot.failed && delivering()) takeSnapshot();
    render();
    await pause(POLL_MS);
  }
}

// ---- what the person does

function enterMode() {
  Object.assign(stream, { wait: 1, reopenAt: 0 });
  if (mode() === "stream" && !document.hidden) openStream();
  else closeStream();
  if (mode() === "snapshot") takeSnapshot();
  render();
}

function copy(button) {
  $(button.dataset.copy).select();
  document.execCommand("copy"); // navigator.clipboard does not exist on plain http
  button.textContent = text.copied;
  setTimeout(() => { button.textContent = text.copy; }, 2000);
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
  $(`${one}-address`).value = new URL(one, document.baseURI).href;
}
for (const button of document.querySelectorAll("[data-copy]")) {
  button.textContent = text.copy;
  button.setAttribute("aria-describedby", button.dataset.copy);
  button.addEventListener("click", () => copy(button));
}
$("take").addEventListener("click", takeSnapshot);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target === document.body && mode() === "snapshot") takeSnapshot();
});
show("fullscreen", document.fullscreenEnabled);
$("fullscreen").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("stage").requestFullscreen();
});
addEventListener("popstate", enterMode);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) closeStream();
  else if (mode() === "stream") openStream();
  wake();
});

show("app", true);
enterMode();
watch();
