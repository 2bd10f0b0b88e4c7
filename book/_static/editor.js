// An editor for one cell: CodeMirror, coloured with the page's own classes. live.js imports it when the reader edits.
import { defaultKeymap, history, historyKeymap } from "./live/codemirror-commands.js";
import { pythonLanguage } from "./live/codemirror-lang-python.js";
import { HighlightStyle, bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "./live/codemirror-language.js";
import { EditorView, keymap } from "./live/codemirror-view.js";
import { tags } from "./live/lezer-highlight.js";

const KINDS = [["keyword", "k"], ["bool", "kc"], ["null", "kc"], ["string", "s2"], ["number", "mi"], ["comment", "c1"], ["operator", "o"], ["meta", "nd"]];
const style = HighlightStyle.define([...KINDS.map(([kind, name]) => ({ tag: tags[kind], class: name })),
  { tag: tags.function(tags.definition(tags.variableName)), class: "nf" }]);

/** An editor in `parent`; the reader runs the cell with Shift or Ctrl and Enter. Tab leaves it, as any other field. */
export function edit(parent, { doc, label, onChange, onRun }) {
  const run = () => { onRun(); return true; };
  const view = new EditorView({ parent, doc, extensions: [
    keymap.of([{ key: "Shift-Enter", run }, { key: "Ctrl-Enter", run }, { key: "Cmd-Enter", run }, ...defaultKeymap, ...historyKeymap]),
    history(), pythonLanguage, indentOnInput(), indentUnit.of("    "), bracketMatching(), syntaxHighlighting(style),
    EditorView.contentAttributes.of({ "aria-label": label }),
    EditorView.domEventHandlers({ keydown: (event) => { if (event.key === "/") event.stopPropagation(); } }), // the theme would search
    EditorView.updateListener.of((update) => update.docChanged && onChange(update.state.doc.toString()))] });
  view.focus();
  return view;
}
