// The panel of recordings: what the recorder does, and its clips, the newest first. A click plays one in the picture's place.

import { ask, button, make } from "./panel.js";
import { clock, duration, language, number, put } from "./text.js";

const words = {
  en: {
    states: { waiting: "The recorder waits for something to happen.", recording: "Recording now…", failing: "Something is not recorded." },
    off: "No recorder runs.", none: "There are no recordings yet.", unread: "The recordings cannot be read.", failed: "This recording cannot be played.",
    reasons: { motion: "Motion", manual: "By hand", timelapse: "Time-lapse" }, written: "being written", size: (mb) => `${mb} MB`,
    play: "Play", download: "Download", remove: "Delete", more: "Older ones", removed: "Deleted.", kept: "It was not deleted.",
    sure: "Delete this recording?", warning: "It cannot be brought back.", yes: "Delete", no: "Keep",
  },
  ko: {
    states: { waiting: "녹화 대기 중입니다.", recording: "녹화하는 중…", failing: "녹화되지 않는 것이 있습니다." },
    off: "녹화 프로그램이 실행되고 있지 않습니다.", none: "아직 녹화가 없습니다.", unread: "녹화를 읽지 못했습니다.", failed: "이 녹화를 재생하지 못했습니다.",
    reasons: { motion: "움직임", manual: "직접 녹화", timelapse: "타임랩스" }, written: "녹화 중", size: (mb) => `${mb}MB`,
    play: "재생", download: "내려받기", remove: "삭제", more: "이전 녹화", removed: "삭제했습니다.", kept: "삭제하지 못했습니다.",
    sure: "이 녹화를 삭제할까요?", warning: "되돌릴 수 없습니다.", yes: "삭제", no: "취소",
  },
}[language];

export function mount(node, page) {
  let told = null; // the state of the recorder that the list was read for
  let shown = false;
  let loading = false;
  let before = null; // the name that older clips are asked for with
  let player = null;
  let marked = null; // the clip that is to be deleted

  const [state, why] = [make("span"), make("span", { className: "muted", lang: "en" })];
  const [said, english] = [make("span"), make("span", { className: "muted", lang: "en" })];
  const list = make("ol", { className: "events recordings" });
  const more = button(words.more, () => load(before));
  const close = (sure) => {
    dialog.close();
    if (sure) remove(marked);
  };
  const dialog = make("dialog", { ariaLabel: words.sure }, make("h2", { textContent: words.sure }), make("p", { textContent: words.warning }),
    button(words.yes, () => close(true), "", "primary"), button(words.no, () => close(false)));
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Escape closes it, and no more
  more.hidden = true;
  node.append(make("p", {}, state, " ", why), make("p", { role: "status" }, said, " ", english), list, more, dialog);

  const say = (what, detail = "") => {
    put(said, what);
    put(english, detail);
  };

  function row(clip) {
    const when = clip.began === null ? clip.name : clock(1000 * clip.began);
    const reason = words.reasons[clip.reason] || clip.reason;
    const play = button("", () => watch(clip), `${words.play}: ${reason}, ${when}`);
    play.append(make("img", { alt: "", loading: "lazy", src: clip.picture, onerror: ({ target }) => target.remove() }));
    play.disabled = clip.began === null;
    const facts = [clip.seconds === null ? "" : duration(clip.seconds), words.size(number(clip.bytes / 1e6)), clip.written ? words.written : ""];
    const links = make("p", { className: "links" }, make("a", {
      href: clip.file, download: clip.name, textContent: words.download, ariaLabel: `${words.download}: ${reason}, ${when}`,
    }));
    if (page.state()?.role === "admin" && !clip.written) {
      links.append(button(words.remove, () => {
        marked = clip;
        dialog.showModal();
      }, `${words.remove}: ${reason}, ${when}`));
    }
    return make("li", {}, play, make("div", {}, make("strong", { textContent: reason }),
      make("p", { className: "muted" }, make("time", { textContent: when, dateTime: new Date(1000 * clip.began).toISOString() }),
        ` · ${facts.filter(Boolean).join(" · ")}`), links));
  }

  async function load(from) {
    if (loading) return;
    loading = true;
    const reply = await ask(`recordings${from ? `?before=${from}` : ""}`);
    loading = false;
    if (!reply.ok) {
      told = null; // it is asked again
      say(words.unread, reply.told);
      return;
    }
    const rows = reply.table.recordings.map(row);
    if (from) list.append(...rows);
    else list.replaceChildren(...rows);
    before = reply.table.before;
    more.hidden = !before;
    if (!from) say(rows.length ? "" : words.none);
  }

  async function remove(clip) {
    if (player?.clip === clip.name) player.close();
    const reply = await ask("recordings/delete", { name: clip.name });
    await load();
    say(reply.ok ? words.removed : words.kept, reply.ok ? "" : reply.told);
  }

  async function watch(clip) {
    const { play } = await import("./player.js");
    player?.close();
    say("");
    player = { clip: clip.name, ...play(page, clip, (reason) => say(words.failed, reason)) };
  }

  function update(now) {
    const recorder = now?.recordings;
    put(state, recorder ? words.states[recorder.state] || recorder.state : words.off);
    put(why, recorder?.state === "failing" ? recorder.detail : "");
    const key = JSON.stringify(recorder && [recorder.state, recorder.clip, recorder.clips]);
    if (!shown || key === told) return;
    told = key;
    load();
  }

  return {
    update,
    show(whether) {
      if (whether && !shown) told = null; // clips come and go while nobody looks
      shown = whether;
      if (shown) update(page.state());
    },
  };
}
