// The planner: reads the settings, calls the compiled formulas of the package, writes what they answer.
(() => {
  const form = document.getElementById("planner"), answers = document.querySelector(".planner-answers");
  const facts = JSON.parse(document.getElementById("planner-facts").textContent), words = facts.words;
  const root = new URL(document.documentElement.dataset.content_root, document.baseURI);
  const KEYS = ["model", "accelerator", "devices", "attention", "experts", "weights", "kv", "arithmetic", "B", "S", "answer"];
  const first = form.cloneNode(true), columns = ["", "vs."], names = ["甲", "乙"];
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const whole = (value) => lecture10.fixed(value, 0);
  const defaults = Object.fromEntries(KEYS.map((key) => [key, first.querySelector(`[data-quantity="${key}"]`).value]));

  const loading = {};
  const load = async (name) => lecture10.models[name] ?? (loading[name] ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = new URL(`_static/formulas/${name}.js`, root);
    script.onload = () => done(lecture10.models[name]);
    script.onerror = () => failed(new Error(`${script.src} 没有载入`));
    document.head.append(script);
  }));

  // A setting that exists: what is not offered becomes the nearest that is.
  const one = (wanted, offered) => (offered.includes(wanted) ? wanted : offered[0]);
  async function setting(prefix) {
    const state = lecture10.state.get(), asked = (key) => state[prefix + key] ?? state[key] ?? defaults[key];
    const number = (key, least, most) => Math.min(most, Math.max(least, Math.round(lecture10.parse(asked(key))) || lecture10.parse(defaults[key])));
    const found = { model: one(asked("model"), [defaults.model, ...facts.models]), accelerator: one(asked("accelerator"), [defaults.accelerator, ...Object.keys(facts.cards)]) };
    const model = await load(found.model), card = facts.cards[found.accelerator];
    found.attention = one(asked("attention"), facts.divided.attention);
    found.experts = one(asked("experts"), facts.divided.experts.filter((way) => model.layouts[`${found.attention} ${way}`]));
    const layout = model.layouts[`${found.attention} ${found.experts}`];
    const counts = layout.counts.filter((count) => count === 1 || (count <= facts.most && card.link));
    found.devices = counts.filter((count) => count <= +asked("devices")).at(-1) ?? 1;
    found.weights = one(asked("weights") === facts.stored ? "" : asked("weights"), Object.keys(model.weights));
    found.kv = one(asked("kv") === facts.stored ? "" : asked("kv"), ["", ...Object.keys(facts.kv)]);
    found.arithmetic = one(asked("arithmetic"), Object.keys(card.peaks));
    found.longest = Math.min(model.longest ?? 2 ** 20, 2 ** 20);
    found.B = number("B", 1, 4096);
    found.S = number("S", 2, found.longest);
    found.answer = Math.min(number("answer", 1, 4096), found.S - 1);
    found.prompt = found.S - found.answer;
    return { ...found, counts, facts: model, card };
  }

  function answer(asked) {
    const { facts: model, card, B, S, prompt, devices } = asked, { formulas } = lecture10, sizes = model.weights[asked.weights];
    const layout = model.layouts[`${asked.attention} ${asked.experts}`], split = asked.attention !== facts.divided.attention[0];
    const kv = asked.kv ? facts.kv[asked.kv] : model.kvStored, peak = card.peaks[asked.arithmetic];
    const cost = (batch, tokens, context) => model.cost(batch, tokens, context, kv, sizes);
    const own = (batch, tokens, context) => (split ? cost(formulas.sequences(batch, devices)[0], tokens, context) : model.own[devices](batch, tokens, context, kv));
    const pass = (batch, tokens, context) => (devices === 1 ? model.one : layout).pass(batch, tokens, cost(batch, tokens, context),
      ...(devices === 1 ? [[], []] : [own(batch, tokens, context), layout.sent[devices]]), devices, peak, card.bandwidth, card.link ?? 1);
    const stored = (count) => layout.weights(count, sizes)[0], kept = (context, count) => model.cache[split ? 1 : count](context, kv)[0];
    const memory = (batch, context, count = devices) => formulas.memory[asked.attention](batch, count, stored(count), kept(context, count), card.capacity);
    const step = pass(B, 1, S), rows = [], listed = (devices === 1 ? model.one : layout).operations, divided = (step.length - 2 - listed.length) / 3;
    listed.forEach((name, i) => {
      const [flops, bytes, seconds, gap] = i < divided ? step.slice(2 + 4 * i) : [0, 0, step[2 + 4 * divided + i - divided], null];
      rows.push({ name, flops, bytes, seconds, limit: gap === null ? "link" : gap > 0 ? "compute" : "memory" });
    });
    const [used, largest] = memory(B, S);
    const shares = facts.limits.map((limit) => [limit, rows.filter((row) => row.limit === limit).reduce((sum, row) => sum + row.seconds, 0) / step[0]]);
    return {
      asked, pass, memory, rows, shares, peak, weights: stored(devices), cache: kept(S, devices), memoryUsed: used, capacity: card.capacity, largest,
      fits: B <= largest, needed: layout.counts.find((count) => memory(B, S, count)[0] <= card.capacity) ?? null,
      latency: step[0], throughput: step[1], firstToken: pass(1, prompt, prompt)[0],
      floor: model.floor(cost(B, 1, S), cost(1, 1, 1), devices, peak, card.bandwidth)[0],
      request: formulas.requests(pass(B, prompt, prompt)[0], (context) => pass(B, 1, context)[0], prompt, asked.answer)[0],
    };
  }

  const text = (found) => ({
    weights: lecture10.bytes(found.weights), cache: lecture10.bytes(found.cache), memory: lecture10.bytes(found.memoryUsed),
    capacity: lecture10.bytes(found.capacity), "largest-batch": fill(words.sequences, { n: whole(found.largest) }),
    "first-token": lecture10.seconds(found.firstToken), latency: lecture10.seconds(found.latency),
    floor: lecture10.seconds(found.floor), throughput: fill(words.rate, { n: whole(found.throughput) }),
    request: lecture10.seconds(found.request),
  });

  function verdict(found) {
    const { asked } = found, shown = text(found);
    const ordered = found.shares.filter(([, share]) => share > 1 - facts.alone).sort((a, b) => b[1] - a[1]), alone = ordered[0][1] >= facts.alone;
    const what = (alone ? ordered.slice(0, 1) : ordered).map(([limit, share]) => words[limit] + (alone ? "" : `（${whole(share * 100)}%）`)).join(words.and);
    return fill((found.fits ? words.fits : words.not) + words.speed, {
      ...shown, model: asked.model, on: fill(asked.devices === 1 ? words.one : words.many, { card: asked.accelerator, n: asked.devices }),
      largest: whole(found.largest), B: whole(asked.B), S: whole(asked.S), enough: found.needed ? fill(words.enough, { needed: found.needed }) : words.none,
      limit: fill(words.limit, { what }) });
  }

  const quoted = (word) => (/^[\w./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  const command = (asked) => ["lecture10", quoted(asked.facts.file ?? asked.model), "--accelerator", `"${asked.accelerator}"`,
    ...(asked.devices > 1 ? ["--devices", asked.devices] : []),
    ...["attention", "experts"].flatMap((half) => (asked[half] === facts.divided[half][0] ? [] : [`--${half}`, asked[half]])), ...(asked.weights ? ["--weights", asked.weights] : []),
    ...(asked.kv ? ["--kv", asked.kv] : []), ...(asked.arithmetic === "bf16" ? [] : ["--arithmetic", asked.arithmetic]),
    "--batch", asked.B, "--context", asked.S].join(" ");

  // The form: one control a column in every row.
  const controls = [];
  function change(prefix, key, value, kept = true) {
    const now = found.find((one) => one.prefix === prefix).asked, changes = { [key]: String(value) };
    if (key === "prompt") { delete changes.prompt; changes.S = String(Math.min(now.longest, value + now.answer)); }
    if (key === "answer" && value >= now.S) changes.S = String(Math.min(now.longest, value + 1));
    const all = Object.fromEntries(KEYS.map((name) => [prefix + name, String(now[name])]));
    lecture10.state.set({ ...all, ...Object.fromEntries(Object.entries(changes).map(([name, to]) => [prefix + name, to])) }, kept);
  }

  function build(prefix, index) {
    controls[index] = {};
    for (const row of form.querySelectorAll(".setting")) {
      let control = row.querySelectorAll(".control")[index];
      if (!control) control = row.appendChild(first.querySelector(`[aria-label="${row.getAttribute("aria-label")}"] .control`).cloneNode(true));
      control.classList.add(["a", "b"][index]);
      const input = control.querySelector("[data-quantity]"), key = input.dataset.quantity, range = control.querySelector("[type=range]");
      if (index) input.setAttribute("aria-label", `${input.getAttribute("aria-label")}（${names[1]}）`);
      if (index) input.dataset.column = "vs";
      if (input.localName === "select") {
        input.addEventListener("change", () => change(prefix, key, input.value));
        controls[index][key] = { input };
      } else {
        const turning = lecture10.turnable(input, (value, kept) => change(prefix, key, value, kept));
        range.addEventListener("input", () => change(prefix, key, turning.fit(2 ** +range.value), false));
        range.addEventListener("change", () => change(prefix, key, turning.fit(2 ** +range.value)));
        controls[index][key] = { input, turning, range };
      }
    }
  }

  function options(select, offered, chosen) {
    const wanted = offered.map(([value]) => value).join("\n");
    if (select.dataset.offered !== wanted) {
      select.replaceChildren(...offered.map(([value, name]) => new Option(name, value)));
      select.dataset.offered = wanted;
    }
    select.value = String(chosen);
  }

  const named = (values) => values.map((value) => [String(value), String(value) || facts.stored]);
  function show(index, asked) {
    const own = controls[index];
    options(own.model.input, named(facts.models), asked.model);
    options(own.accelerator.input, named(Object.keys(facts.cards)), asked.accelerator);
    options(own.devices.input, asked.counts.map((count) => [String(count), `${count} 台`]), asked.devices);
    for (const half of ["attention", "experts"]) {
      const there = facts.divided[half].filter((way) => half === "attention" || asked.facts.layouts[`${asked.attention} ${way}`]);
      options(own[half].input, there.map((way) => [way, words[way]]), asked[half]);
    }
    options(own.weights.input, named(Object.keys(asked.facts.weights)), asked.weights);
    options(own.kv.input, named(["", ...Object.keys(facts.kv)]), asked.kv);
    options(own.arithmetic.input, named(Object.keys(asked.card.peaks)), asked.arithmetic);
    const most = { B: 4096, S: asked.longest, prompt: asked.longest - asked.answer, answer: Math.min(4096, asked.longest - 1) };
    for (const [key, limit] of Object.entries(most)) {
      own[key].input.dataset.max = limit;
      own[key].turning.show(asked[key]);
      Object.assign(own[key].range, { min: Math.log2(+own[key].input.dataset.min), max: Math.log2(limit), value: Math.log2(asked[key]) });
    }
  }

  function column(table, index, cells) {
    table.tHead.rows[0].cells[1].textContent = found.length > 1 ? names[0] : "这种设置";
    const wide = found.length + 1;
    for (const row of table.rows) {
      while (row.cells.length > wide) row.deleteCell(-1);
      while (row.cells.length < wide) row.append(Object.assign(document.createElement(row.parentNode.localName === "thead" ? "th" : "td"), {}));
    }
    if (found.length > 1) { table.tHead.rows[0].cells[2].textContent = names[1]; table.tHead.rows[0].cells[2].scope = "col"; }
    cells.forEach((cell, i) => { table.tBodies[0].rows[i].cells[index + 1].textContent = cell; });
  }

  function bar(found) {
    const most = Math.max(found.memoryUsed, found.capacity), share = (value) => `${Math.max(0, 100 * value / most)}%`;
    const box = document.createElement("div"), free = found.capacity - found.memoryUsed;
    box.className = `bar ${found.fits ? "" : "over"}`;
    const parts = [["weights", "权重", found.weights], ["caches", "KV Cache", found.memoryUsed - found.weights], ...(free >= 0 ? [["free", "空闲", free]] : [])];
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `${parts.map(([, name, value]) => `${name} ${lecture10.bytes(value)}`).join("，")}，显存 ${lecture10.bytes(found.capacity)}`);
    for (const [kind, , value] of parts) box.append(Object.assign(document.createElement("span"), { className: kind, style: `width:${share(value)}` }));
    const key = Object.assign(document.createElement("p"), { className: "key" });
    for (const [kind, name, value] of parts) key.append(Object.assign(document.createElement("span"), { className: kind, textContent: `${name} ${lecture10.bytes(value)}` }));
    if (free < 0) key.append(Object.assign(document.createElement("span"), { className: "missing", textContent: `还差 ${lecture10.bytes(-free)}` }));
    return [box, key];
  }

  function draw() {
    const boxes = answers.querySelector(".charts");
    while (boxes.children.length < 3) boxes.append(document.createElement("div"));
    const logged = (least, most, points = 60) => d3.range(points + 1).map((i) => least * (most / least) ** (i / points));
    const side = (i) => ["a", "b"][i], shapes = ["circle", "square"];
    const rate = lecture10.formulas.rate;
    const operations = found.map((one) => one.rows.filter((row) => row.flops > 0).map((row) => ({ ...row, at: [lecture10.formulas.intensity(row.flops, row.bytes)[0], rate(row.flops, row.seconds)[0]] })));
    const seen = operations.flat().map((row) => row.at[0]), wide = [Math.min(0.5, ...seen) / 2, Math.max(2000, ...seen) * 2];
    lecture10.chart(boxes.children[0], {
      title: "屋顶线：一步里的每个操作", x: { log: true, label: "算术强度（FLOP/字节）", domain: wide }, y: { log: true, label: "速率（FLOP/秒，每台）" },
      curves: found.map((one, i) => ({ class: side(i), points: logged(...wide).map((x) => [x, lecture10.formulas.attained(x, 1, one.peak, one.asked.card.bandwidth)[0]]) })),
      marks: operations.flatMap((rows, i) => rows.map((row) => ({ at: row.at, label: row.name, name: `${names[i]}：${row.name}`, class: side(i), shape: shapes[i] }))),
      describe: found.map((one) => one.rows.map((row) => `${row.name} 受${words[row.limit]}限制`).join("，")).join("；") });
    const batches = (one) => [...new Set(logged(1, Math.max(2, one.largest, one.asked.B), 48).map(Math.round))];
    const measured = found.map((one) => one.asked.facts.measured.filter((row) => row.accelerator === one.asked.accelerator));
    lecture10.chart(boxes.children[1], {
      title: "批次变大：每词延迟与吞吐量", x: { log: true, label: "每词延迟（毫秒）" }, y: { log: true, label: "吞吐量（词元/秒）" },
      curves: found.map((one, i) => ({ class: side(i), points: batches(one).map((batch) => one.pass(batch, 1, one.asked.S)).map(([latency, throughput]) => [1e3 * latency, throughput]) })),
      marks: [...found.map((one, i) => ({ at: [1e3 * one.latency, one.throughput], class: side(i), shape: shapes[i], size: 90, label: `B = ${one.asked.B}`, name: `${names[i]}：批次大小 ${one.asked.B}` })),
        ...measured.flatMap((rows, i) => rows.map((row) => ({ at: [1e3 * row.seconds, rate(row.B, row.seconds)[0]], class: `${side(i)} timed`, shape: "cross", size: 30, name: `实测：${row.format}，${row.devices} 台，B = ${row.B}，S = ${row.S}` })))],
      describe: found.map((one) => `批次大小 ${one.asked.B} 时 ${text(one).latency}，${text(one).throughput}`).join("；") });
    lecture10.chart(boxes.children[2], {
      title: "上下文变长：每台占用的显存", x: { log: true, label: "上下文长度（词元）" }, y: { label: "GB" },
      curves: found.flatMap((one, i) => {
        const lengths = logged(128, one.asked.longest);
        return [{ class: side(i), points: lengths.map((length) => [length, one.memory(one.asked.B, length)[0] / 1e9]).filter((point) => point[1] < 4e-9 * one.capacity) },
          { class: `${side(i)} dashed`, points: [lengths[0], lengths.at(-1)].map((length) => [length, one.capacity / 1e9]) }];
      }),
      marks: found.filter((one) => one.memoryUsed < 4 * one.capacity).map((one, i) => ({ at: [one.asked.S, one.memoryUsed / 1e9], class: side(i), shape: shapes[i], size: 90, label: `S = ${whole(one.asked.S)}`, name: names[i] })),
      describe: found.map((one) => `${whole(one.asked.S)} 词元时占 ${text(one).memory}，虚线是显存 ${text(one).capacity}`).join("；") });
    list(measured);
  }

  function list(measured) {
    const box = answers.querySelector(".measured"), rows = measured.flatMap((rows, i) => rows.map((row) => [found.length > 1 ? names[i] : "", row]));
    if (!rows.length) return box.replaceChildren();
    const body = rows.map(([who, row]) => `<tr><td>${who}${row.format}</td><td class="text-right">${row.devices}</td><td class="text-right">${whole(row.B)}</td><td class="text-right">${whole(row.S)}</td><td class="text-right">${lecture10.seconds(row.seconds)}</td></tr>`).join("");
    box.innerHTML = `<details><summary>这个模型在这种加速器上的 ${rows.length} 个实测（图里的十字）</summary><div class="table-scroll" tabindex="0"><table><thead><tr><th scope="col">格式</th><th scope="col">台数</th><th scope="col">批次大小</th><th scope="col">上下文长度</th><th scope="col">每词延迟</th></tr></thead><tbody>${body}</tbody></table></div></details>`;
  }

  let found = [], asked = 0;
  async function update() {
    const turn = ++asked, state = lecture10.state.get(), both = Object.keys(state).some((key) => key.startsWith("vs."));
    let settings;
    try { settings = await Promise.all(columns.slice(0, both ? 2 : 1).map(setting)); }
    catch (error) { return void (answers.querySelector(".verdict").textContent = error.message); }
    if (turn !== asked) return; // a newer question is on its way
    found = settings.map((one, i) => ({ ...answer(one), prefix: columns[i] }));
    if (both && !controls[1]) build("vs.", 1);
    form.classList.toggle("both", both);
    form.querySelector("[data-action=compare]").setAttribute("aria-pressed", both);
    form.querySelector("[data-action=compare]").textContent = both ? "只看一种" : "并排再比一种";
    form.querySelector("[data-action=reset]").disabled = Object.keys(state).length === 0;
    found.forEach((one, i) => show(i, one.asked));
    answers.querySelector(".verdict").textContent = found.map((one, i) => (both ? `${names[i]}：` : "") + verdict(one)).join("\n");
    answers.querySelector(".memory").replaceChildren(...found.flatMap(bar));
    const table = answers.querySelector("table.answers"), steps = answers.querySelector("table.operations");
    const listed = [...new Set(found.flatMap((one) => one.rows.map((row) => row.name)))];
    steps.tBodies[0].replaceChildren(...listed.map((name) => {
      const row = document.createElement("tr");
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: name }));
      return row;
    }));
    found.forEach((one, i) => {
      const shown = text(one);
      column(table, i, [...table.tBodies[0].rows].map((row) => shown[row.cells[1].dataset.quantity]));
      for (const row of steps.tBodies[0].rows) {
        const own = one.rows.find((each) => each.name === row.cells[0].textContent);
        for (const cell of own ? [lecture10.seconds(own.seconds), words[own.limit]] : ["", ""]) row.append(Object.assign(document.createElement("td"), { textContent: cell }));
      }
    });
    const heads = found.length > 1 ? [`时间（${names[0]}）`, `受限于（${names[0]}）`, `时间（${names[1]}）`, `受限于（${names[1]}）`] : ["时间", "受限于"];
    steps.tHead.rows[0].replaceChildren(steps.tHead.rows[0].cells[0], ...heads.map((head) => Object.assign(document.createElement("th"), { scope: "col", textContent: head })));
    const asking = document.querySelector(".planner-answers ~ .highlight-sh pre, .planner-answers ~ div pre");
    if (asking) asking.textContent = found.map((one) => command(one.asked)).join("\n");
    requestAnimationFrame(() => { draw(); reachable(); });
    answers.dataset.ready = turn;
  }

  const said = (words) => { form.querySelector(".done").textContent = words; };
  async function copy(words) {
    try { await navigator.clipboard.writeText(words); said("已复制"); }
    catch {
      const box = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: words }));
      box.select();
      said(document.execCommand("copy") ? "已复制" : words);
      box.remove();
    }
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("click", (event) => {
    const action = event.target.closest("button")?.dataset.action;
    if (!action) return;
    said("");
    if (action === "reset") lecture10.state.reset();
    if (action === "command") copy(found.map((one) => command(one.asked)).join("\n"));
    if (action === "link") { lecture10.state.set(Object.fromEntries(found.flatMap(({ asked, prefix }) => KEYS.map((key) => [prefix + key, String(asked[key])])))); copy(lecture10.state.link()); }
    if (action === "compare") lecture10.state.set(Object.fromEntries(KEYS.map((key) => [`vs.${key}`, found.length > 1 ? null : String(found[0].asked[key])])));
  });
  lecture10.planner = { setting: (values) => Promise.resolve(values), answer, load, facts, command };
  build("", 0);
  form.hidden = false;
  lecture10.state.listen(update);
  update();
})();
