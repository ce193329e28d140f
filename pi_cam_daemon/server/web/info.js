// The panel of facts about the camera and the daemon.

import { make } from "./panel.js";
import { clock, language, put, putSentence } from "./text.js";

const words = {
  en: {
    names: ["Camera", "Source", "Size", "Encoder", "Version", "Clock"],
    clock: ["Not set by the network: times may be wrong", "Set by the network"],
    kinds: { csi: "CSI camera", usb: "USB camera", upstream: "Network camera", pattern: "Test picture" },
    refused: (time) => `The files on disk have not been in force since ${time}`,
    advice: "The camera goes on with the last good configuration. Correct the files, then reload the service.",
  },
  ko: {
    names: ["카메라", "영상 소스", "해상도", "인코더", "버전", "시계"],
    clock: ["네트워크 시간에 맞춰지지 않아 시각이 틀릴 수 있습니다", "네트워크 시간에 맞춰져 있습니다"],
    kinds: { csi: "CSI 카메라", usb: "USB 카메라", upstream: "네트워크 카메라", pattern: "테스트 영상" },
    refused: (time) => `${time}부터 디스크의 설정 파일이 적용되지 않고 있습니다`,
    advice: "카메라는 마지막으로 올바랐던 설정으로 계속 작동합니다. 파일을 고친 뒤 서비스를 다시 로드(reload)해 주세요.",
  },
}[language];

export function mount(node) {
  const ids = ["camera", "kind", "size", "encoder", "version", "clock"];
  const facts = ids.map((id) => make("span", { id, lang: ["camera", "encoder"].includes(id) ? "en" : language }));
  const reason = make("p", { id: "reason", className: "muted", lang: "en" });
  const headline = make("strong", { id: "files-headline" });
  const problems = make("p", { id: "files-problems", className: "muted", lang: "en" });
  const notice = [headline, make("p", { textContent: words.advice }), problems];
  const files = make("div", { id: "files", role: "status" });
  let refusedAt = 0; // when the files on disk were refused, by this browser's clock
  node.append(files, make("dl", {}, ...facts.map((fact, number) =>
    make("div", {}, make("dt", { textContent: words.names[number] }), make("dd", {}, fact, ...(number === 1 ? [reason] : []))))));

  return {
    update(state) {
      if (!state) return;
      const { camera, source, config_refused: refused, clock_synced: synced } = state;
      const texts = [
        camera?.name, words.kinds[source.kind] || source.kind, camera && `${camera.width} × ${camera.height}`,
        camera && [camera.encoder, camera.pixel_format].filter(Boolean).join(" · "), `pi-cam-daemon ${state.version}`,
        words.clock[Number(synced ?? -1)],
      ];
      facts.forEach((fact, number) => put(fact, texts[number] || "–"));
      putSentence(reason, source.reason || "");
      if (!refused) return files.replaceChildren();
      const at = Date.now() - 1000 * refused.since_seconds;
      if (Math.abs(at - refusedAt) > 2000) refusedAt = at;
      put(headline, words.refused(clock(refusedAt)));
      putSentence(problems, refused.problems.join("\n"));
      if (!files.firstChild) files.append(...notice);
    },
  };
}
