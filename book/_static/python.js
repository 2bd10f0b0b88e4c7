// One Python for the page, in a worker of its own: start() loads it, run() executes code in it, stop() ends it whatever it does.
// Nothing is loaded before the first call. Any page may import this module; all that do share the session.
let worker, started;
let calls = new Map();

function call(name, ...args) {
  const id = calls.size ? Math.max(...calls.keys()) + 1 : 1;
  return new Promise((resolve, reject) => {
    calls.set(id, { resolve, reject });
    worker.postMessage({ id, name, args });
  });
}

export const STAGES = 4;

/** Load Python and the book's package; `onStage(number, text)` is told how far it is, of `STAGES`. */
export function start(onStage = () => {}) {
  return (started ??= new Promise((resolve, reject) => {
    worker = new Worker(new URL("python-worker.js", import.meta.url), { type: "module" });
    worker.onerror = (event) => end(new Error(event.message || "the worker cannot be loaded"));
    worker.onmessage = ({ data: { id, stage, text, result, error } }) => {
      if (stage) return onStage(stage, text);
      const { resolve, reject } = calls.get(id);
      calls.delete(id);
      if (error) reject(new Error(error));
      else resolve(result);
    };
    calls.set(0, { reject });
    call("start").then(resolve, reject).then(() => calls.delete(0));
  }).catch((error) => {
    end(error);
    throw error;
  }));
}

function end(error) {
  worker?.terminate();
  const waiting = calls;
  [worker, started, calls] = [undefined, undefined, new Map()];
  for (const { reject } of waiting.values()) reject(error);
}

/** Run `code`, called `cell` in error messages: {status: "ok" | "missing" | "error", outputs, missing, error}. */
export async function run(code, cell = "") {
  await start();
  return call("run", code, cell);
}

/** Leave out a cell that measures: names that it would have defined are missing. */
export const skip = (code) => call("skip", code);

/** The HTML of `outputs`, as run() returns them. */
export const show = (outputs) => call("show", JSON.stringify(outputs));

/** The verdict on a typed `answer`, where `value` is the right one once `cell` had been run. */
export const judge = (answer, value, cell, unit) => call("judge", answer, value, cell, unit);

/** The planner's script for the config.json with this `text`, called `name`: {script, notes} or {error}. */
export const compile = (text, name) => call("compile_model", text, name);

/** Forget every name that was defined. */
export const restart = () => call("start");

/** End Python at once, an endless loop included; what waits for it is rejected, and the next run() starts afresh. */
export const stop = () => end(new Error("stopped"));
