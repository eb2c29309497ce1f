/* Written by `comface-bench leaderboard build`; changes are lost at the next build. */
"use strict";
/* Sorts and filters tables, sets two methods side by side, and switches the theme. Without it, pages show
   everything in board order. */
(() => {
  const THEMES = ["auto", "light", "dark"];
  const KEY = "comface-bench-theme";

  const stored = () => {
    // A browser may refuse storage to pages that come from a disk.
    try { return localStorage.getItem(KEY); } catch { return null; }
  };
  const store = (theme) => {
    try { localStorage.setItem(KEY, theme); } catch { /* The choice lasts as long as the page. */ }
  };
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };

  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  const addThemeButton = () => {
    let theme = THEMES.includes(stored()) ? stored() : "auto";
    const button = make("button", { type: "button", className: "theme" });
    const show = () => { button.textContent = `Theme: ${theme}`; };
    button.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      apply(theme);
      store(theme);
      show();
    });
    show();
    document.getElementById("theme").append(button);
  };

  const compareText = (a, b) => a.localeCompare(b, "en", { numeric: true });

  /* What a cell is sorted by: its number, its words, or null where it has none. */
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    if (!cell || cell.classList.contains("none")) return null;
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    const text = cell.textContent.trim();
    return text === "" || text === "—" ? null : text;
  };

  const sorter = (column, way) => (a, b) => {
    const [x, y] = [keyOf(a, column), keyOf(b, column)];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" && typeof y === "number" ? x - y : compareText(String(x), String(y));
    return way === "ascending" ? order : -order;
  };

  const makeSortable = (table, say) => {
    const bodies = [...table.tBodies].filter((body) => !body.classList.contains("pinned"));
    const rows = bodies.map((body) => [...body.rows]);
    const isHeading = (row) => row.classList.contains("group");
    const sorted = make("tbody", {});
    const heads = [...table.tHead.rows[0].cells];

    const arrange = (column, way) => {
      if (way === "none") {
        sorted.remove();
        bodies.forEach((body, index) => body.append(...rows[index]));
        table.append(...bodies);
      } else {
        bodies.forEach((body) => body.remove());
        // Rows that stand apart never get among the others.
        const isApart = (index) => bodies[index].classList.contains("apart");
        const data = rows.filter((_, index) => !isApart(index)).flat();
        sorted.replaceChildren(...data.filter((row) => !isHeading(row)).sort(sorter(column, way)));
        table.append(sorted);
        bodies.forEach((body, index) => {
          if (!isApart(index)) return;
          const below = rows[index].filter((row) => !isHeading(row)).sort(sorter(column, way));
          body.replaceChildren(...rows[index].filter(isHeading), ...below);
          table.append(body);
        });
      }
      heads.forEach((head, index) => {
        head.setAttribute("aria-sort", index === column ? way : "none");
      });
      table.dispatchEvent(new Event("arranged"));
    };

    heads.forEach((head, column) => {
      const words = head.textContent.trim().replace(/\s+/g, " ");
      const inside = head.querySelector(".key");
      const button = make("button", { type: "button", className: "sort" });
      if (inside) {
        button.append(...inside.childNodes);
        inside.append(button);
      } else {
        button.append(...head.childNodes);
        head.append(button);
      }
      if (inside) button.setAttribute("aria-label", `${button.textContent}, ${words}`);
      button.title = "Sort";
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const first = head.dataset.first;
        const second = first === "ascending" ? "descending" : "ascending";
        const now = head.getAttribute("aria-sort");
        const way = now === "none" ? first : now === first ? second : "none";
        arrange(column, way);
        say(way === "none" ? "Back in board order" : `Sorted by ${words}, ${way}`);
      });
    });
  };

  const addFilter = (place, tables, say) => {
    const input = make("input", { type: "search", id: "filter", autocomplete: "off", spellcheck: false });
    const label = make("label", { htmlFor: "filter" }, place.dataset.label);
    const count = make("span", { className: "count" });
    place.append(label, input, count);
    const groups = new Map();
    for (const row of tables.flatMap((table) => [...table.querySelectorAll("tr[data-name]")])) {
      const heading = row.closest("tbody").querySelector("tr.group");
      const name = row.dataset.name;
      groups.set(row, { name, words: `${name} ${heading ? heading.textContent : ""}`.toLowerCase() });
    }
    const filter = () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const [all, found] = [new Set(), new Set()];
      for (const [row, { name, words }] of groups) {
        const shown = wanted.every((word) => words.includes(word));
        row.hidden = !shown;
        all.add(name);
        if (shown) found.add(name);
      }
      for (const heading of tables.flatMap((table) => [...table.querySelectorAll("tr.group")])) {
        heading.hidden = ![...heading.parentElement.rows].some((row) => row !== heading && !row.hidden);
      }
      const text = `${found.size} of ${all.size} methods`;
      count.textContent = wanted.length ? text : "";
      if (wanted.length) say(text);
    };
    input.addEventListener("input", filter);
    tables.forEach((table) => table.addEventListener("arranged", filter));
  };

  /* A printed difference the other way round: signs are characters here, so nothing is rounded anew. */
  const turned = (text) => text.startsWith("+") ? `-${text.slice(1)}`
    : text.startsWith("-") ? `+${text.slice(1)}` : text;

  const addComparison = (place, say) => {
    const { heading, higher, chosen, methods, pairs } = JSON.parse(place.dataset.pairs);
    const lookUp = (a, b) => {
      if (a < b) return pairs[`${a}-${b}`];
      const [value, low, high, tied] = pairs[`${b}-${a}`];
      return [turned(value), high && turned(high), low && turned(low), tied];
    };
    const selects = chosen.map((first, index) => {
      const select = make("select", { id: `compare-${index}` });
      methods.forEach(([name], number) => {
        select.append(make("option", { value: String(number), selected: number === first }, name));
      });
      return select;
    });
    const labels = ["Compare", "with"].map((words, index) => make("label", { htmlFor: `compare-${index}` }, words));
    const result = make("dl", { className: "tiles" });
    const tile = (head, value, small) => make("div", {}, make("dt", {}, head),
      make("dd", {}, value, " ", make("span", {}, small)));
    const show = () => {
      const [a, b] = selects.map((select) => Number(select.value));
      const [first, second] = [methods[a], methods[b]];
      if (a === b) {
        result.replaceChildren(tile(first[0], first[1], first[2]));
        return "Choose two methods";
      }
      const [value, low, high, tied] = lookUp(a, b);
      const better = value.startsWith("+") === higher ? first[0] : second[0];
      const verdict = tied === null ? "no interval" : tied ? "tied: the interval holds 0" : `${better} is better`;
      const apart = first[3] === second[3] ? "" : "; one of them was taught what is asked";
      const ends = low === null ? "" : `[${low}, ${high}], `;
      result.replaceChildren(tile(first[0], first[1], first[2]), tile(second[0], second[1], second[2]),
        tile(`Difference in ${heading}`, value, `${ends}${verdict}${apart}`));
      return `${first[0]} minus ${second[0]}: ${value}, ${verdict}`;
    };
    selects.forEach((select) => select.addEventListener("change", () => say(show())));
    const line = make("p", { className: "filter" }, labels[0], selects[0], labels[1], selects[1]);
    place.append(line, result);
    show();
  };

  /* A link to a part that is folded opens it. */
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.matches("details")) target.open = true;
  };

  apply(stored());
  document.addEventListener("DOMContentLoaded", () => {
    const status = make("div", { className: "unseen" });
    status.setAttribute("role", "status");
    document.body.append(status);
    const say = (text) => { status.textContent = text; };
    addThemeButton();
    document.querySelectorAll("table[data-sort]").forEach((table) => makeSortable(table, say));
    document.querySelectorAll("[data-pairs]").forEach((place) => addComparison(place, say));
    window.addEventListener("hashchange", unfold);
    unfold();
    const place = document.querySelector(".filter[data-label]");
    if (place) addFilter(place, [...document.querySelectorAll("table[data-filter]")], say);
  });
})();
