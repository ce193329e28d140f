// All cameras of the list. A camera that lists this page's address in its http.cors_origins tells its state and gives its stream;
// of another one, single pictures are shown.

import { judge } from "./judge.js";
import { Live } from "./live.js";
import { Refusal, request } from "./request.js";
import { clock, kept, number, put, text } from "./text.js";

const POLL_MS = 2000;
const TIMEOUT_MS = 4000;
const PICTURE_MS = 250; // between two single pictures
const LEARN_MS = 20000; // after so long, a camera that gave no state is asked again
const FPS = 10; // nine streams at their full rate fill a Wi-Fi

const $ = (id) => document.getElementById(id);
const wakers = new Set();

// Ends after *milliseconds*, or when the page is shown again.
const pause = (milliseconds) => new Promise((done) => {
  const end = () => {
    wakers.delete(end);
    clearTimeout(timer);
    done();
  };
  const timer = setTimeout(end, milliseconds);
  wakers.add(end);
});

// Shows single pictures of a camera that lets nobody read. It has the fields of Live that `judge` reads.
class Pictures {
  constructor(canvas, address, changed, size) {
    Object.assign(this, { canvas, address, changed, size, run: null, pictureAt: null, refusal: null, cause: "", rate: null, open: false });
    this.screen = canvas.getContext("2d");
  }

  start() {
    if (this.run) return;
    this.run = {};
    this.follow(this.run);
  }

  stop() {
    this.run = null;
  }

  async follow(run) {
    while (this.run === run) {
      const image = new Image();
      // decode() of a picture whose address was taken away never ends
      this.open = await new Promise((done) => {
        setTimeout(done, TIMEOUT_MS + 1000, false);
        image.src = `${this.address}?size=${this.size}&t=${Date.now()}`;
        image.decode().then(() => done(true), () => done(false));
      });
      if (!this.open) image.src = "";
      if (this.open) {
        const { naturalWidth: width, naturalHeight: height } = image;
        if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
        this.screen.drawImage(image, 0, 0);
        this.pictureAt = Date.now();
      }
      this.changed();
      await pause(this.open ? PICTURE_MS : POLL_MS);
    }
  }
}

class Tile {
  constructor(item) {
    const { origin, host } = new URL(item.firstElementChild.href);
    const link = $("tile").content.firstElementChild.cloneNode(true);
    link.href = `${origin}/${kept}`;
    Object.assign(this, { origin, link, name: host, state: null, answeredAt: null, refusal: null, near: true, openedAt: Date.now(), learnAt: 0 });
    item.replaceChildren(link);
    this.show(Live);
  }

  get wanted() {
    return this.near && !document.hidden;
  }

  // Changes the way in which the picture is shown.
  show(Way) {
    this.stream?.stop();
    const old = this.link.querySelector("canvas");
    const canvas = this.stream ? old.cloneNode() : old; // a canvas keeps its first context
    old.replaceWith(canvas);
    const address = Way === Live ? `${this.origin}/stream?raw=1&fps=${FPS}` : `${this.origin}/snapshot`;
    this.stream = new Way(canvas, address, () => this.render(), "small");
    if (Way === Pictures) this.stream.screen.drawImage(old, 0, 0);
    this.openedAt = Date.now();
    this.tend();
  }

  tend() {
    if (this.wanted) this.stream.start();
    else this.stream.stop();
    this.render();
  }

  async follow() {
    for (;;) {
      if (this.wanted) await this.ask();
      this.render();
      await pause(POLL_MS);
    }
  }

  async ask() {
    const readable = this.stream instanceof Live;
    if (!readable && Date.now() < this.learnAt) return this.knock();
    try {
      this.state = await request(`${this.origin}/state`, TIMEOUT_MS, (reply) => reply.json());
      this.name = this.state.name;
      Object.assign(this, { answeredAt: Date.now(), refusal: null });
      if (!readable) this.show(Live);
      else if (!this.stream.open) this.stream.hurry();
    } catch (error) {
      this.refusal = error instanceof Refusal ? error : null;
      this.learnAt = Date.now() + LEARN_MS;
      // one answer that is missing says nothing; a camera behind a login may show pictures all the same
      if (this.refusal && this.refusal.status !== 401) this.answeredAt = Date.now();
      else if (await this.knock() && readable && !this.stream.open) this.show(Pictures);
    }
  }

  // Returns whether a server answers there, whatever it says.
  async knock() {
    try {
      await fetch(`${this.origin}/livez`, { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      this.answeredAt = Date.now();
      if (!(this.stream instanceof Live)) this.state = null;
      return true;
    } catch {
      this.refusal = null;
      return false;
    }
  }

  render() {
    if (!this.stream) return;
    const { link, state, answeredAt, refusal, stream, openedAt } = this;
    const mixed = location.protocol === "https:" && link.protocol === "http:";
    const judged = judge({ now: Date.now(), state, answeredAt, refusal, stream, openedAt });
    const { key, cause, tone, dim, since, values } = mixed ? { key: "mixed", cause: "mixed", tone: "bad", dim: true } : judged;
    const [badge] = text.told[key];
    const [, headline = ""] = text.told[cause];
    const worded = typeof headline === "function" ? headline({ ...values, since: since && clock(since) }) : headline;
    Object.assign(link.dataset, { key, tone });
    link.classList.toggle("dim", dim);
    put(link.querySelector(".name"), this.name);
    put(link.querySelector(".badge strong"), badge);
    put(link.querySelector(".rate"), key === "live" && stream.rate ? text.fps(number(stream.rate)) : "");
    put(link.querySelector(".told strong"), key === "test-picture" ? text.standsIn(worded) : worded);
    link.querySelector("canvas").setAttribute("aria-label", key === "test-picture" ? badge : text.livePicture(this.name));
  }
}

document.title = $("title").textContent = text.wall;
$("none").textContent = text.noCameras;
const tiles = [...$("wall").children].map((item) => new Tile(item));
$("none").hidden = tiles.length > 0;
$("wall").hidden = !tiles.length;
$("wall").style.setProperty("--columns", Math.ceil(Math.sqrt(tiles.length)));

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const tile = tiles.find(({ link }) => link === target);
    tile.near = isIntersecting;
    tile.tend();
  }
}, { rootMargin: "25%" });
for (const tile of tiles) {
  observer.observe(tile.link);
  tile.follow();
}
function follow() {
  for (const tile of tiles) tile.tend();
  for (const wake of [...wakers]) wake();
}
document.addEventListener("visibilitychange", follow);
addEventListener("pagehide", () => { for (const tile of tiles) tile.stream.stop(); });
addEventListener("pageshow", ({ persisted }) => { if (persisted) follow(); });
