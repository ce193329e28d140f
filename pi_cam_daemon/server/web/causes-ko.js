// Says in Korean why there is no picture: a line for each of the `values` of /state. docs/integrations.md lists them.

const LOGINS = {
  missing: "이름과 비밀번호가 필요합니다", wrong: "이름이나 비밀번호가 맞지 않습니다", elsewhere: "다른 서버로 넘어가므로 비밀번호를 보내지 않습니다",
};
const LINES = {
  installing: (v) => `첫 부팅 설치가 아직 끝나지 않았습니다: ${v.installing}`,
  module: (v) => (v.version ? `${v.module} ${v.version}: 너무 오래된 버전입니다` : `쓸 수 없는 모듈: ${v.module}`),
  camera: (v) => `카메라: ${v.camera}`,
  device: (v) => `장치: ${v.device}`,
  address: (v) => `주소: ${v.address}`,
  host: (v) => `찾을 수 없는 이름: ${v.host}`,
  interface: (v) => `이 기기에 없는 네트워크 인터페이스: ${v.interface}`,
  status: (v) => `서버의 응답: HTTP ${v.status}`,
  login: (v) => LOGINS[v.login] || "",
  fingerprint: (v) => `인증서 지문: ${v.fingerprint}`,
  type: (v) => `영상 대신 온 것: ${v.type}`,
  title: (v) => `웹 페이지 제목: ${v.title}`,
  group: (v) => `필요한 그룹: \`${v.group}\``,
  setting: (v) => `확인할 설정: ${v.setting}`,
  wanted: (v) => `필요한 값: ${v.wanted}`,
  offers: (v) => `쓸 수 있는 값: ${v.offers}`,
  seconds: (v) => `영상이 없던 시간: ${v.seconds}초`,
  ended: (v) => `카메라 프로그램이 끝난 이유: ${v.ended}`,
  command: (v) => `라즈베리 파이에서 실행: \`${v.command}\``,
  error: (v) => `오류: ${v.error}`,
};

export const explain = (values) => Object.keys(LINES).filter((name) => values[name]).map((name) => LINES[name](values)).filter(Boolean).join("\n");
