// A formula too wide for its line scrolls in place. What scrolls sideways can be reached and scrolled with the keyboard.
function reachable() {
  for (const formula of document.querySelectorAll("span.math")) {
    formula.classList.remove("wide");
    const room = formula.closest("p, li, dd, td, figcaption, div")?.getBoundingClientRect().right ?? innerWidth;
    formula.classList.toggle("wide", formula.firstElementChild.getBoundingClientRect().right > Math.min(room, innerWidth) + 1);
  }
  for (const box of document.querySelectorAll("pre, .math, .output, .table-scroll, .knowledge-graph")) {
    const scrolls = box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX === "auto";
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

document.querySelectorAll("article table").forEach((table) => {
  const box = document.createElement("div");
  box.className = "table-scroll";
  table.replaceWith(box);
  box.append(table);
});
// The article changes its width with the window, and again when the sidebars follow: after the event "resize".
new ResizeObserver(() => requestAnimationFrame(reachable)).observe(document.querySelector("article") ?? document.body);
document.fonts.ready.then(reachable); // widths are known once the font for formulas is there
reachable();
