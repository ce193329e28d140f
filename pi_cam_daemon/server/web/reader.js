// Reads a stream that the server sends for ?raw=1: parts of a header and a JPEG.

const LONGEST_HEADER = 4096; // characters
const LONGEST_JPEG = 1 << 26; // bytes
const latin1 = new TextDecoder("latin1");

function begin(text) {
  const headers = {};
  for (const line of text.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const length = Number(headers["content-length"]);
  if (!(length > 0 && length <= LONGEST_JPEG)) throw new Error("a part without a length");
  return {
    jpeg: new Uint8Array(length), filled: 0, taken: Number(headers["x-timestamp"]), cause: headers["x-no-picture"] || "",
  };
}

// Calls *take* with each whole part: { jpeg, taken (Unix seconds by the server's clock), cause (why it is no picture) }.
// Calls *arrived* for all bytes. Returns when the stream ends.
export async function readParts(body, take, arrived) {
  const reader = body.getReader();
  let head = "";
  let part = null;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    arrived();
    for (let at = 0; at < value.length;) {
      if (part) {
        const some = value.subarray(at, at + part.jpeg.length - part.filled);
        part.jpeg.set(some, part.filled);
        part.filled += some.length;
        at += some.length;
      } else {
        const text = head + latin1.decode(value.subarray(at, at + LONGEST_HEADER));
        const end = text.indexOf("\r\n\r\n");
        if (end < 0 && text.length >= LONGEST_HEADER) throw new Error("a part without a header");
        at = end < 0 ? value.length : at + end + 4 - head.length;
        head = end < 0 ? text : "";
        if (end >= 0) part = begin(text.slice(0, end));
      }
      if (part && part.filled === part.jpeg.length) {
        take(part);
        part = null;
      }
    }
  }
}
