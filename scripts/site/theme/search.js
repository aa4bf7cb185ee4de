// Finds the sections that hold every word that was typed, those with it in the title first.
const field = document.getElementById("search");
const list = document.getElementById("found");
const up = document.body.dataset.up;

field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  list.replaceChildren();
  list.hidden = words.length === 0;
  if (list.hidden) return;
  const holds = (text) => words.every((w) => text.toLowerCase().includes(w));
  const hits = sections.filter((s) => holds(s.title + " " + s.text));
  hits.sort((a, b) => holds(b.title) - holds(a.title));
  for (const hit of hits.slice(0, 20)) {
    const a = document.createElement("a");
    a.href = up + hit.at;
    a.textContent = hit.page === hit.title ? hit.title : hit.page + ": " + hit.title;
    const item = document.createElement("li");
    item.append(a);
    list.append(item);
  }
  if (hits.length === 0) {
    const item = document.createElement("li");
    item.textContent = "nothing found";
    list.append(item);
  }
});
