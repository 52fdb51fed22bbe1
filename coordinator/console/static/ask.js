// Ask: clicks write into the filter as one would type it, and a chosen file is read into its field.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const where = document.getElementById("where"), vocabulary = document.getElementById("vocabulary");
  if (where && vocabulary) {
    let typed = where.value.trim();
    const write = () => {
      const parts = typed ? [typed] : [], chosen = new Map();
      for (const box of vocabulary.querySelectorAll("input:checked")) {
        const [field, ...rest] = box.value.split("=");
        chosen.set(field, [...(chosen.get(field) || []), `'${rest.join("=")}'`]);
      }
      for (const [field, values] of chosen)
        parts.push(values.length > 1 ? `${field} IN (${values.join(", ")})` : `${field} = ${values[0]}`);
      for (const edge of vocabulary.querySelectorAll("select"))
        if (edge.value) parts.push(`${edge.dataset.field} ${edge.name.startsWith("from") ? ">=" : "<"} ${edge.value}`);
      where.value = parts.join(" AND ");
    };
    vocabulary.addEventListener("change", write);
    where.addEventListener("input", () => {
      typed = where.value.trim();
      for (const box of vocabulary.querySelectorAll("input:checked")) box.checked = false;
      for (const edge of vocabulary.querySelectorAll("select")) edge.value = "";
    });
    // The text has the clicks already: they are not sent beside it.
    where.form.addEventListener("submit", () => {
      for (const one of vocabulary.querySelectorAll("input, select")) one.disabled = true;
    });
    addEventListener("pageshow", () => {
      for (const one of vocabulary.querySelectorAll("input, select")) one.disabled = false;
    });
  }
  for (const chooser of document.querySelectorAll("input[type=file][data-into]"))
    chooser.addEventListener("change", async () => {
      const [file] = chooser.files, into = document.getElementById(chooser.dataset.into);
      if (file) into.value = (await file.text()).slice(0, into.maxLength);
    });
});
