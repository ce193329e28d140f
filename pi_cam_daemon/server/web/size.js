// The size of the pictures that a page asks for. No clock and no page in the first two functions.

const SIZES = ["big", "small"];
export const LATE_POLLS = 6; // one a second: so many in a row are too many

// Returns "big" or "small". The address counts first, then what the person chose on this device.
export function choose({ asked, chosen, phone, saveData, slow }) {
  return [asked, chosen].find((size) => SIZES.includes(size)) || (phone || saveData || slow ? "small" : "big");
}

// Returns in how many polls in a row, *late* until now, fewer than half of the camera's pictures came here. It takes one each
// *period* seconds; *rate* a second come here, null if that is not known.
export const count = (late, rate, period) => (rate !== null && 2 * rate * period < 1 ? late + 1 : 0);

export const isPhone = () => matchMedia("(pointer: coarse), (max-width: 699px)").matches;

// A browser may refuse to keep anything.
export function remembered() {
  try {
    return localStorage.getItem("size");
  } catch {
    return null;
  }
}

export function remember(size) {
  try {
    localStorage.setItem("size", size);
  } catch {
    // it holds for this page
  }
}
