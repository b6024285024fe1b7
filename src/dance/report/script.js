"use strict";
// What the pages do beyond showing: sort and filter tables, copy commands, move along snapshots.
// Without it, everything is visible, and controls that would need it are hidden.
(() => {
  const all = (what, where = document) => [...where.querySelectorAll(what)];

  // A click on the head of a column sorts: numbers from the largest, text from A, then reversed.
  const key = (row, column) => {
    const { dataset, textContent } = row.cells[column];
    return dataset.value ?? textContent.trim();
  };
  const sort = (table, column, sign) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map(row => [key(row, column), row]);
    const numeric = rows.every(([value]) => value === "" || !isNaN(value));
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // unknown values stay last
      return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach(each => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        sort(table, column, order === "ascending" ? 1 : -1);
      });
    });
  }

  // A part with data-… of other values than those chosen is hidden; rows must contain all words.
  const form = document.querySelector("form.filters");
  if (form) {
    const rows = all("table.sortable tbody tr:not(.whole-row)");
    const apply = () => {
      const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = all("select", form).filter(select => select.value);
      const fits = node =>
        chosen.every(({ name, value }) => (node.dataset[name] ?? value) === value);
      for (const row of rows) {
        const text = `${row.dataset.words} ${row.textContent}`.toLowerCase();
        row.hidden = !fits(row) || !words.every(word => text.includes(word));
      }
      for (const part of all(".group")) {
        part.hidden = rows.every(row => row.hidden || !part.contains(row));
      }
      for (const part of all(".filtered")) part.hidden = !fits(part);
      const left = rows.filter(row => !row.hidden).length;
      form.elements.found.value = `${left} of ${rows.length} rows`;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", event => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(apply));
    apply();
  }

  for (const button of all("button.copy")) {
    const text = button.parentElement.querySelector("pre");
    button.hidden = false;
    button.addEventListener("click", async () => {
      getSelection().selectAllChildren(text);
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected: press Ctrl+C";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  }

  for (const film of all(".film")) {
    const frames = all("figure", film);
    const slider = film.querySelector("input");
    const show = () => {
      frames.forEach((frame, index) => (frame.hidden = index !== slider.valueAsNumber));
      const caption = frames[slider.valueAsNumber].querySelector("figcaption");
      slider.setAttribute("aria-valuetext", caption.textContent.trim());
    };
    film.classList.add("live");
    slider.addEventListener("input", show);
    show();
  }
})();
