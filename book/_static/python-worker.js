// Python itself, away from the page: code that computes for long, or for ever, never holds up scrolling.
const LIBRARIES = "/lib/book";
let session;

async function load() {
  const live = new URL("live/", import.meta.url);
  const stage = (number, text) => postMessage({ stage: number, text });
  const fetched = async (name) => {
    const response = await fetch(new URL(name, live));
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    return response;
  };
  stage(1, "下载 Python 和 SymPy");
  const archives = fetched("archives.json").then((list) => list.json())
    .then((names) => Promise.all(names.map(async (name) => (await fetched(name)).arrayBuffer())));
  const { loadPyodide } = await import(new URL("pyodide/pyodide.mjs", live));
  const python = await loadPyodide();
  stage(2, "解开软件包");
  for (const archive of await archives) python.unpackArchive(archive, "zip", { extractDir: LIBRARIES });
  stage(3, "载入 SymPy 和本书的软件包");
  python.runPython(`import sys; sys.path.insert(0, "${LIBRARIES}"); import lecture10`);
  stage(4, "就绪");
  return python.pyimport("session");
}

onmessage = async ({ data: { id, name, args } }) => {
  try {
    session ??= await load();
    postMessage({ id, result: JSON.parse(session[name](...args)) });
  } catch (error) {
    postMessage({ id, error: String(error.message ?? error) });
  }
};
