// What starts Python in a page: a button, how far it is, what ends it, and what is said. live.js and own.js have one each.
const inPage = {};

inPage.make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
inPage.button = (text, onclick, properties = {}) => inPage.make("button", { type: "button", textContent: text, onclick, ...properties });

// `act` answers the button `text`; `failed(stopped)` hears of what did not end well, and returns what to add to it.
inPage.bar = ({ text, act, failed = () => "" }) => {
  const { make, button } = inPage, root = new URL(document.documentElement.dataset.content_root, document.baseURI);
  const status = make("span", { className: "live-status" });
  status.setAttribute("role", "status");
  const progress = make("progress", { hidden: true, max: 4, value: 0, ariaLabel: "载入 Python" });
  const run = button(text, () => act()), stop = button("停止", () => bar.python?.stop(), { hidden: true });
  const say = (words) => { status.textContent = words; };

  // While Python works, the bar stays in sight: how far it is, and the button that ends an endless loop.
  function busy(working) {
    run.disabled = working;
    stop.hidden = !working;
    bar.box.classList.toggle("live-busy", working);
  }

  // Everything that needs Python goes through here: it is loaded once, one thing runs at a time, and what fails is said.
  async function attempt(task, prepare) {
    if (run.disabled) return;
    if (location.protocol === "file:") return say("直接打开文件时浏览器不允许运行 Python；用 make serve 打开这本书，或放到任何静态网站上，就可以了。");
    busy(true);
    try {
      bar.python ??= await import(new URL("_static/python.js", root));
      await prepare?.();
      progress.hidden = false;
      await bar.python.start((stage, words) => {
        progress.value = stage;
        say(words);
      });
      progress.hidden = true;
      await task();
    } catch (error) {
      const stopped = error.message === "stopped", more = failed(stopped);
      say(stopped ? `已停止${more}。` : `没有成功：${error.message}`);
    }
    progress.hidden = true;
    busy(false);
  }

  const bar = { box: make("div", { className: "live-bar" }, run, stop, progress, status), run, say, attempt };
  return bar;
};
