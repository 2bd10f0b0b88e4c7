// node runtime.mjs SOURCE.zip TARGET.zip: the modules of SOURCE, compiled by the Python that runs in the pages.
import fs from "node:fs";
const { loadPyodide } = await import(new URL("../.runtime/node_modules/pyodide/pyodide.mjs", import.meta.url));
const [source, target] = process.argv.slice(2);
const python = await loadPyodide();
python.unpackArchive(new Uint8Array(fs.readFileSync(source)), "zip", { extractDir: "/libraries" });
python.runPython(`
import compileall, os, py_compile, shutil, sys, warnings
warnings.simplefilter("ignore")
good = compileall.compile_dir("/libraries", quiet=2, legacy=True, stripdir="/libraries",
                              invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
if not good:
    sys.exit("a library cannot be compiled")
for folder, _, files in os.walk("/libraries"):
    for file in files:
        if file.endswith(".py"):
            os.remove(os.path.join(folder, file))
shutil.make_archive("/compiled", "zip", "/libraries")
`);
fs.writeFileSync(target, python.FS.readFile("/compiled.zip"));
