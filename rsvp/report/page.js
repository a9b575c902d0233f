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

// Videos: one switch and one speed for all, and a button for each; the browser's own controls would
// cover panels. They start by themselves, but not for readers who asked for less motion.
const videos = [...document.querySelectorAll("video")];
const playing = document.getElementById("playing");
const speed = document.getElementById("speed");
const play = (video, wanted) => (wanted ? video.play().catch(() => {}) : video.pause());
for (const video of videos) {
  video.controls = false;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "play";
  const show = () => {
    button.textContent = video.paused ? "Play" : "Pause";
    button.setAttribute("aria-label", `${button.textContent} ${video.ariaLabel.split(".")[0]}`);
    const any = videos.some((one) => !one.paused);
    playing.textContent = any ? "Pause all" : "Play all";
  };
  const turn = () => play(video, video.paused);
  button.addEventListener("click", turn);
  video.addEventListener("click", turn);
  video.addEventListener("play", show);
  video.addEventListener("pause", show);
  video.closest("figure").querySelector("figcaption").prepend(button);
  show();
}
if (playing) {
  const all = (wanted) => videos.forEach((video) => play(video, wanted));
  playing.addEventListener("click", () => all(playing.textContent === "Play all"));
  speed.addEventListener("change", () => {
    videos.forEach((video) => (video.playbackRate = Number(speed.value)));
  });
  playing.parentElement.hidden = false;
  all(!matchMedia("(prefers-reduced-motion: reduce)").matches);
}

// What is wider than its place scrolls: by keyboard too, and a line says so.
const boxes = [...document.querySelectorAll(".scroll, .drawing, pre")];
function markScrolling() {
  for (const box of boxes) {
    const scrolls = box.scrollWidth > box.clientWidth + 1;
    if (scrolls) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
    const before = box.previousElementSibling;
    const hint = before?.className === "wide-hint" ? before : null;
    if (scrolls && !hint && box.className === "scroll") {
      const line = document.createElement("p");
      line.className = "wide-hint";
      line.textContent = "Wider than the screen: scroll sideways.";
      box.before(line);
    } else if (!scrolls && hint) hint.remove();
  }
}
addEventListener("resize", markScrolling);
document.addEventListener("toggle", markScrolling, true);
markScrolling();

// Paper has no switches: open everything that is folded, and fold it again.
const unfolded = [];
addEventListener("beforeprint", () => {
  unfolded.push(...document.querySelectorAll("details:not([open])"));
  unfolded.forEach((item) => (item.open = true));
});
addEventListener("afterprint", () => {
  unfolded.splice(0).forEach((item) => (item.open = false));
});
