// node runtime.mjs SOURCE.zip TARGET.zip ...: the modules of each SOURCE, compiled by the Python that runs in the pages.
import fs from "node:fs";
const { loadPyodide } = await import(new URL("../.runtime/node_modules/pyodide/pyodide.mjs", import.meta.url));
const python = await loadPyodide();
python.runPython(`
import compileall, os, py_compile, shutil, sys, warnings
warnings.simplefilter("ignore")

def compiled(folder):
    good = compileall.compile_dir(folder, quiet=2, legacy=True, stripdir=folder,
                                  invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    if not good:
        sys.exit("a library cannot be compiled")
    for inner, _, files in os.walk(folder):
        for file in files:
            if file.endswith(".py"):
                os.remove(os.path.join(inner, file))
    return shutil.make_archive(f"{folder}-compiled", "zip", folder)
`);
const paths = process.argv.slice(2);
for (let i = 0; i < paths.length; i += 2) {
  python.unpackArchive(new Uint8Array(fs.readFileSync(paths[i])), "zip", { extractDir: `/libraries${i}` });
  fs.writeFileSync(paths[i + 1], python.FS.readFile(python.runPython(`compiled("/libraries${i}")`)));
}
