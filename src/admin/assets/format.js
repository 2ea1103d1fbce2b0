// Numbers, sizes, times and rates as short texts. Knows no element of the page.

/** Digits after the point, for three significant ones. */
const digits = (value) => (value >= 100 || value === 0 ? 0 : value >= 10 ? 1 : 2);

const scaled = (value, steps) => {
  const magnitude = Math.abs(value);
  // The bound is where rounding would show the next unit's "1".
  const step = steps.find(([size]) => magnitude >= size * 0.9995) ?? steps.at(-1);
  const part = value / step[0];
  return part.toFixed(step[0] === 1 && Number.isInteger(part) ? 0 : digits(Math.abs(part))) + step[1];
};

const COUNTS = [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"], [1, ""]];
const SIZES = [[2 ** 40, " TiB"], [2 ** 30, " GiB"], [2 ** 20, " MiB"], [2 ** 10, " KiB"], [1, " B"]];
const TIMES = [[86400, " d"], [3600, " h"], [60, " min"], [1, " s"]];

export const NONE = "–";
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

/** 1234 → "1.23 k" */
export const count = (value) => (known(value) ? scaled(value, COUNTS) : NONE);

/** 1536 → "1.50 KiB" */
export const size = (value) => (known(value) ? scaled(value, SIZES) : NONE);

/** Bytes a second. */
export const speed = (value) => (known(value) ? `${size(value)}/s` : NONE);

/** 0.5 → "50.0 %"; never "100 %" for less than all. */
export const percent = (ratio) => {
  if (!known(ratio)) return NONE;
  const value = ratio * 100;
  if (value < 100 && value > 99.9) return `${Math.min(99.99, Math.floor(value * 100) / 100).toFixed(2)} %`;
  return `${value.toFixed(value === 100 || value === 0 ? 0 : 1)} %`;
};

/** Seconds, to the largest unit. */
export const age = (seconds) => (known(seconds) ? scaled(seconds, TIMES) : NONE);

/** Microseconds. */
export const micros = (value) => {
  if (!known(value)) return NONE;
  return scaled(value, [[1e6, " s"], [1e3, " ms"], [1, " µs"], [1e-3, " ns"]]);
};

/** Seconds as days, hours and minutes. */
export const uptime = (seconds) => {
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
};

/** Whole numbers with thin spaces between thousands. */
export const whole = (value) => (known(value) ? Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f") : NONE);

const two = (number) => String(number).padStart(2, "0");

/** Unix milliseconds as the time of the day. */
export const clock = (millis) => {
  const date = new Date(millis);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
};

/** A percent-encoded key of `watch`, readable where it is text. */
export const key = (encoded) => {
  try {
    const text = decodeURIComponent(encoded);
    // Control characters stay encoded.
    return /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/.test(text) ? encoded : text;
  } catch {
    return encoded;
  }
};
