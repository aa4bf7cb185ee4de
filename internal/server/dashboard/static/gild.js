// Keeps the page live: when the event stream tells of a change, the page is
// fetched again and the parts that differ are taken over. It knows nothing of
// machines, so the server alone says how they look.
"use strict";

const PAUSE = 1000; // ms between two fetches, so that a busy room costs little

// morph makes the element `is` like `want` and keeps what is the same: focus,
// scroll position and selection stay where they are.
function morph(is, want) {
  if (is.isEqualNode(want)) return;
  if (is.nodeType !== want.nodeType || is.nodeName !== want.nodeName || is.id !== want.id) {
    is.replaceWith(document.importNode(want, true));
    return;
  }
  if (is.nodeType !== Node.ELEMENT_NODE) {
    is.nodeValue = want.nodeValue;
    return;
  }
  for (const a of [...is.attributes]) if (!want.hasAttribute(a.name)) is.removeAttribute(a.name);
  for (const a of want.attributes) if (is.getAttribute(a.name) !== a.value) is.setAttribute(a.name, a.value);
  // One with an id is found again wherever it has moved to: what was selected
  // in the row of a machine stays with that machine.
  const known = new Map([...is.children].filter((e) => e.id).map((e) => [e.id, e]));
  [...want.childNodes].forEach((n, i) => {
    const at = is.childNodes[i], same = known.get(n.id);
    if (same && same !== at) is.insertBefore(same, at || null);
    if (same || at && !(at.id && known.has(at.id))) morph(same || at, n);
    else is.insertBefore(document.importNode(n, true), at || null);
  });
  while (is.childNodes.length > want.childNodes.length) is.lastChild.remove();
}

function live() {
  const kinds = document.body.dataset.live, only = document.body.dataset.liveId, sign = document.getElementById("live");
  if (!kinds) return;
  let busy = false, again = false;

  function tell(ok) {
    sign.hidden = false;
    const text = ok ? "live" : "not live: what you see is from " + new Date().toLocaleTimeString([], { timeZoneName: "short" });
    if (ok || !sign.classList.contains("off")) sign.textContent = text;
    sign.classList.toggle("off", !ok);
  }

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) { location.reload(); return; } // the session is over
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-part]")) {
        const want = page.getElementById(part.id);
        if (want) morph(part, want);
      }
      document.dispatchEvent(new Event("refreshed"));
      tell(true);
    } catch {
      tell(false);
      again = true;
    }
    setTimeout(() => { busy = false; if (again) refresh(); }, PAUSE);
  }

  const stream = new EventSource("/api/v1/events");
  stream.onopen = () => tell(true);
  stream.onerror = () => {
    tell(false);
    // The browser gives up on an answer that is no stream; a new page asks
    // for the token again.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  };
  for (const kind of kinds.split(" ")) {
    stream.addEventListener(kind, (e) => {
      if (!only || JSON.parse(e.data).id === only) refresh();
    });
  }
  // Ages and rates move although nothing happens.
  setInterval(() => { if (!document.hidden) refresh(); }, 15000);
}

// Arrow keys go from tile to tile, / goes to the filter.
function keys(e) {
  const at = document.activeElement;
  if (e.key === "/" && !e.ctrlKey && !e.metaKey && !/^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName)) {
    const field = document.querySelector("[data-key='/']");
    if (field) { e.preventDefault(); field.focus(); }
    return;
  }
  if (!at.classList.contains("tile") || !e.key.startsWith("Arrow")) return;
  const tiles = [...document.querySelectorAll(".tile")], i = tiles.indexOf(at), here = at.getBoundingClientRect();
  let to;
  if (e.key === "ArrowRight") to = tiles[i + 1];
  if (e.key === "ArrowLeft") to = tiles[i - 1];
  const column = (t) => Math.abs(t.getBoundingClientRect().left - here.left) < here.width / 2;
  if (e.key === "ArrowDown") to = tiles.slice(i + 1).find(column);
  if (e.key === "ArrowUp") to = tiles.slice(0, i).reverse().find(column);
  if (to) { e.preventDefault(); to.focus(); }
}

// picking shows how many machines are selected, and selects all.
function picking() {
  const all = document.querySelector("[data-all]"), said = document.getElementById("picked");
  if (!all) return;
  const boxes = () => [...document.querySelectorAll("#rows input[name=m]")];
  const show = () => {
    const n = boxes().filter((b) => b.checked).length;
    said.textContent = n ? n + " selected" : "";
    all.checked = n > 0 && n === boxes().length;
    all.indeterminate = n > 0 && !all.checked;
  };
  all.hidden = false;
  document.getElementById("table").addEventListener("change", (e) => {
    if (e.target === all) for (const b of boxes()) b.checked = all.checked;
    show();
  });
  document.addEventListener("refreshed", show);
  show();
}

// theme lets a person choose light or dark against what the system says.
function theme() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const names = { "": "Theme: system", light: "Theme: light", dark: "Theme: dark" };
  const set = (t) => {
    if (t) root.dataset.theme = t; else delete root.dataset.theme;
    if (button) button.textContent = names[t];
  };
  let now = localStorage.getItem("theme") || "";
  if (!(now in names)) now = "";
  set(now);
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    now = { "": "dark", dark: "light", light: "" }[now];
    localStorage.setItem("theme", now);
    set(now);
  });
}

document.addEventListener("keydown", keys);
theme();
picking();
live();
