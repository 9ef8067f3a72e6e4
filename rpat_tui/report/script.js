"use strict";
// The page says everything without this; it adds reading of curves and switching experiments off.
(() => {
  const tip = document.getElementById("tip");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const hide = () => {
    tip.hidden = true;
    all(".probe").forEach((dot) => dot.remove());
    all(".faded").forEach((line) => line.classList.remove("faded"));
  };
  const show = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(4, Math.min(event.pageX + 14, room))}px`;
    tip.style.top = `${event.pageY - 38}px`;
  };
  const focus = (run) => all("path.line[data-run]").forEach(
    (line) => line.classList.toggle("faded", line.dataset.run !== run));
  const number = (text) => Number.parseFloat(text);
  const short = (value) => {
    const size = Math.abs(value);
    if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(2);
    return size >= 10 ? value.toFixed(2) : value.toPrecision(3);
  };

  for (const chart of all("svg.chart")) {
    const d = chart.dataset;
    const lines = all("path.line", chart).map((path) => ({
      path,
      points: [...path.getAttribute("d").matchAll(/(-?[\d.]+),(-?[\d.]+)/g)].map((m) => [number(m[1]), number(m[2])]),
    }));
    const value = (y) => {
      const part = (y - d.bottom) / (d.top - d.bottom);
      if (d.log === "1") return d.y0 * (d.y1 / d.y0) ** part;
      return number(d.y0) + part * (d.y1 - d.y0);
    };
    chart.addEventListener("pointermove", (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
      let best = null;
      for (const line of lines) {
        if (line.path.classList.contains("off")) continue;
        let near = null;
        for (const point of line.points) {
          if (near === null || Math.abs(point[0] - place.x) < Math.abs(near[0] - place.x)) near = point;
        }
        if (near !== null && (best === null || Math.abs(near[1] - place.y) < Math.abs(best.at[1] - place.y))) {
          best = { line, at: near };
        }
      }
      hide();
      if (best === null) return;
      const epoch = number(d.x0) + (best.at[0] - d.left) / (d.right - d.left) * (d.x1 - d.x0);
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      dot.setAttribute("class", "probe");
      dot.setAttribute("cx", best.at[0]);
      dot.setAttribute("cy", best.at[1]);
      dot.setAttribute("r", "4");
      chart.append(dot);
      focus(best.line.path.dataset.run);
      show(event, `${best.line.path.dataset.run}  epoch ${Math.round(epoch)}  ${short(value(best.at[1]))}${d.unit ? ` ${d.unit}` : ""}`);
    });
    chart.addEventListener("pointerleave", hide);
  }

  for (const spot of all(".spot")) {
    spot.addEventListener("pointermove", (event) => {
      hide();
      focus(spot.dataset.run);
      show(event, `${spot.dataset.run}  ${spot.dataset.words}`);
    });
    spot.addEventListener("pointerleave", hide);
  }

  for (const key of all(".key")) {
    key.addEventListener("click", () => {
      const on = key.getAttribute("aria-pressed") !== "true";
      all(`.key[data-group="${key.dataset.group}"]`).forEach((k) => k.setAttribute("aria-pressed", String(on)));
      all(`figure [data-group="${key.dataset.group}"]`).forEach((mark) => mark.classList.toggle("off", !on));
    });
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    opened.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
})();
