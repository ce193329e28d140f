// All cameras of the list. Each tells its state to pages of its http.cors_origins; to others the picture tells.

import { Live, delivers, moves, status } from "./live.js";
import { Refusal, request } from "./request.js";
import { language, text } from "./text.js";

const POLL_MS = 2000;
const TIMEOUT_MS = 4000;

const $ = (id) => document.getElementById(id);

class Tile {
  constructor(item) {
    const { origin, host } = new URL(item.firstElementChild.href);
    const link = $("tile").content.firstElementChild.cloneNode(true);
    link.href = `${origin}/`;
    Object.assign(this, { origin, link, name: host, answers: undefined, refused: false, silent: false });
    this.image = link.querySelector("img");
    this.live = new Live(this.image, `${origin}/stream`, { shown: () => this.render(this.state) });
    this.live.readable = false;
    item.replaceChildren(link);
    this.render(undefined);
  }

  async look() {
    const state = this.state = await this.ask();
    if (document.hidden) return;
    const answered = this.answers;
    this.answers = state !== null;
    const readable = Boolean(state);
    if (readable !== this.live.readable || (this.answers && answered === false)) {
      this.live.close();
      this.live.forgive();
      this.live.readable = readable;
      if (readable) this.image.crossOrigin = "anonymous";
      else this.image.removeAttribute("crossorigin");
    }
    if (this.answers) this.live.tend(readable && moves(state));
    this.render(state);
  }

  // The state; undefined where it is not for us, null where nobody answers.
  async ask() {
    this.refused = false;
    try {
      if (!this.silent) return await request(`${this.origin}/state`, TIMEOUT_MS, (reply) => reply.json());
    } catch (error) {
      this.refused = error instanceof Refusal && error.status !== 401;
      if (this.refused) return null;
    }
    try {
      await fetch(`${this.origin}/livez`, { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
      this.silent = true;
      return undefined;
    } catch {
      this.silent = false; // it may have learnt to speak to us when it comes back
      return null;
    }
  }

  render(state) {
    if (state) this.name = state.name;
    const well = state ? delivers(state) : this.answers && !this.live.refused;
    const now = state === null ? (this.refused ? "refused" : "offline") : !state ? "" : status(state);
    const rate = now === "streaming" && new Intl.NumberFormat(language, { maximumFractionDigits: 1 }).format(state.frames.rate);
    const badge = this.link.querySelector(".badge");
    const said = [text.states[now === "stand-in" ? "no-camera" : now] || now, rate && text.fps(rate)].filter(Boolean).join(" · ");
    if (badge.textContent !== said) badge.textContent = said;
    badge.dataset.state = now;
    this.link.querySelector("strong").textContent = this.name;
    this.image.alt = now === "stand-in" ? text.states[now] : text.livePicture(this.name);
    this.link.classList.toggle("frozen", !well || !this.live.shows);
  }
}

document.documentElement.lang = language;
document.title = $("title").textContent = text.wall;
$("none").textContent = text.noCameras;
const tiles = [...$("wall").children].map((item) => new Tile(item));
$("none").hidden = tiles.length > 0;

async function watch(tile) {
  for (;;) {
    if (!document.hidden) await tile.look();
    await new Promise((done) => {
      setTimeout(done, POLL_MS);
      document.addEventListener("visibilitychange", done, { once: true });
    });
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) for (const { live } of tiles) live.close();
});
tiles.forEach(watch);
