// The what-if panel: closed formulas in whole steps (closed_formulas.py), amounts as in lrps/base/amounts.py.
(function () {
  "use strict";
  const $ = (id) => document.getElementById(id), NB = "\u00a0", KEYS = ["ps", "ptfs", "cpt"];
  const run = JSON.parse($("what-if-data").textContent), form = $("what-if-controls");

  function fixed(value, decimals) {
    const [whole, part] = value.toFixed(decimals).split(".");
    return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (part ? "." + part : "");
  }
  function significant(value) {
    let decimals = Math.max(0, 2 - Math.floor(Math.log10(value)));
    if (decimals && +value.toFixed(decimals) >= Math.pow(10, 3 - decimals)) decimals -= 1;
    return fixed(value, decimals);
  }
  function money(value) {
    if (value === null) return "n/a";
    if (value > 0 && value < 0.0001) return "<" + NB + run.c + NB + "0.0001";
    if (!value) return run.c + NB + "0";
    return run.c + NB + (value < 0.9995 ? significant(value) : fixed(value, value < 999.995 ? 2 : 0));
  }
  function billTime(hours) {
    if (hours === null) return "n/a";
    const seconds = hours * 3600, whole = Math.floor(seconds + 0.5);
    if (!seconds) return "0" + NB + "s";
    if (seconds < 1e-6) return "<" + NB + "1" + NB + "\u00b5s";
    if (seconds < 0.0009995) return significant(seconds * 1e6) + NB + "\u00b5s";
    if (seconds < 0.9995) return significant(seconds * 1000) + NB + "ms";
    if (seconds < 59.95) return fixed(seconds, 1) + NB + "s";
    if (seconds < 3599.5) return Math.floor(whole / 60) + NB + "min" + NB + (whole % 60) + NB + "s";
    return (hours < 999.5 ? significant(hours) : fixed(hours, 0)) + NB + "h";
  }
  const share = (value) => (value < 9.9995 ? fixed(value * 100, 1) + "%" : fixed(value, 0) + NB + "times");

  // steps * (growth / 100) ** times, rounded half up; floats would round ties such as 500 * 1.15 differently.
  function grown(steps, growth, times) {
    const up = BigInt(growth) ** BigInt(times), down = 100n ** BigInt(times);
    return Math.max(1, Number((2n * BigInt(steps) * up + down) / (2n * down)));
  }
  function increments(set, number) {
    const own = run.T, last = own.length - 1;
    return Array.from({ length: number }, (_, k) =>
      !set.keeps ? grown(own[0], set.growth, k) : k <= last ? own[k] : grown(own[last], set.growth, k - last));
  }
  function decay(set, k, steps, soFar) {
    if (set.of === "run") return Math.min(run.D[Math.min(k, run.D.length - 1)], soFar);
    if (k === 0 && !run.first) return 0;
    const unit = set.of === "increment" ? steps : soFar;
    return Math.min(Math.max(1, Math.floor((2 * set.alpha * unit + 100) / 200)), soFar);
  }
  // Cumulative steps after each version, and after one more.
  function totals(set) {
    const found = { ps: [], ptfs: [], cpt: [] };
    let soFar = 0, main = 0, branches = 0, scratch = 0;
    increments(set, set.versions + 1).forEach((steps, k) => {
      soFar += steps;
      const branch = decay(set, k, steps, soFar);
      main = Math.max(main, soFar - branch);
      branches += branch;
      scratch += soFar;
      found.ps.push(main + branches);
      found.ptfs.push(scratch);
      found.cpt.push(soFar);
    });
    return found;
  }
  function settings() {
    const keeps = $("keeps"), price = $("price");
    return {
      versions: +$("versions").value, growth: Math.round(100 * $("growth").value), keeps: keeps ? keeps.checked : false,
      alpha: Math.round(100 * $("alpha").value), of: $("alpha-of").value,
      price: price && price.value !== "" && +price.value >= 0 ? +price.value : null,
    };
  }
  function bar(cumulative, most, was) {
    let pieces = "", left = 0;
    cumulative.forEach((steps, i) => {
      const width = (1000 * steps) / most - left, kind = i === cumulative.length - 1 ? "next" : "piece";
      pieces += `<rect class="${kind}" x="${left.toFixed(1)}" y="1" width="${Math.max(0, width).toFixed(1)}" height="18"/>`;
      left += width;
    });
    const at = (1000 * was) / most;
    if (was !== cumulative[cumulative.length - 2] && at <= 1000)
      pieces += `<line class="was" x1="${at.toFixed(1)}" x2="${at.toFixed(1)}" y1="-2" y2="22"/>`;
    return pieces;
  }
  let timer = 0;
  function show() {
    const set = settings(), found = totals(set), last = set.versions - 1;
    const time = (steps) => (run.r === null ? null : (steps * run.r) / 3600);
    const pay = (steps) => (run.r === null || set.price === null ? null : time(steps) * set.price);
    const cost = (steps) =>
      pay(steps) !== null ? money(pay(steps)) : run.r !== null ? billTime(time(steps)) : fixed(steps, 0) + " steps";
    const words = { versions: set.versions, growth: (set.growth / 100).toFixed(2),
      alpha: set.of === "run" ? "as in this run" : (set.alpha / 100).toFixed(2) };
    for (const id in words) {
      $(id + "-out").textContent = words[id];
      $(id).setAttribute("aria-valuetext", words[id]);
    }
    const most = Math.max(...KEYS.map((key) => found[key][set.versions]));
    for (const key of KEYS) {
      const steps = found[key][last], cells = $(key + "-row").cells;
      $(key + "-bar").innerHTML = bar(found[key], most, start[key]);
      $(key + "-sum").textContent = cost(steps);
      [share(steps / found.ptfs[last]), share(steps / found.cpt[last]), cost(found[key][set.versions] - steps),
        fixed(steps, 0), billTime(time(steps)), money(pay(steps))].slice(0, cells.length - 1).forEach((text, i) => {
        cells[i + 1].textContent = text;
        cells[i + 1].classList.toggle("none", text === "n/a");
      });
    }
    $("versions-word").textContent = set.versions === 1 ? "1 version" : set.versions + " versions";
    clearTimeout(timer);
    timer = setTimeout(() => {
      const next = (key) => cost(found[key][set.versions] - found[key][last]);
      $("what-if-said").textContent = `Path switching ${cost(found.ps[last])}: ` +
        `${share(found.ps[last] / found.ptfs[last])} of PTFS, ${share(found.ps[last] / found.cpt[last])} of CPT. ` +
        `The next version adds ${next("ps")}; PTFS would add ${next("ptfs")}, CPT ${next("cpt")}.`;
    }, 150);
  }
  const first = totals(settings()), start = {}; // The steps of this run: the black line in the bars.
  for (const key of KEYS) start[key] = first[key][settings().versions - 1];
  form.hidden = document.querySelector(".with-script").hidden = false;
  form.addEventListener("input", (event) => {
    if (event.target.id === "alpha" && $("alpha-of").value === "run") $("alpha-of").value = "increment";
    show();
  });
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
})();
