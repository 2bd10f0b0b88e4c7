// Charts as SVG, drawn with D3: axes with units, curves, marks with names. Colours come from the style sheet.
// D3 is the copy in the package mpld3: 78 kB compressed, and it draws SVG. Observable Plot, as pyobsplot has it, weighs 292.
lecture10.chart = (box, { title, x, y, curves, marks = [], describe }) => {
  const W = 360, H = 270, left = 52, right = 12, top = 14, bottom = 40;
  const all = [...curves.flatMap((curve) => curve.points), ...marks.map((mark) => mark.at)];
  const scale = (axis, index, range) => {
    const [least, most] = axis.domain ?? d3.extent(all, (point) => point[index]);
    return axis.log ? d3.scaleLog().domain([least, Math.max(most, least * 2)]).range(range)
      : d3.scaleLinear().domain([0, most * 1.05]).range(range);
  };
  const sx = scale(x, 0, [left, W - right]), sy = scale(y, 1, [H - bottom, top]);
  let figure = d3.select(box).select("figure");
  if (figure.empty()) {
    figure = d3.select(box).append("figure").attr("class", "chart");
    figure.append("svg").attr("viewBox", `0 0 ${W} ${H}`).attr("role", "img");
    figure.append("figcaption");
  }
  figure.select("figcaption").text(title);
  const svg = figure.select("svg").attr("aria-label", `${title}。${describe}`);
  svg.selectAll("*").remove();
  const ticks = (axis, line) => {
    if (!axis.log) return line.ticks(5).map((value) => [value, d3.format(",")(+value.toPrecision(6))]);
    const among = (digits) => line.ticks().filter((value) => digits.includes(+value.toExponential()[0]) && /^\de/.test(value.toExponential()));
    const shown = [[1], [1, 3], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]].map(among).find((found) => found.length > 2) ?? among([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    return shown.map((value) => [value, axis.text ? axis.text(value) : d3.format("~s")(value)]);
  };
  for (const [value, text] of ticks(x, sx)) {
    svg.append("line").attr("class", "grid").attr("x1", sx(value)).attr("x2", sx(value)).attr("y1", top).attr("y2", H - bottom);
    svg.append("text").attr("class", "tick").attr("x", sx(value)).attr("y", H - bottom + 14).attr("text-anchor", "middle").text(text);
  }
  for (const [value, text] of ticks(y, sy)) {
    svg.append("line").attr("class", "grid").attr("x1", left).attr("x2", W - right).attr("y1", sy(value)).attr("y2", sy(value));
    svg.append("text").attr("class", "tick").attr("x", left - 5).attr("y", sy(value) + 4).attr("text-anchor", "end").text(text);
  }
  svg.append("text").attr("class", "label").attr("x", (left + W - right) / 2).attr("y", H - 6).attr("text-anchor", "middle").text(x.label);
  svg.append("text").attr("class", "label").attr("transform", `translate(11,${(top + H - bottom) / 2})rotate(-90)`).attr("text-anchor", "middle").text(y.label);
  const clip = ([a, b]) => Number.isFinite(sx(a)) && Number.isFinite(sy(b));
  const line = d3.line().x((point) => sx(point[0])).y((point) => sy(point[1]));
  for (const curve of curves)
    svg.append("path").attr("class", `curve ${curve.class}`).attr("d", line(curve.points.filter(clip)));
  const taken = [];
  for (const mark of marks.filter((mark) => clip(mark.at))) {
    const px = sx(mark.at[0]), py = sy(mark.at[1]), shape = { square: d3.symbolSquare, cross: d3.symbolCross, triangle: d3.symbolTriangle }[mark.shape] ?? d3.symbolCircle;
    svg.append("path").attr("class", `mark ${mark.class}`).attr("transform", `translate(${px},${py})`).attr("d", d3.symbol().type(shape).size(mark.size ?? 55)()).append("title").text(mark.name);
    if (!mark.label) continue;
    const end = px > W / 2, width = mark.label.length * (/[^\x00-\xff]/.test(mark.label) ? 10 : 5.6);
    let row = py - 7;
    const clash = () => taken.some(([a, b, r]) => Math.abs(r - row) < 11 && (end ? px - width < b && px > a : px < b && px + width > a));
    for (let tries = 0; clash() && tries < 12; tries++) row += 11;
    if (clash() || row > H - bottom) continue;
    taken.push(end ? [px - width, px, row] : [px, px + width, row]);
    svg.append("text").attr("class", `name ${mark.class}`).attr("x", px + (end ? -6 : 6)).attr("y", row).attr("text-anchor", end ? "end" : "start").text(mark.label);
  }
};
