// The panel of addresses: what other programs need to show this camera, ready to be copied.

import { button, make } from "./panel.js";
import { language } from "./text.js";

const words = {
  en: {
    title: "Use it elsewhere", live: "Live", small: "Live, small", photo: "Photo", copy: "Copy", copied: "Copied",
    homeAssistant: "Settings → Devices & services → Add integration → MJPEG IP Camera", vlc: "Media → Open Network Stream",
  },
  ko: {
    title: "다른 프로그램에서 보기", live: "실시간", small: "실시간, 작게", photo: "사진", copy: "복사", copied: "복사됨",
    homeAssistant: "설정 → 기기 및 서비스 → 통합 구성요소 추가하기 → MJPEG IP Camera", vlc: "미디어 → 네트워크 스트림 열기",
  },
}[language];

const address = (path) => new URL(path, document.baseURI).href;

// Frigate detects in small pictures, and looks itself for a size that is not known yet.
const frigate = ({ name, small }) => `cameras:
  ${name.replace(/[^A-Za-z0-9_-]/g, "_")}:
    ffmpeg:
      inputs:
        - path: ${address("stream?size=small")}
          input_args: preset-http-mjpeg-generic
          roles:
            - detect
    detect:
      enabled: true
${small.width ? `      width: ${small.width}\n      height: ${small.height}\n` : ""}      fps: 5
`;
const opencv = () => `import cv2

camera = cv2.VideoCapture("${address("stream")}")
ok, picture = camera.read()
`;

function snippet([name, textContent]) {
  const steps = textContent.split(/(?<=[^/:]\/)/); // a long address is broken after a slash
  const code = make("code", {}, ...steps.flatMap((step) => [make("wbr"), step]).slice(1));
  const copy = button(words.copy, () => {
    const selection = getSelection();
    selection.selectAllChildren(code);
    document.execCommand("copy"); // navigator.clipboard does not exist on plain http
    selection.removeAllRanges();
    copy.textContent = words.copied;
    setTimeout(() => { copy.textContent = words.copy; }, 2000);
  }, `${words.copy}: ${name}`);
  return make("div", { className: "snippet" }, make("span", { textContent: name }), make("pre", {}, code), copy);
}

export function mount(node) {
  let written = ""; // the camera that the addresses were written for
  return {
    update(state) {
      const known = state ? [state.name, state.small.width, state.small.height].join() : written;
      if (known === written) return;
      written = known;
      const [stream, snapshot] = [address("stream"), address("snapshot")];
      const uses = [
        ["Home Assistant", words.homeAssistant, ["MJPEG URL", stream], ["Still image URL", snapshot]],
        ["OctoPrint", "Settings → Classic Webcam", ["Stream URL", stream], ["Snapshot URL", snapshot]],
        ["VLC", words.vlc, [words.live, stream]],
        ["OpenCV", "pip install opencv-python", ["Python", opencv()]],
        ["Frigate", "Settings → Configuration editor", ["config.yml", frigate(state)]],
      ];
      const opened = node.querySelector("[open] > summary")?.textContent;
      node.id = "addresses";
      node.replaceChildren(make("h2", { textContent: words.title }), ...[[words.live, stream], [words.small, `${stream}?size=small`], [words.photo, snapshot]].map(snippet),
        ...uses.map(([program, where, ...snippets]) => make("details", { name: "use", open: program === opened },
          make("summary", { textContent: program }), make("p", { className: "muted", textContent: where }), ...snippets.map(snippet))));
    },
  };
}
