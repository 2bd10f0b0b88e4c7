// A reader's own config.json in the planner: dropped or chosen, read and compiled by the package's Python in the page.
// The file is never sent anywhere; nothing is loaded before there is one.
{
  const LARGEST = 64e6, { facts } = lecture10.planner, { make } = inPage;
  const form = document.getElementById("planner"), texts = {};
  const input = make("input", { type: "file", accept: ".json,application/json", hidden: true, onchange: () => read(input.files[0]) });
  const notes = make("ul", { className: "own-notes" });
  const bar = inPage.bar({ text: "用自己的 config.json", act: () => input.click() });

  // Files of the same name are different models, unless they are the same text.
  function named(file, text) {
    const names = [file, ...Array.from({ length: 98 }, (_, i) => `${file} (${i + 2})`)];
    return names.find((name) => texts[name] === text || !facts.models.includes(name));
  }

  function read(file) {
    input.value = "";
    if (!file) return;
    if (file.size > LARGEST) return bar.say(`${file.name} 有 ${lecture10.bytes(file.size)}，不会是 config.json。`);
    notes.replaceChildren();
    bar.attempt(async () => {
      bar.say(`读 ${file.name}，推导它的公式`);
      const text = await file.text(), name = named(file.name, text);
      if (!(name in texts)) {
        const found = await bar.python.compile(text, name);
        if (found.error) return bar.say(`读不了 ${file.name}：${found.error}`);
        Function(found.script)();
        Object.assign(lecture10.models[name], { file: file.name, notes: found.notes });
        texts[name] = text;
        facts.models.push(name);
      }
      const model = lecture10.models[name];
      lecture10.state.set({ model: name });
      bar.say(`${name}：${lecture10.fixed(model.parameters, 0)} 个参数。文件没有离开这台电脑。`);
      notes.replaceChildren(...model.notes.map((note) => make("li", { textContent: note, lang: "en" })));
    });
  }

  const carried = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const mark = (over) => form.classList.toggle("dropping", over);
  addEventListener("dragover", (event) => { if (carried(event)) { event.preventDefault(); mark(true); } });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(false); });
  addEventListener("drop", (event) => {
    mark(false);
    if (!carried(event)) return;
    event.preventDefault();
    read(event.dataTransfer.files[0]);
  });

  bar.box.classList.add("own");
  bar.box.append(input);
  form.before(bar.box, notes);
  const asked = lecture10.state.get().model;
  if (asked && !facts.models.includes(asked)) bar.say(`没有 ${asked}：自己的文件只留在当时的页面里，要用它请再选一次。`);
  else bar.say("选一个，或者拖到这一页来。");
}
