// Results of Pagefind under every search form: in the theme's dialog (button, Ctrl+K) and on the search page.
const root = new URL(document.documentElement.dataset.content_root, document.baseURI);
let loaded;

function pagefind() {
  return (loaded ??= import(new URL("pagefind/pagefind.js", root)).then(async (engine) => {
    await engine.options({ excerptLength: 24, ranking: { termFrequency: 0.6, pageLength: 0.1 } });
    return engine;
  }));
}

// Pagefind parts Chinese words with spaces; between two Chinese characters nobody writes one.
const unspaced = (html) => html.replace(/^[：:.，\s]+/, "").replace(/(?<=[\u3000-\u9fff\uff00-\uffef](?:<\/mark>)?)[\s\u200b]+(?=(?:<mark>)?[\u3000-\u9fff\uff00-\uffef])/g, "");

function entry({ title, url, excerpt }) {
  const item = document.createElement("li");
  const link = item.appendChild(document.createElement("a"));
  link.href = url;
  link.textContent = title;
  if (excerpt) item.appendChild(document.createElement("p")).innerHTML = unspaced(excerpt); // escaped by Pagefind, words in <mark>
  return item;
}

function page(result) {
  const sections = result.sub_results.filter((section) => section.url.includes("#")).slice(0, 3);
  const item = entry({ title: result.meta.title, url: result.url, excerpt: sections.length ? "" : result.excerpt });
  if (sections.length) item.appendChild(document.createElement("ul")).append(...sections.map(entry));
  return item;
}

function attach(form) {
  const input = form.querySelector("input");
  const box = form.insertAdjacentElement("afterend", document.createElement("div"));
  box.className = "search-results";
  const status = box.appendChild(document.createElement("p"));
  status.setAttribute("role", "status");
  const list = box.appendChild(document.createElement("ol"));

  async function search() {
    const query = input.value.trim();
    if (!query) {
      status.textContent = "";
      return list.replaceChildren();
    }
    try {
      const engine = await pagefind();
      const found = await engine.debouncedSearch(query, {}, 150);
      if (found === null) return; // a newer query is on its way
      const results = await Promise.all(found.results.slice(0, 10).map((result) => result.data()));
      const literal = ({ content }) => unspaced(content).toLowerCase().includes(query.toLowerCase());
      results.sort((a, b) => literal(b) - literal(a)); // a word parted in two is found in pages that have only its parts
      status.textContent = results.length ? `${found.results.length} 页提到“${query}”` : `没有找到“${query}”`;
      list.replaceChildren(...results.map(page));
      box.dataset.query = query;
    } catch (error) {
      status.textContent = location.protocol === "file:"
        ? "直接打开文件时浏览器不允许搜索；用 make serve 打开这本书就可以了。" : `搜索没有成功：${error.message}`;
    }
  }

  input.addEventListener("input", search);
  input.addEventListener("focus", () => location.protocol === "file:" || pagefind(), { once: true });
  if (!form.closest("dialog")) {
    input.value = new URLSearchParams(location.search).get("q") ?? "";
    input.focus();
  }
  search();
}

document.querySelectorAll("form.bd-search").forEach(attach);
