// The panel of motion: a bar that shows live how much moves, and the settings of the watch.

import { ask, make } from "./panel.js";
import { settingsForm } from "./settings.js";
import { language, put } from "./text.js";

const LOOK_MS = 250;
const SHOWN_MS = 1500; // since the last update, while the panel counts as shown
const words = {
  en: {
    title: "Motion", moves: "Something moves.", still: "Nothing moves.", bar: "How much moves. More than half is motion.",
    suspended: {
      off: "It is off.", learning: "It learns the scene.", exposure: "The camera adjusts its exposure.", light: "The light changes.",
      "no-picture": "There is no picture of a camera.",
    },
    names: {
      enabled: "Watch for motion", rate: "Looks per second", threshold: "Least change of brightness (0.1 is a tenth)",
      min_area: "Least area (0.01 is a hundredth)", min_seconds: "Seconds it has to last", quiet_seconds: "Seconds until it is over",
      zones: "Zones",
    },
  },
  ko: {
    title: "움직임", moves: "움직임이 있습니다.", still: "움직임이 없습니다.", bar: "움직이는 정도. 절반을 넘으면 움직임입니다.",
    suspended: {
      off: "꺼져 있습니다.", learning: "장면을 익히는 중입니다.", exposure: "카메라가 노출을 맞추는 중입니다.", light: "조명이 바뀌는 중입니다.",
      "no-picture": "카메라의 영상이 없습니다.",
    },
    names: {
      enabled: "움직임 감지", rate: "초당 검사 횟수", threshold: "최소 밝기 차이 (0.1은 10분의 1)",
      min_area: "최소 넓이 (0.01은 100분의 1)", min_seconds: "지속되어야 하는 시간(초)", quiet_seconds: "끝난 것으로 볼 시간(초)",
      zones: "감지 구역",
    },
  },
}[language];
const names = Object.fromEntries(Object.entries(words.names).map(([name, title]) => [`motion.${name}`, title]));

export function mount(node, page) {
  let shownAt = -Infinity;
  let asking = false;

  const filled = make("div");
  const bar = make("div", { className: "motion", role: "meter", ariaLabel: words.bar, ariaValueMin: 0, ariaValueMax: 100 }, filled);
  const told = make("p", { className: "muted" });
  const form = make("div");
  node.append(make("h2", { textContent: words.title }), bar, told, form);
  const settings = settingsForm(form, page, { names, has: (name) => name.startsWith("motion.") });

  function show({ enabled, moving, share, needed, suspended }) {
    bar.hidden = !enabled;
    const part = Math.round((100 * share) / (share + needed));
    bar.ariaValueNow = part;
    filled.style.width = `${part}%`;
    bar.classList.toggle("moving", moving);
    put(told, words.suspended[suspended] || (moving ? words.moves : words.still));
  }

  // While it is shown, and only then, the camera is asked.
  async function look() {
    if (asking) return;
    asking = true;
    while (performance.now() - shownAt < SHOWN_MS && !document.hidden) {
      const { ok, table } = await ask("motion");
      if (ok) show(table);
      if (!ok || !table.enabled) break; // until the next update
      await new Promise((done) => { setTimeout(done, LOOK_MS); });
    }
    asking = false;
  }

  return {
    update(state) {
      shownAt = performance.now();
      look();
      settings.update(state);
    },
  };
}
