// Numbers that turn: by drag, arrow keys or typing. One state for all pages of a visit, in the address and the session.
const lecture10 = { formulas: {}, models: {} };

lecture10.model = (model) => { lecture10.models[model.name] = model; };

// Text of numbers, digit for digit as Python prints them: a tie of two decimals goes to the even one.
lecture10.fixed = (value, digits) => {
  const exact = value.toFixed(Math.min(100, digits + 70)), cut = digits ? exact.indexOf(".") + digits + 1 : exact.indexOf(".");
  let text = value.toFixed(digits);
  if (/^\.?50*$/.test(exact.slice(cut)) && +text.at(-1) % 2) text = exact.slice(0, cut);
  const [whole, part] = text.split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (part ? `.${part}` : "");
};
lecture10.four = (value) => lecture10.fixed(value, Math.max(0, 3 - +value.toExponential(3).split("e")[1]));
lecture10.three = (value) =>
  lecture10.fixed(value, value >= 1 ? Math.max(0, 3 - String(Math.trunc(value)).length) : 3);
lecture10.scaled = (value, units) => {
  const [unit, scale] = units.find(([, scale]) => value / scale >= 1) ?? units.at(-1);
  return `${lecture10.three(value / scale)} ${unit}`;
};
lecture10.seconds = (value) => {
  const [unit, scale] = [["s", 1], ["ms", 1e3]].find(([, scale]) => value * scale >= 1) ?? ["µs", 1e6];
  return `${lecture10.three(value * scale)} ${unit}`;
};
lecture10.bytes = (value) => lecture10.scaled(value, [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]);

lecture10.state = (() => {
  const KEY = "turned", listeners = [];
  let values = {}, last = ["", 0];
  const stored = () => { try { return JSON.parse(sessionStorage.getItem(KEY)) ?? {}; } catch { return {}; } };
  const addressed = () => (location.hash.includes("=") ? Object.fromEntries(new URLSearchParams(location.hash.slice(1))) : null);
  function tell() { for (const listener of listeners) listener(values); }
  function remember() { try { sessionStorage.setItem(KEY, JSON.stringify(values)); } catch { /* private mode */ } }
  const fragment = () => `#${new URLSearchParams(values)}`;
  addEventListener("popstate", () => {
    if (location.hash.length > 1 && !addressed()) return; // a section of the page, no setting
    values = addressed() ?? {};
    remember();
    tell();
  });
  values = addressed() ?? stored();
  remember();
  if (location.hash.length < 2 && Object.keys(values).length) history.replaceState(null, "", fragment());
  return {
    get: () => values,
    listen: (listener) => listeners.push(listener),
    tell,
    // Turning one number for a while is one step of the browser's history.
    set(changes, kept = true) {
      values = Object.fromEntries(Object.entries({ ...values, ...changes }).filter(([, value]) => value !== null));
      if (kept) {
        const before = addressed() ?? {}, now = Date.now();
        const what = Object.keys({ ...before, ...values }).filter((key) => before[key] !== values[key]).join(), again = what === last[0] && now - last[1] < 1000;
        if (location.hash !== fragment()) history[again ? "replaceState" : "pushState"](null, "", fragment());
        last = [what, now];
        remember();
      }
      tell();
    },
    reset() {
      values = {};
      history.pushState(null, "", location.pathname + location.search);
      remember();
      tell();
    },
    link: () => location.href.split("#")[0] + fragment(),
  };
})();

// "32k" is 32,768, as for the command.
lecture10.parse = (text) => {
  const found = /^(\d+(?:\.\d+)?|\.\d+)\s*([km]?)$/i.exec(String(text).trim().replace(/[,_，\s]/g, ""));
  return found ? +found[1] * { "": 1, k: 1024, m: 1048576 }[found[2].toLowerCase()] : NaN;
};

// An input whose number turns; `changed(value, kept)` hears of it, `kept` once the hand lets go.
lecture10.turnable = (input, changed) => {
  const limits = () => [+input.dataset.min, +input.dataset.max], step = +(input.dataset.step ?? 1), log = input.dataset.scale === "log";
  const values = input.dataset.values?.split(" ").map(Number);
  const digits = (String(step).split(".")[1] ?? "").length;
  const fit = (value) => {
    const [least, most] = limits();
    if (values) return values.reduce((best, each) => (Math.abs(each - value) < Math.abs(best - value) ? each : best));
    return Math.min(most, Math.max(least, +(Math.round(value / step) * step).toFixed(digits)));
  };
  const value = () => lecture10.parse(input.dataset.value ?? input.value);
  function show(next) {
    const text = log || step === 1 ? lecture10.fixed(next, 0) : String(next);
    input.dataset.value = String(next);
    if (document.activeElement !== input || input.dataset.typing !== "yes") input.value = text;
    input.setAttribute("aria-valuenow", next);
    input.setAttribute("aria-valuetext", `${text} ${input.dataset.unit ?? ""}`.trim());
    const [least, most] = limits();
    input.setAttribute("aria-valuemin", least);
    input.setAttribute("aria-valuemax", most);
  }
  const turn = (next, kept) => { input.dataset.typing = "no"; next = fit(next); if (next !== value() || kept) { show(next); changed(next, kept); } };
  input.setAttribute("role", "spinbutton");
  input.setAttribute("inputmode", "decimal");
  input.addEventListener("keydown", (event) => {
    const now = value(), big = log ? [now * 2, Math.ceil(now / 2)] : [now + 10 * step, now - 10 * step];
    const [least, most] = limits();
    const beside = (by) => values?.[values.indexOf(now) + by] ?? (values ? now : now + by * step);
    const next = { ArrowUp: beside(1), ArrowDown: beside(-1), PageUp: big[0], PageDown: big[1], Home: least, End: most }[event.key];
    if (event.key === "Enter") { event.preventDefault(); typed(); }
    else if (next === undefined || (/Home|End/.test(event.key) && input.dataset.typing === "yes")) return;
    else { event.preventDefault(); turn(next, true); }
  });
  input.addEventListener("input", () => { input.dataset.typing = "yes"; });
  function typed() {
    const asked = lecture10.parse(input.value);
    input.dataset.typing = "no";
    if (Number.isNaN(asked)) show(value());
    else turn(asked, true);
  }
  input.addEventListener("change", typed);
  input.addEventListener("blur", () => { if (input.dataset.typing === "yes") typed(); });
  let start = null;
  input.addEventListener("pointerdown", (event) => {
    input.setPointerCapture(event.pointerId); // the hand may leave the number before it is known to turn it
    start = { x: event.clientX, value: value(), moved: false };
  });
  input.addEventListener("pointermove", (event) => {
    if (!start || !(event.buttons & 1)) return;
    const far = event.clientX - start.x;
    if (!start.moved && Math.abs(far) < 5) return;
    if (!start.moved) { start.moved = true; input.classList.add("turning"); }
    turn(log ? start.value * 2 ** (far / 48) : start.value + Math.round(far / 6) * step, false);
    event.preventDefault();
  });
  const drop = () => {
    if (start?.moved) { input.classList.remove("turning"); getSelection()?.removeAllRanges(); turn(value(), true); }
    start = null;
  };
  input.addEventListener("pointerup", drop);
  input.addEventListener("pointercancel", drop);
  show(fit(lecture10.parse(input.value)));
  return { show, fit, value };
};
