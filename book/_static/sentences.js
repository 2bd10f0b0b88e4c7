// Sentences whose numbers turn: each paragraph answers with the compiled formulas, its curve with it.
for (const paragraph of new Set([...document.querySelectorAll("span.turned")].map((each) => each.parentElement))) {
  const turned = {}, outputs = [...paragraph.querySelectorAll("output.turned")], chart = paragraph.querySelector(".turn-chart");
  const start = {};
  let told;

  // A choice stands for the numbers of several symbols.
  const numbers = (asked) => Object.assign(
    Object.fromEntries(Object.entries(lecture10.inputs).map(([name, facts]) => [name, asked[name] ?? facts.default])),
    ...Object.entries(lecture10.choices).map(([name, facts]) => facts.values[asked[name] ?? facts.default]));
  const values = () => Object.fromEntries(Object.entries(turned).map(([name, own]) => [name, own.value()]));
  const symbols = (name) => (lecture10.choices[name] ? Object.keys(Object.values(lecture10.choices[name].values)[0]) : [name]);
  const compute = (name, given) => lecture10.formulas[name](...lecture10.formulas[name].needs.map((need) => given[need]))[0];

  for (const span of paragraph.querySelectorAll("span.chosen")) {
    const name = span.dataset.quantity, facts = lecture10.choices[name], select = document.createElement("select");
    select.className = "turn";
    select.dataset.quantity = name;
    select.setAttribute("aria-label", facts.label);
    select.append(...Object.keys(facts.values).map((value) => new Option(value)));
    select.value = start[name] = span.textContent;
    select.addEventListener("change", () => lecture10.state.set({ [name]: select.value }));
    span.replaceWith(select);
    turned[name] = { value: () => select.value, show: (value) => { select.value = value; }, offers: (value) => value in facts.values };
  }
  for (const span of paragraph.querySelectorAll("span.turned")) {
    const name = span.dataset.quantity, facts = lecture10.inputs[name], input = document.createElement("input");
    Object.assign(input.dataset, { quantity: name, min: facts.least, max: facts.most, step: facts.step, unit: facts.unit });
    if (facts.log) input.dataset.scale = "log";
    if (facts.values.length) input.dataset.values = facts.values.join(" ");
    input.className = "turn";
    input.value = start[name] = span.textContent;
    input.style.width = `${Math.max(3, lecture10.fixed(facts.most, 0).length + 1, String(facts.step).length + 1)}ch`;
    input.setAttribute("aria-label", facts.label);
    span.replaceWith(input);
    turned[name] = lecture10.turnable(input, (value, kept) => lecture10.state.set({ [name]: String(value) }, kept));
    start[name] = turned[name].value();
  }
  for (const output of outputs) output.style.minWidth = `${output.textContent.length + 1}ch`;

  const reset = Object.assign(document.createElement("button"), { type: "button", className: "turn-reset", textContent: "恢复默认" });
  reset.addEventListener("click", () => lecture10.state.set(Object.fromEntries(Object.keys(turned).map((name) => [name, null]))));
  paragraph.insertBefore(reset, chart);
  const figure = chart && paragraph.insertAdjacentElement("afterend", Object.assign(document.createElement("div"), { className: "charts turn-figure" }));
  figure?.append(document.createElement("div"));

  function draw(asked) {
    const given = numbers(asked), before = numbers({ ...asked, ...start });
    const { curve: name, over } = chart.dataset, facts = lecture10.inputs[over], formula = lecture10.formulas[name];
    const points = facts.log ? d3.range(81).map((i) => facts.least * (facts.most / facts.least) ** (i / 80))
      : facts.values.length ? facts.values : d3.range(facts.least, facts.most + facts.step / 2, facts.step);
    const curve = (base) => points.map((x) => [x, compute(name, { ...base, [over]: x })]);
    const other = Object.keys(turned).some((key) => key !== over && symbols(key).some((symbol) => formula.needs.includes(symbol)) && asked[key] !== start[key]);
    const line = formula.beside ? points.map((x) => [x, compute(formula.beside, { ...given, [over]: x })]) : [];
    const at = [given[over], compute(name, given)], text = formula.whole ? lecture10.fixed(at[1], 0) : lecture10.four(at[1]);
    lecture10.chart(figure.firstChild, {
      title: `${formula.label}随${facts.label}的变化${formula.beside ? `，细线是${lecture10.formulas[formula.beside].label}` : ""}${other ? "；虚线是默认的设置" : ""}`, x: { log: facts.log, label: facts.label }, y: { log: facts.log, label: formula.label },
      curves: [{ class: "a", points: curve(given) }, ...(other ? [{ class: "b", points: curve(before) }] : []),
        ...(line.length ? [{ class: "beside", points: line }] : [])],
      marks: [{ at, class: "a", size: 90, label: text, name: text }], describe: `${facts.label} 为 ${given[over]} 时是 ${text}` });
  }

  function update() {
    const state = lecture10.state.get();
    for (const [name, own] of Object.entries(turned)) {
      const asked = own.offers ? state[name] : lecture10.parse(state[name] ?? "");
      if (own.offers) own.show(own.offers(asked) ? asked : start[name]);
      else own.show(Number.isNaN(asked) ? start[name] : own.fit(asked));
    }
    const asked = values(), given = numbers(asked), now = JSON.stringify(asked);
    if (now === told) return; // what turned stands in other paragraphs
    told = now;
    for (const output of outputs) {
      const formula = lecture10.formulas[output.dataset.quantity], value = compute(output.dataset.quantity, given);
      const text = formula.whole ? lecture10.fixed(value, 0) : lecture10.four(value);
      if (output.textContent !== text) output.textContent = text;
    }
    reset.classList.toggle("idle", Object.keys(turned).every((name) => asked[name] === start[name]));
    reset.disabled = reset.classList.contains("idle");
    if (chart) requestAnimationFrame(() => draw(asked));
  }
  lecture10.state.listen(update);
  update();
}
