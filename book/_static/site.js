// What scrolls sideways inside itself can be reached and scrolled with the keyboard.
function reachable() {
  for (const box of document.querySelectorAll("pre, div.math, p, .output, .table-scroll, .knowledge-graph")) {
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
addEventListener("resize", reachable);
reachable();
