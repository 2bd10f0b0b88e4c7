// Cells that run in the page: a bar under the title, controls at each cell once they are asked for, answers that are judged.
// The page tells in #live where its cells are; python-bar.js loads Python, and editor.js is loaded, when the reader asks.
{
  const told = JSON.parse(document.getElementById("live")?.textContent ?? "null");
  const root = new URL(document.documentElement.dataset.content_root, document.baseURI);
  const at = (path) => new URL(path, root);
  const LOCAL = "在本机用 make lab 运行";
  const RUNNING = "运行中";
  const NAMES = { numpy: "NumPy", matplotlib: "Matplotlib", measurement: "测量的结果", files: "书里的数据文件" };
  const { make, button } = inPage;
  let cells, bar, opened;

  function makeBar() {
    bar = inPage.bar({ text: "在本页运行 Python", act: () => attempt(() => runTo(cells.length - 1)), failed: (stopped) => {
      for (const cell of cells ?? []) {
        cell.ran = undefined;
        if (cell.note.textContent === RUNNING) cell.note.textContent = "";
      }
      return stopped ? "；再运行时从第一个单元开始" : "";
    } });
    document.querySelector(".reading-time").after(bar.box);
  }

  const attempt = (task) => bar.attempt(task, () => (opened ??= open()));

  async function open() {
    const response = await fetch(at(told.cells));
    if (!response.ok) throw new Error(`${told.cells}: ${response.status}`);
    const boxes = document.querySelectorAll("article div.cell");
    cells = (await response.json()).cells.map((cell, i) => addControls({ ...cell, number: i + 1, box: boxes[i] }));
    bar.run.textContent = "全部运行";
  }

  function addControls(cell) {
    const { box, number } = cell;
    const input = box.querySelector(".cell_input");
    cell.folded = input.parentElement.matches("details") ? input.parentElement : undefined;
    cell.code = input.querySelector("pre");
    cell.original = cell.code.innerHTML;
    cell.committed = box.querySelector(".cell_output");
    cell.note = make("span", { className: "live-status" });
    cell.reset = button("复原", () => restore(cell), { hidden: true, ariaLabel: `复原第 ${number} 个单元` });
    cell.edit = button("修改", () => edit(cell), { ariaLabel: `修改第 ${number} 个单元` });
    const run = button("运行", () => attempt(() => runTo(number - 1)), { ariaLabel: `运行到第 ${number} 个单元` });
    (cell.folded ?? input).after(make("div", { className: "live-controls" }, run, cell.edit, cell.reset, cell.note));
    return cell;
  }

  const source = (cell) => cell.code.textContent.replace(/\n$/, "");

  // Runs what has not been run yet, or was changed since, and everything after it, up to the cell asked for.
  async function runTo(last) {
    let first = cells.findIndex((cell) => cell.ran !== source(cell));
    if (first < 0 || first > last) first = last;
    if (first === 0) await bar.python.restart();
    for (const cell of cells.slice(first, last + 1)) {
      bar.say(`运行第 ${cell.number} 个单元，共 ${last + 1} 个`);
      if (!(await runCell(cell))) {
        bar.say(`第 ${cell.number} 个单元出错，运行停在那里。`);
        return false;
      }
    }
    bar.say(last === cells.length - 1 ? summary() : "");
    return true;
  }

  function summary() {
    const count = (state) => cells.filter((cell) => cell.state === state).length;
    const missing = count("missing") + count("measures");
    return [`${count("same")} 个单元的输出与书中相同`, count("other") && `${count("other")} 个不同`,
      missing && `${missing} 个要${LOCAL}`].filter(Boolean).join("，") + "。";
  }

  async function runCell(cell) {
    cell.ran = undefined;
    if (cell.measures) {
      await bar.python.skip(source(cell));
      return report(cell, "measures", `测量速度的单元：${LOCAL}`);
    }
    cell.note.textContent = RUNNING;
    const code = source(cell);
    const answer = await bar.python.run(code, cell.id);
    cell.ran = code;
    if (answer.status === "missing") return report(cell, "missing", `要用 ${NAMES[answer.missing] ?? answer.missing}：${LOCAL}`);
    if (answer.status === "error") {
      cell.ran = undefined;
      place(cell, make("pre", { className: "live-error", textContent: answer.error }));
      report(cell, "error", "出错");
      return false;
    }
    if (same(answer.outputs, cell.outputs)) return report(cell, "same", "与书中的输出相同");
    const box = make("div");
    box.innerHTML = await bar.python.show(answer.outputs);
    place(cell, box);
    return report(cell, "other", "与书中的输出不同");
  }

  function report(cell, state, text) {
    if (state !== "other" && state !== "error") place(cell);
    cell.state = state;
    cell.note.textContent = text;
    return true;
  }

  const same = (outputs, committed) => outputs.length === committed.length && outputs.every((output, i) =>
    Object.keys({ ...output, ...committed[i] }).every((kind) => output[kind] === committed[i][kind]));

  // The new output stands where the committed one stood, which comes back when there is nothing new.
  function place(cell, content) {
    cell.fresh?.remove();
    cell.fresh = content && make("div", { className: "cell_output docutils container" }, content);
    if (cell.committed) cell.committed.hidden = Boolean(content);
    if (!content) return;
    cell.box.append(cell.fresh);
    reachable(cell.fresh);
  }

  // The editor stands over the cell's code, which keeps its text: what is copied and what is run is the same.
  async function edit(cell) {
    cell.edit.hidden = true;
    if (cell.folded) cell.folded.open = true;
    const { edit: open } = await import(at("_static/editor.js"));
    cell.editor = open(cell.code.parentElement, { doc: source(cell), label: `第 ${cell.number} 个单元的代码`,
      onRun: () => attempt(() => runTo(cell.number - 1)),
      onChange: (text) => {
        cell.code.textContent = text;
        cell.reset.hidden = text === cell.source;
      } });
    cell.code.hidden = true;
  }

  function restore(cell) {
    cell.editor.destroy();
    cell.code.innerHTML = cell.original;
    cell.code.hidden = false;
    cell.edit.hidden = false;
    cell.reset.hidden = true;
    cell.note.textContent = "";
    place(cell);
    cell.edit.focus();
  }

  function ask(exercise, question) {
    const verdict = make("span", { className: "live-status" });
    verdict.setAttribute("role", "status");
    const field = make("input", { type: "text", autocomplete: "off", spellcheck: false });
    const form = make("form", { className: "live-answer" }, make("label", {}, `${question.asks} = `, field), make("button", { type: "submit", textContent: "检查" }), verdict);
    form.onsubmit = (event) => {
      event.preventDefault();
      if (!field.value.trim()) return;
      verdict.textContent = bar.run.disabled ? "Python 正在运行：等它结束，或先停止。" : "";
      attempt(async () => {
        if (await runTo(cells.findIndex((cell) => cell.id === question.cell))) verdict.textContent = spoken(await bar.python.judge(field.value, question.value, question.cell, question.unit ?? ""), question);
      });
    };
    document.getElementById(exercise).append(form);
  }

  function spoken({ kind, yours, expected, point, message }, { hint }) {
    const where = Object.entries(point ?? {}).map(([name, size]) => `${name} = ${size}`).join("、");
    return {
      right: "对。",
      malformed: `读不懂：${message}`,
      unproved: "在试过的各处都相同，但没能证明两式相等。",
      larger: `大了。提示：${hint}`,
      smaller: `小了。提示：${hint}`,
      close: `差不到 2 %：检查舍入和单位。`,
      wrong: `不对：${where} 时，你的式子得 ${yours}，正确的得 ${expected}。提示：${hint}`,
    }[kind];
  }

  if (told) {
    makeBar();
    for (const [exercise, questions] of Object.entries(told.answers)) for (const question of questions) ask(exercise, question);
  }
}
