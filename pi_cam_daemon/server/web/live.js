// A live picture: one <img>, one connection, which is opened again when it ends, later each time that nothing came of it.

const BACK_OFF_MS = 1000;
const LONGEST_WAIT = 16; // upper end of the back-off, as a factor
const FRESH_SECONDS = 3;
const STUCK_MS = 5000; // a stream that shows nothing new for so long while the camera delivers is opened again

const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
probe.canvas.width = 64;
probe.canvas.height = 48;
probe.imageSmoothingEnabled = false; // picks single pixels: averaging would hide the noise that tells a still scene from a dead stream

function fingerprint(image) {
  const { width, height } = probe.canvas;
  probe.drawImage(image, 0, 0, width, height);
  return probe.getImageData(0, 0, width, height).data.reduce((hash, byte) => (hash * 31 + byte) | 0, 0);
}

const old = ({ frames }) => frames.age_seconds > FRESH_SECONDS;

// Whether the test picture is shown in place of a camera.
export const standsIn = ({ state, source }) => state === "no-camera" && source.stand_in;

// Whether the newest picture is too old to be called live. While pictures come, the server judges by their rate.
export const stale = (state) => state.frames.age_seconds === null || (state.state !== "streaming" && !standsIn(state) && old(state));

// Whether pictures come, be it the test picture.
export const delivers = (state) => (state.ok && !stale(state)) || standsIn(state);

// Whether one came just now: a stream that does not change is stuck then.
export const moves = (state) => delivers(state) && !old(state);

// A key of the texts `states`, and of the colours.
export const status = (state) => (standsIn(state) ? "stand-in" : state.state);

export class Live {
  readable = true; // pictures of another site only show, unless that allows more

  // *shown* is called when the first picture is there, *leaving* while the last one can still be seen, *refused* when the
  // server or the network says no.
  constructor(image, address, { shown = () => {}, leaving = () => {}, refused = () => {} } = {}) {
    Object.assign(this, { image, address, leaving, wait: 1, reopenAt: 0, movedAt: 0, print: null, refused: false, seen: false });
    image.addEventListener("load", () => { // some browsers say so for each picture
      if (this.seen) return;
      this.seen = true;
      shown();
    });
    image.addEventListener("error", () => {
      if (!this.open) return;
      this.refused = true;
      this.close();
      this.#backOff();
      refused();
    });
  }

  get open() {
    return this.image.hasAttribute("src");
  }

  get shows() {
    return this.open && this.image.naturalWidth > 0;
  }

  start() {
    this.close();
    this.seen = false;
    this.movedAt = performance.now();
    // Without an address of its own, Chromium answers a second opening from its list of images and never connects.
    this.image.src = `${this.address}?t=${Date.now()}`;
  }

  close() {
    if (this.shows) this.leaving();
    this.image.removeAttribute("src");
  }

  forgive() {
    Object.assign(this, { wait: 1, reopenAt: 0 });
  }

  // Browsers say nothing when a stream that once had a picture ends: only the picture itself tells.
  tend(delivering) {
    const now = performance.now();
    if (!this.open) {
      if (now >= this.reopenAt) this.start();
      return;
    }
    if (!this.readable) {
      if (this.shows) Object.assign(this, { wait: 1, refused: false });
      return;
    }
    const print = this.shows ? fingerprint(this.image) : this.print;
    if (print !== this.print) Object.assign(this, { print, movedAt: now, wait: 1, refused: false });
    else if (!delivering) this.movedAt = now;
    else if (now - this.movedAt > STUCK_MS * this.wait) {
      this.#backOff();
      this.start();
    }
  }

  #backOff() {
    this.reopenAt = performance.now() + BACK_OFF_MS * this.wait;
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
  }
}
