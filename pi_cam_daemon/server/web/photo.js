// The menu of photos: the picture that is shown, and one of the sensor's full size.

import { Refusal, newest, request } from "./request.js";
import { put, putSentence, text } from "./text.js";

const TIMEOUT_MS = 80000; // the server gives up after 75 s, with a camera that sleeps and takes a picture in 20 s
const KEEP_MS = 60000; // by then the browser has the file

const $ = (id) => document.getElementById(id);
let taking = false;
let name = "";

// The name of a file: the camera's, and this device's local time.
export function fileName(camera, moment, kind = "") {
  const two = (part) => String(part).padStart(2, "0");
  const day = [moment.getFullYear(), two(moment.getMonth() + 1), two(moment.getDate())].join("-");
  const time = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map(two).join("-");
  return `${camera.replace(/[\\/:*?"<>|\s]+/g, "-")}-${day}T${time}${kind}.jpg`;
}

function addressOf(jpeg) {
  const address = URL.createObjectURL(jpeg);
  setTimeout(() => URL.revokeObjectURL(address), KEEP_MS);
  return address;
}

// Offers the picture that *live* shows now, of the camera whose *state* is known.
export function offer(live, state) {
  name = state?.name || "camera";
  const save = $("save");
  save.onclick = (event) => {
    if (live.shown === "small") { // a photo is a big one
      event.preventDefault();
      take(save, newest(state));
      return;
    }
    save.href = addressOf(live.jpeg);
    save.download = fileName(name, new Date(live.pictureAt));
  };
  save.href = "snapshot";
  $("full-size").hidden = !state?.ok; // a test picture in place of a camera has no full size
  $("full-size").onclick = () => take($("full-size"), "still.jpg", "-full", text.takingFull, text.tookFull, text.notFull);
}

// Saves the picture at *path*. The page says *during*, and then what *took* makes of its size, or *failed*.
async function take(button, path, kind = "", during = "", took = () => "", failed = text.told.failed[1]) {
  if (taking) return;
  taking = true;
  button.setAttribute("aria-busy", "true");
  put($("photo-said"), during);
  put($("photo-why"), "");
  try {
    const jpeg = await request(path, TIMEOUT_MS, (reply) => reply.blob());
    const link = document.createElement("a");
    link.href = addressOf(jpeg);
    link.download = fileName(name, new Date(), kind);
    link.click(); // first: a picture that this browser cannot decode is a file all the same
    const picture = await createImageBitmap(jpeg).catch(() => null);
    put($("photo-said"), took(picture ? `${picture.width} × ${picture.height}` : ""));
    picture?.close();
  } catch (error) {
    put($("photo-said"), failed);
    putSentence($("photo-why"), error instanceof Refusal ? error.reason : "");
  }
  button.removeAttribute("aria-busy");
  taking = false;
}
