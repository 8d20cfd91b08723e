(() => {
  const menu = document.getElementById("menu"), filter = document.getElementById("filter");
  const rows = [...document.querySelectorAll("#list > li")];
  const narrow = matchMedia("(max-width: 50rem)");
  const fold = () => { menu.open = !narrow.matches; };
  fold();
  narrow.addEventListener("change", fold);
  menu.querySelector("summary").addEventListener("click", (event) => { if (!narrow.matches) event.preventDefault(); });
  menu.addEventListener("click", (event) => { if (narrow.matches && event.target.closest("a")) menu.open = false; });

  filter.hidden = false;
  const apply = () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (element) => wanted.every((word) => element.textContent.toLowerCase().includes(word));
    for (const row of rows) {
      const own = [...row.querySelectorAll("li")];
      const all = fits(row.querySelector(".tag"));
      for (const one of own) one.hidden = !(all || fits(one));
      row.hidden = !(all || own.some((one) => !one.hidden));
    }
  };
  filter.addEventListener("input", apply);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== filter && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      menu.open = true;
      filter.focus();
    }
    if (event.key === "Escape" && document.activeElement === filter) { filter.value = ""; apply(); filter.blur(); }
    if (event.key === "Enter" && document.activeElement === filter) {
      const first = rows.filter((row) => !row.hidden).flatMap((row) => [...row.querySelectorAll("li")]).find((one) => !one.hidden);
      if (first) first.querySelector("a").click();
    }
  });

  for (const caption of document.querySelectorAll("figcaption")) {
    if (!navigator.clipboard) break;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(caption.parentElement.querySelector("pre").textContent);
      button.textContent = "Copied";
    });
    caption.append(button);
  }

  const links = new Map([...document.querySelectorAll("#list a")].map((a) => [a.hash.slice(1), a]));
  let here = null;
  // The list alone is moved: scrollIntoView() would move the page too.
  const show = (link) => {
    const nav = menu.parentElement, top = link.offsetTop - nav.offsetTop;
    if (top < nav.scrollTop || top > nav.scrollTop + nav.clientHeight - 60) nav.scrollTop = top - nav.clientHeight / 3;
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      here?.classList.remove("here");
      here = links.get(entry.target.id);
      here?.classList.add("here");
      if (here && !narrow.matches) show(here);
    }
  }, { rootMargin: "0px 0px -80% 0px" });
  for (const article of document.querySelectorAll("article, #errors")) seen.observe(article);
})();
