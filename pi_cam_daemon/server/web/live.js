// A live picture: one fetched stream, drawn on a canvas. It is opened again when it ends, later each time that nothing came.

import { readParts } from "./reader.js";
import { Refusal, open } from "./request.js";

const SILENT_MS = 5000; // the server sends something every second, also without a new picture
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
const RATE_OF = 12; // pictures that the rate is measured over

export class Live {
  // *changed* is called when there is something to say: the first picture, the end of a stream, a refusal.
  constructor(canvas, address, changed, size = "big") {
    Object.assign(this, { canvas, address, changed, size, run: null, wait: FIRST_WAIT_MS, screen: canvas.getContext("bitmaprenderer") });
    this.jpeg = null; // of the picture that is shown
    this.shown = size; // its size
    this.taken = null; // when the camera took it, in Unix seconds by its own clock
    this.refusal = null; // the last answer to an opening, if it was one
    this.open = false;
    this.cause = ""; // why the newest part is no picture
    this.pictureAt = null; // when the last new picture came, in ms since 1970 by this device's clock
    this.receivedAt = 0; // and the last byte, in ms of performance.now()
    this.times = []; // of the last new pictures: [taken in s, came at in ms]
  }

  // Pictures a second that come here; null before the second one.
  get rate() {
    const { times } = this;
    const seconds = (times[times.length - 1]?.[1] - times[0]?.[1]) / 1000;
    return times.length > 1 && seconds > 0 ? (times.length - 1) / seconds : null;
  }

  start() {
    if (this.run) return;
    this.run = {};
    this.wait = FIRST_WAIT_MS;
    this.follow(this.run);
  }

  // An aborted fetch is closed for certain: an <img> may keep its connection.
  stop() {
    this.run = null;
    this.open = false;
    this.abort?.abort();
  }

  // Goes on with pictures of *size*.
  turn(size) {
    if (size === this.size) return;
    this.size = size;
    if (!this.run) return;
    this.stop();
    this.start();
  }

  // Ends a pause between two attempts.
  hurry() {
    this.wait = FIRST_WAIT_MS;
    this.next?.();
  }

  async follow(run) {
    while (this.run === run) {
      await this.watch(run);
      if (this.run !== run) break;
      this.changed();
      await new Promise((next) => {
        this.next = next;
        setTimeout(next, this.wait);
      });
      this.wait = Math.min(2 * this.wait, LONGEST_WAIT_MS);
    }
  }

  // Shows one stream until its end.
  async watch(run) {
    const abort = this.abort = new AbortController();
    this.arrived();
    const guard = setInterval(() => {
      if (performance.now() - this.receivedAt > SILENT_MS) abort.abort();
    }, 1000);
    try {
      const { body } = await open(this.address + (this.size === "small" ? "&size=small" : ""), { signal: abort.signal });
      if (this.run === run) Object.assign(this, { refusal: null, open: true, cause: "", times: [] });
      await readParts(body, (part) => { if (this.run === run) this.take(part); }, () => this.arrived());
    } catch (error) {
      if (this.run === run) this.refusal = error instanceof Refusal ? error : null;
    }
    clearInterval(guard);
    abort.abort(); // the connection of a stream that cannot be read
    if (this.abort === abort) this.open = false;
  }

  arrived() {
    this.receivedAt = performance.now();
  }

  take(part) {
    this.wait = FIRST_WAIT_MS;
    const told = part.cause !== this.cause;
    this.cause = part.cause;
    if (part.cause || (part.taken === this.taken && this.shown === this.size)) {
      if (told) this.changed();
      return;
    }
    this.waiting = { ...part, size: this.size }; // only the newest one
    if (!this.drawing) this.drawing = this.draw();
  }

  async draw() {
    while (this.waiting) {
      const { jpeg, taken, size } = this.waiting;
      this.waiting = null;
      const blob = new Blob([jpeg], { type: "image/jpeg" });
      try {
        this.show(await createImageBitmap(blob), blob, taken, size);
      } catch {
        // a picture that this browser cannot decode is as good as none
      }
    }
    this.drawing = null;
  }

  // Shows *bitmap*, which is *blob* decoded, and closes it.
  show(bitmap, blob, taken, size = "big") {
    const { canvas, pictureAt } = this;
    const { width, height } = bitmap;
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height });
      canvas.closest(".stage")?.style.setProperty("--shape", `${width} / ${height}`);
    }
    this.screen.transferFromImageBitmap(bitmap);
    Object.assign(this, { jpeg: blob, shown: size, taken, pictureAt: Date.now() });
    this.times.push([taken, performance.now()]);
    if (this.times.length > RATE_OF) this.times.shift();
    if (this.times.length === 1 || pictureAt === null) this.changed();
  }
}
