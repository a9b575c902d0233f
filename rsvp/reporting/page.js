"use strict";

// Sorting: the first press puts the best on top, the next one turns the order. Cells without a
// number stay last. Reference rows (ceiling and floor) keep their place below.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    button.addEventListener("click", () => {
      const first = button.dataset.better === "higher" ? "descending" : "ascending";
      const other = first === "descending" ? "ascending" : "descending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((cell) => cell.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      sortRows(table.tBodies[0], column, order === "ascending" ? 1 : -1);
    });
  });
}

function sortRows(body, column, sign) {
  const key = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => {
    const [left, right] = [key(a), key(b)];
    if (left === undefined || right === undefined) {
      return (left === undefined) - (right === undefined);
    }
    const difference = column ? Number(left) - Number(right) : left.localeCompare(right);
    return sign * difference;
  };
  body.append(...[...body.rows].sort(compare));
}

// Videos: one switch and one speed for all. They start by themselves, but not for readers who asked
// for less motion.
const videos = [...document.querySelectorAll("video")];
const playing = document.getElementById("playing");
const speed = document.getElementById("speed");
if (playing) {
  const set = (paused) => {
    videos.forEach((video) => (paused ? video.pause() : video.play().catch(() => {})));
    playing.textContent = paused ? "Play all" : "Pause all";
    playing.setAttribute("aria-pressed", String(paused));
  };
  playing.addEventListener("click", () => set(playing.textContent === "Pause all"));
  speed.addEventListener("change", () => {
    videos.forEach((video) => (video.playbackRate = Number(speed.value)));
  });
  playing.parentElement.hidden = false;
  set(matchMedia("(prefers-reduced-motion: reduce)").matches);
}

// Paper has no switches: open everything that is folded.
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((item) => (item.open = true));
});
