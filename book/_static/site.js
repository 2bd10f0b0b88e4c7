// A formula too wide for its line scrolls in place. What scrolls sideways can be reached and scrolled with the keyboard.
// All is measured before anything changes, and what is closed only once it opens: or each width has the page laid out anew.
function reachable(within = document) {
  const shown = (box) => box.checkVisibility();
  const formulas = [...within.querySelectorAll("span.math")].filter(shown);
  const sticksOut = (formula) => {
    const room = formula.closest("p, li, dd, td, figcaption, div")?.getBoundingClientRect().right ?? innerWidth;
    return formula.firstElementChild.getBoundingClientRect().right > Math.min(room, innerWidth) + 1;
  };
  for (const formula of formulas) formula.classList.remove("wide");
  for (let left = formulas, wide; ; left = left.filter((formula) => !wide.includes(formula))) {
    wide = left.filter(sticksOut); // one that scrolls may move those beside it
    if (!wide.length) break;
    for (const formula of wide) formula.classList.add("wide");
  }
  const boxes = [...within.querySelectorAll("pre, .math, .output, .table-scroll, .knowledge-graph")].filter(shown);
  const scrolls = boxes.map((box) => box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX === "auto");
  boxes.forEach((box, i) => {
    if (scrolls[i]) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
}

document.querySelectorAll("article table").forEach((table) => {
  const box = document.createElement("div");
  box.className = "table-scroll";
  table.replaceWith(box);
  box.append(table);
});
// The article changes its width with the window, and again when the sidebars follow; its height when something opens.
new ResizeObserver(() => requestAnimationFrame(() => reachable())).observe(document.querySelector("article") ?? document.body);
document.fonts.ready.then(() => reachable()); // widths are known once the font for formulas is there
