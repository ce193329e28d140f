// What the panel of controls says in Korean: also libcamera's controls, and those of the kernel's V4L2 list.

const names = {
  awb: "화이트 밸런스", ev: "노출 보정", exposure: "노출 방식", shutter: "노출 시간", gain: "게인", metering: "측광",
  brightness: "밝기", contrast: "대비", saturation: "채도", sharpness: "선명도", denoise: "노이즈 감소", hdr: "HDR",
  autofocus_mode: "자동 초점", autofocus_range: "초점 범위", autofocus_speed: "초점 속도", autofocus_window: "초점 영역",
  autofocus_trigger: "초점 한 번 맞추기", lens_position: "렌즈 위치", roi: "화면 영역", flicker_period: "깜빡임 주기",

  hue: "색조", black_level: "검은색 수준", white_balance_automatic: "자동 화이트 밸런스",
  do_white_balance: "화이트 밸런스 한 번 맞추기", red_balance: "빨강 균형", blue_balance: "파랑 균형", gamma: "감마",
  gain_automatic: "자동 게인", horizontal_flip: "좌우 반전", vertical_flip: "상하 반전", power_line_frequency: "전원 주파수",
  hue_automatic: "자동 색조", white_balance_temperature: "색온도", backlight_compensation: "역광 보정",
  chroma_agc: "자동 색 게인", color_killer: "흑백으로 보기", color_effects: "색 효과", brightness_automatic: "자동 밝기",
  band_stop_filter: "깜빡임 방지 필터", rotate: "회전", background_color: "배경색", chroma_gain: "색 게인",
  illuminator_1: "조명 1", illuminator_2: "조명 2", alpha_component: "투명도",
  color_effects_cbcr: "색 효과 CbCr", color_effects_rgb: "색 효과 RGB", analogue_gain: "아날로그 게인",

  auto_exposure: "자동 노출", exposure_time_absolute: "노출 시간", exposure_dynamic_framerate: "어두우면 프레임 속도 낮추기",
  pan_relative: "좌우로 움직이기", tilt_relative: "상하로 움직이기", pan_reset: "좌우 처음 위치로", tilt_reset: "상하 처음 위치로",
  pan_absolute: "좌우 방향", tilt_absolute: "상하 방향", focus_absolute: "초점 거리", focus_relative: "초점 옮기기",
  focus_automatic_continuous: "연속 자동 초점", zoom_absolute: "줌", zoom_relative: "줌 움직이기", zoom_continuous: "연속 줌",
  privacy: "사생활 보호", iris_absolute: "조리개", iris_relative: "조리개 움직이기", auto_exposure_bias: "노출 보정",
  white_balance_auto_preset: "화이트 밸런스", wide_dynamic_range: "넓은 명암 범위", image_stabilization: "손떨림 보정",
  iso_sensitivity: "ISO 감도", iso_sensitivity_auto: "자동 ISO 감도", exposure_metering_mode: "측광", scene_mode: "장면",
  "3a_lock": "자동 조절 잠금", auto_focus_start: "초점 맞추기", auto_focus_stop: "초점 맞추기 멈춤",
  auto_focus_range: "초점 범위", pan_speed: "좌우 속도", tilt_speed: "상하 속도", hdr_sensor_mode: "센서 HDR",
};
// older kernels
Object.assign(names, {
  white_balance_temperature_auto: names.white_balance_automatic, exposure_auto: names.auto_exposure,
  exposure_absolute: names.exposure_time_absolute, exposure_auto_priority: names.exposure_dynamic_framerate,
  focus_auto: names.focus_automatic_continuous, hue_auto: names.hue_automatic,
  pan: names.pan_absolute, tilt: names.tilt_absolute,
});

export const words = {
  names,
  choices: {
    auto: "자동", off: "끔", manual: "수동", continuous: "연속", normal: "보통", macro: "근접", full: "전체", fast: "빠르게",
    incandescent: "백열등", tungsten: "텅스텐", fluorescent: "형광등", indoor: "실내", daylight: "햇빛", cloudy: "흐림",
    centre: "중앙", spot: "한 점", average: "평균", sport: "빠른 움직임", long: "긴 노출", "single-exp": "켬",
    cdn_off: "색 노이즈 제외", cdn_fast: "빠르게", cdn_hq: "고품질",

    Disabled: "끔", Auto: "자동", Manual: "수동", None: "없음",
    "Auto Mode": "자동", "Manual Mode": "수동", "Shutter Priority Mode": "셔터 우선", "Aperture Priority Mode": "조리개 우선",
    Average: "평균", "Center Weighted": "중앙 위주", Spot: "한 점", Matrix: "여러 점",
    Normal: "보통", Macro: "근접", Infinity: "먼 곳",
    Incandescent: "백열등", Fluorescent: "형광등", "Fluorescent H": "형광등 H", Horizon: "노을", Daylight: "햇빛",
    Flash: "플래시", Cloudy: "흐림", Shade: "그늘",
    Backlight: "역광", "Beach/Snow": "해변·눈", "Candle Light": "촛불", "Dusk/Dawn": "새벽·해 질 녘", "Fall Colors": "단풍",
    Fireworks: "불꽃놀이", Landscape: "풍경", Night: "밤", "Party/Indoor": "실내 모임", Portrait: "인물", Sports: "스포츠",
    Sunset: "해넘이", Text: "글자",
    "Black & White": "흑백", Sepia: "세피아", Negative: "네거티브", Emboss: "엠보싱", Sketch: "스케치", "Sky Blue": "하늘색",
    "Grass Green": "풀색", "Skin Whiten": "피부 밝게", Vivid: "선명하게", Aqua: "물빛", "Art Freeze": "아트 프리즈",
    Silhouette: "실루엣", Solarization: "솔라리제이션", Antique: "옛날 사진", "Set Cb/Cr": "Cb/Cr 지정", "Set RGB": "RGB 지정",
  },
  units: { dioptres: "디옵터" }, groups: ["노출", "색", "화질", "초점", "구도"],
  sides: ["왼쪽", "위", "너비", "높이"], draw: "화면에 그리기", automatic: "자동", off: "끔", reset: "기본값으로 되돌리기",
  unsaved: "저장되지 않음", keep: "저장", undo: "되돌리기", kept: "저장했습니다", undone: "되돌렸습니다",
  resetAll: "모두 기본값으로 되돌리기…", sure: "모두 기본값으로 되돌릴까요?", yes: "모두 되돌리기", no: "취소",
  wasReset: "모두 기본값으로 되돌렸습니다", warning: "여기서 바꾸고 저장한 값이 사라지고 설정 파일의 값이 다시 쓰입니다.",
  failed: "적용하지 못했습니다.", unread: "조절 값을 읽지 못했습니다.", none: "이 카메라에는 조절할 것이 없습니다.",
  range: (low, high) => `${low}부터 ${high}까지`,
};
